/* The rollouts of a run: filters, pages, and what is new while the run trains. */
import { advantageOf, arrows, bdi, chip, errorBox, get, h, isTyping, later, link, num, number, pager, say, table, to, visible } from "./dom.js";

const SIZE = 50;
const ORDERS = { step: "step", latest: "latest step first", "-reward": "highest reward", reward: "lowest reward",
  "-advantage": "highest advantage", advantage: "lowest advantage", "-tokens": "longest", tokens: "shortest", logprob: "least likely" };

export async function show(content, [run], query, page) {
  const facets = await get(["runs", run, "facets"]);
  let offset = Number(query.offset ?? 0) || 0, seen = "";
  const form = filterForm(facets, query), results = h("div", {}), progress = h("div", {});
  content.append(h("h1", {}, "Rollouts of ", bdi(run)), form, progress, results);

  const filters = () => Object.fromEntries([...new FormData(form)].filter(([name, value]) => value !== "" && DEFAULTS[name] !== value));

  async function load(isNew) {
    const given = filters();
    let found;
    try {
      found = await get(["runs", run, "rollouts"], { ...given, offset }, page.signal);
    } catch (error) {
      if (error.name === "AbortError") return;
      results.replaceChildren(errorBox(error));
      seen = "";
      return;
    }
    const text = JSON.stringify([found.rows, found.total]);
    draw(found, given, text !== seen);
    seen = text;
    if (isNew) say(`${found.total}${found.is_capped ? " and more" : ""} rollouts`);
  }

  function draw(found, given, isOther) {
    const { done, total, errors } = found.index;
    progress.replaceChildren(
      done < total ? h("p", { class: "note", role: "status" }, `The index is being made: ${done} of ${total} steps. What is not in it is not found yet.`) : "",
      ...Object.entries(errors).slice(0, 5).map(([step, why]) => h("p", { class: "note" }, `Step ${step} cannot be read: `, bdi(why))));
    if (!isOther) return;
    const focused = results.contains(document.activeElement) ? document.activeElement.dataset.id : null;
    const turn = (at) => { offset = at; remember(); load(true).then(() => results.querySelector("a.open")?.focus()); };
    const pages = () => pager(found.offset, found.rows.length, found.total, found.is_capped, SIZE, turn);
    results.replaceChildren(pages(), rows(run, found, given), found.rows.length > 15 ? pages() : "");
    if (focused) results.querySelector(`a.open[data-id="${focused}"]`)?.focus();
  }

  const remember = () => history.replaceState(null, "", to(["run", run, "rollouts"], { ...filters(), offset: offset || "" }));
  const changed = () => { offset = 0; remember(); load(true); };
  form.addEventListener("change", (event) => { if (event.target.type !== "search") changed(); });
  form.addEventListener("input", later(300, (event) => { if (event.target.type === "search") changed(); }));
  form.addEventListener("submit", (event) => { event.preventDefault(); changed(); });
  form.addEventListener("reset", () => setTimeout(() => { clear(form); changed(); }));
  page.onKey((event) => {
    if (event.key === "/" && !isTyping(event)) { form.elements.text.focus(); event.preventDefault(); }
    if (["ArrowDown", "ArrowUp"].includes(event.key) && !isTyping(event) && !results.contains(event.target)) {
      results.querySelector("a.open")?.focus();
      event.preventDefault();
    }
  });
  arrows(results, "a.open", "ArrowUp", "ArrowDown");
  await load(false);
  page.every(2000, () => load(false));
}

const DEFAULTS = { within: "completion", sort: "step" };

function clear(form) {
  for (const field of form.elements) if (field.name) field.value = DEFAULTS[field.name] ?? "";
}

function filterForm(facets, query) {
  const value = (name) => query[name] ?? DEFAULTS[name] ?? "";
  const select = (name, label, options) => h("label", {}, label, h("select", { name },
    options.map(([key, text]) => h("option", { value: key, selected: value(name) === key }, visible(text)))));
  const input = (name, attributes) => h("input", { name, value: value(name), ...attributes });
  const any = ["", "any"];
  return h("form", { class: "filters", "aria-label": "Filters" },
    h("label", { class: "span" }, "Text", input("text", { type: "search", placeholder: "any part of it", maxLength: 1000 })),
    select("within", "in", [["completion", "completions"], ["reason", "reasons of rewards"], ["prompt", "prompts"]]),
    h("label", {}, "Steps", h("span", { class: "two" },
      input("step_from", { type: "number", min: 0, placeholder: facets.steps.first ?? "", "aria-label": "First step" }),
      input("step_to", { type: "number", min: 0, placeholder: facets.steps.last ?? "", "aria-label": "Last step" }))),
    select("task", "Task", [any, ...facets.tasks.map((task) => [task, task])]),
    h("label", {}, "Problem", input("problem", { type: "search", placeholder: "id" })),
    select("reward", "Reward", [["", "weighted sum"], ...facets.rewards.map((name) => [name, name])]),
    select("outcome", "Outcome", [any, ["scored", "scored"], ["failed", "failed: timeout or error"], ["timeout", "timeout"], ["error", "error"], ["unscorable", "unscorable"]]),
    h("label", {}, "Score", h("span", { class: "two" },
      input("low", { type: "number", step: "any", placeholder: "from", "aria-label": "Lowest score" }),
      input("high", { type: "number", step: "any", placeholder: "to", "aria-label": "Highest score" }))),
    select("truncated", "Truncated", [any, ["yes", "yes"], ["no", "no"]]),
    select("unused", "Learned from", [any, ["no", "yes"], ["yes", "no"], ["no_signal", "no: no signal"], ["stale", "no: stale"]]),
    select("sort", "Order", Object.entries(ORDERS)),
    h("div", { class: "clear" }, h("button", { type: "reset" }, "Clear all")));
}

function rows(run, found, given) {
  if (!found.rows.length) return h("p", { class: "quiet" }, "No rollout passes these filters.");
  const shown = (given.text && { prompt: "Prompt", reason: "Reasons" }[given.within]) || "Completion";
  return table(["Step", shown, { class: "number", content: "Reward" }, { class: "number", content: "Advantage" },
    { class: "number", content: "Tokens" }, "Problem"], found.rows.map((row) => [
    num(String(row.step)),
    h("a", { class: "open", href: to(["run", run, "rollout", row.id]), "data-id": row.id },
      h("bdi", { class: "excerpt" }, marked(row.excerpt, given.text)),
      row.finish === "length" ? chip("length", "truncated") : "",
      row.unused ? h("span", { class: "chip warn" }, row.unused === "stale" ? "unused: stale" : "unused: no signal") : ""),
    num(row.outcome === "scored" ? number(row.reward) : chip(row.outcome)), num(advantageOf(row.advantage)),
    num(String(row.tokens)),
    h("div", {}, link(["run", run, "group", row.id], {}, "group"), h("div", { class: "quiet small" }, bdi(row.task ?? ""),
      " ", link(["run", run, "rollouts"], { problem: row.problem }, bdi((row.problem ?? "").slice(0, 8))))),
  ]), { class: "list rollouts" });
}

/** A text with what was looked for marked in it. */
function marked(text, wanted) {
  const shown = visible(text), sought = visible(wanted ?? "");
  const at = sought ? shown.toLowerCase().indexOf(sought.toLowerCase()) : -1;
  if (at < 0) return shown || h("span", { class: "quiet" }, "(empty)");
  return [shown.slice(0, at), h("mark", {}, shown.slice(at, at + sought.length)), shown.slice(at + sought.length)];
}
