/* One rollout. */
import { advantageOf, bdi, chip, get, h, isTyping, link, number, signed, table, num, to, visible } from "./dom.js";
import { Colors, completion, plainText } from "./text.js";

export async function show(content, [run, id], _, page) {
  const colors = new Colors();
  const one = await get(["runs", run, "rollouts", id], {}, page.signal);
  const go = (other) => { if (other !== null) location.hash = to(["run", run, "rollout", other]); };
  const turn = (label, other) => h("button", { type: "button", disabled: other === null, onclick: () => go(other) }, label);
  content.append(
    h("h1", {}, `Rollout ${one.sample_index + 1} of ${one.group_size}, step ${one.step}`),
    h("div", { class: "row" }, turn("← Before", one.previous), turn("After →", one.next),
      link(["run", run, "group", id], {}, "Group side by side (g)"),
      link(["run", run, "rollouts"], { problem: one.group_id }, "This problem in all steps"),
      link(["lab"], { run, rollout: id }, "Open in the reward lab")),
    summary(one),
    h("h2", {}, "Rewards"), rewards(one),
    h("h2", {}, "Prompt, as the model saw it"), plainText(one.prompt, { run, id, field: "prompt" }),
    h("h2", {}, "Completion"), colors.box, completion(one.completion, { run, id, field: "completion" }, colors));
  page.onKey((event) => {
    if (isTyping(event) || event.target.closest?.(".tokens, .chart-plot")) return;
    if (event.key === "ArrowLeft") go(one.previous);
    else if (event.key === "ArrowRight") go(one.next);
    else if (event.key === "g") location.hash = to(["run", run, "group", id]);
  });
}

function summary(one) {
  const penalties = Object.entries(one.penalties ?? {});
  const facts = {
    Reward: one.outcome === "scored" ? number(one.reward) : chip(one.outcome),
    Penalties: penalties.length ? penalties.map(([name, value]) => `${name} ${number(value)}`).join(", ") : null,
    Advantage: h("span", {}, advantageOf(one.advantage), one.advantage_by_token ? " (mean over its tokens)" : ""),
    "Learned from": one.unused ? chip(one.unused, one.unused === "stale" ? "no: sampled too long ago" : "no: all of its group have one reward") : "yes",
    Answer: bdi(one.answer || "(none)"),
    Task: bdi(one.task), Problem: bdi(one.group_id),
    Ended: one.finish_reason === "length" ? chip("length", "truncated at the limit of tokens") : one.finish_reason,
    Tokens: `${one.completion_tokens}${one.logprob_sum === null ? "" : `, log-probability ${number(one.logprob_sum)} in all`}`,
    Weights: `those after ${one.policy_version} updates${one.segments.length > 1 ? `; ${one.segments.length} segments` : ""}`,
    Seed: String(one.seed),
  };
  return h("dl", { class: "facts" }, Object.entries(facts).filter(([, value]) => value !== null)
    .flatMap(([name, value]) => [h("dt", {}, name), h("dd", {}, value)]));
}

/** Each reward's value and reason, its parts, and the steps that it judged. */
export function rewards(one) {
  const all = Object.entries(one.rewards);
  if (!all.length) return h("p", { class: "quiet" }, "No reward applies to this task.");
  return h("div", { class: "rewards" }, all.map(([name, score]) => h("div", { class: "score" },
    h("strong", {}, bdi(name)), h("span", {}, score.value === null ? "" : number(score.value), " ", score.outcome === "scored" ? "" : chip(score.outcome)),
    h("span", { class: "quiet" }, Object.entries(score.parts).map(([part, value]) => `${visible(part)} ${number(value)}`).join(" · ")),
    h("div", { class: "why" }, bdi(score.why || "(no reason given)")),
    score.spans.length ? h("div", { class: "why" }, table(["step", "", "why"],
      score.spans.map((span) => [num(signed(span.value)), bdi(span.text), bdi(span.why)]))) : "")));
}
