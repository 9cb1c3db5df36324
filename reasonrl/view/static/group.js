/* All completions of one problem in one step, side by side. */
import { advantageOf, arrows, bdi, chip, get, h, isTyping, link, number, to } from "./dom.js";
import { rewards } from "./rollout.js";
import { Colors, completion, plainText } from "./text.js";

const ORDERS = { sample: (one) => one.sample_index, reward: (one) => -(one.reward ?? -Infinity),
  advantage: (one) => -(one.advantage ?? -Infinity), tokens: (one) => one.completion_tokens };

export async function show(content, [run, id], query, page) {
  const found = await get(["runs", run, "groups", id], {}, page.signal);
  const { members } = found, [first] = members, colors = new Colors();
  const box = h("div", { class: "group", role: "list", "aria-label": "Siblings" });
  const order = h("select", { onchange: () => draw() }, Object.keys(ORDERS).map((name) => h("option", { value: name }, name)));
  const go = (other) => { if (other !== null) location.hash = to(["run", run, "group", other]); };
  const turn = (label, other) => h("button", { type: "button", disabled: other === null, onclick: () => go(other) }, label);
  const rewarded = members.filter((one) => one.outcome === "scored").map((one) => one.reward);
  content.append(
    h("h1", {}, `Group ${first.group_index + 1} of step ${first.step}`),
    h("div", { class: "row" }, turn("← Group before", found.previous), turn("Group after →", found.next),
      h("label", {}, "Order by ", order), link(["run", run, "rollouts"], { problem: first.group_id }, "This problem in all steps")),
    h("p", {}, `${members.length} completions, `, rewarded.length ? `rewards from ${number(Math.min(...rewarded))} to ${number(Math.max(...rewarded))}` : "none scored",
      first.unused ? h("span", { class: "note" }, first.unused === "stale" ? " Not learned from: sampled too long ago." : " Not learned from: all rewards are equal.") : "",
      " · answer ", bdi(first.answer || "(none)")),
    h("details", { open: true }, h("summary", {}, "Prompt, as the model saw it"), plainText(found.prompt, { run, id: first.id, field: "prompt" })),
    colors.box, box);
  // Made once, so that what is shown of a text stays when the order changes.
  const cards = new Map(members.map((one) => [one, sibling(run, one, String(one.id) === id, colors)]));

  function draw() {
    const sorted = [...members].sort((a, b) => ORDERS[order.value](a) - ORDERS[order.value](b));
    box.replaceChildren(...sorted.map((one) => cards.get(one)));
  }

  draw();
  arrows(box, ".sibling", "ArrowLeft", "ArrowRight");
  page.onKey((event) => {
    if (isTyping(event)) return;
    if (event.key === "g") location.hash = to(["run", run, "rollout", id]);
    if (["ArrowLeft", "ArrowRight"].includes(event.key) && !box.contains(event.target)) {
      box.querySelector(".sibling")?.focus();
      event.preventDefault();
    }
  });
}

function sibling(run, one, isChosen, colors) {
  return h("article", { class: `sibling${isChosen ? " chosen" : ""}`, tabIndex: 0, role: "listitem", "aria-label": `Completion ${one.sample_index + 1}` },
    h("h3", {}, link(["run", run, "rollout", one.id], {}, `Completion ${one.sample_index + 1}`),
      h("span", {}, "advantage ", advantageOf(one.advantage))),
    h("div", { class: "row" }, h("strong", {}, one.outcome === "scored" ? `reward ${number(one.reward)}` : chip(one.outcome)),
      h("span", { class: "quiet" }, `${one.completion_tokens} tokens`),
      one.finish_reason === "length" ? chip("length", "truncated") : "",
      Object.entries(one.penalties ?? {}).map(([name, value]) => h("span", { class: "quiet small" }, `${name} ${number(value)}`))),
    rewards(one), completion(one.completion, { run, id: one.id, field: "completion" }, colors));
}
