/* The completions of one measurement. */
import { bdi, chip, errorBox, get, h, later, num, number, pager, say, table, to } from "./dom.js";
import { plainText } from "./text.js";

const SIZE = 50;
const OUTCOMES = { "": "all", right: "right", wrong: "wrong", partly: "partly right", unparsed: "no answer read", truncated: "truncated", failed: "metric failed" };

export async function show(content, [run, step, suite], query, page) {
  let offset = Number(query.offset ?? 0) || 0;
  const outcome = h("select", { name: "outcome" }, Object.entries(OUTCOMES).map(([key, label]) => h("option", { value: key, selected: query.outcome === key }, label)));
  const text = h("input", { type: "search", name: "text", value: query.text ?? "" });
  const results = h("div", {}), figures = h("div", {});
  content.append(h("h1", {}, bdi(suite), ` after step ${step} of `, bdi(run)), figures,
    h("form", { class: "row", "aria-label": "Filters", onsubmit: (event) => event.preventDefault() },
      h("label", {}, "Completions ", outcome), h("label", {}, "Text ", text)), results);

  async function load() {
    const given = { outcome: outcome.value, text: text.value, problem: query.problem, offset: offset || "" };
    history.replaceState(null, "", to(["run", run, "evals", step, suite], given));
    try {
      const found = await get(["runs", run, "evals", step, suite], given, page.signal);
      figures.replaceChildren(table(["Figure", "Value", "95 % interval"], found.metrics.map((one) =>
        [bdi(one.label), num(number(one.value)), num(`${number(one.ci.lower)} to ${number(one.ci.upper)}`)])));
      const turn = (at) => { offset = at; load(); };
      results.replaceChildren(pager(offset, found.rows.length, found.total, false, SIZE, turn), ...found.rows.map(sample));
      say(`${found.total} completions`);
    } catch (error) {
      if (error.name !== "AbortError") results.replaceChildren(errorBox(error));
    }
  }

  const again = () => { offset = 0; load(); };
  outcome.addEventListener("change", again);
  text.addEventListener("input", later(300, again));
  await load();
}

/** One completion of a suite. */
export function sample(row) {
  const rewards = Object.entries(row.rewards ?? {});
  return h("details", { class: "sample" },
    h("summary", {}, row.outcome === "scored" ? h("span", { class: row.value >= 1 ? "good" : row.value <= 0 ? "bad" : "" }, number(row.value)) : chip(row.outcome), " ",
      bdi(row.problem_id.slice(0, 12)), ` sample ${row.sample_index + 1} · read `, bdi(row.parsed ?? "no answer"), " · wanted ", bdi(row.answer),
      ` · ${row.num_tokens} tokens `, row.finish_reason === "length" ? chip("length", "truncated") : ""),
    row.why ? h("p", { class: "note" }, bdi(row.why)) : "",
    rewards.length ? h("p", { class: "quiet" }, "training reward ", number(row.reward), ": ", rewards.map(([name, value]) => `${name} ${number(value)}`).join(", ")) : "",
    h("p", { class: "quiet small" }, "Prompt"), plainText(row.prompt), h("p", { class: "quiet small" }, "Completion"), plainText(row.completion));
}
