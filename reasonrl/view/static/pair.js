/* Two measurements of one suite, paired by problem: won, lost, tied. */
import { bdi, chip, errorBox, get, h, later, num, number, pager, say, signed, table, to } from "./dom.js";
import { sample } from "./samples.js";

const SIZE = 50;

export async function show(content, _, query, page) {
  const pair = { a: query.a ?? "", b: query.b ?? "", suite: query.suite ?? "" };
  let offset = 0;
  const change = h("select", {}, ["", "won", "lost", "tied"].map((name) => h("option", { value: name, selected: query.change === name }, name || "all")));
  const text = h("input", { type: "search", value: query.text ?? "", placeholder: "problem, answer" });
  const figures = h("div", {}), results = h("div", {});
  content.append(h("h1", {}, bdi(pair.b), " against ", bdi(pair.a)),
    h("p", { class: "quiet" }, "Suite ", bdi(pair.suite), ". A is ", bdi(pair.a), ", B is ", bdi(pair.b), "; won are the problems where B is better."),
    figures, h("form", { class: "row", "aria-label": "Filters", onsubmit: (event) => event.preventDefault() },
      h("label", {}, "Problems ", change), h("label", {}, "Text ", text)), results);

  async function load() {
    const given = { change: change.value, text: text.value };
    history.replaceState(null, "", to(["pair"], { ...pair, ...given }));
    try {
      const found = await get(["pair"], { ...pair, ...given, offset }, page.signal);
      figures.replaceChildren(figureTable(found));
      const turn = (at) => { offset = at; load(); };
      results.replaceChildren(
        h("div", { class: "row" }, Object.entries(found.counts).map(([name, count]) => chip(name, `${name} ${count}`))),
        pager(offset, found.problems.length, found.total, false, SIZE, turn),
        ...found.problems.map((problem) => entry(pair, problem, page)));
      say(`${found.total} problems`);
    } catch (error) {
      if (error.name === "AbortError") return;
      results.replaceChildren(errorBox(error));
    }
  }

  const again = () => { offset = 0; load(); };
  change.addEventListener("change", again);
  text.addEventListener("input", later(300, again));
  await load();
}

function figureTable(found) {
  const interval = (estimate) => `${number(estimate.value)} [${number(estimate.lower)}, ${number(estimate.upper)}]`;
  return h("div", {},
    found.same_prompts ? "" : h("p", { class: "note" }, "The two models read different prompts: part of the difference may be theirs."),
    table(["Figure", "A", "B", "B − A (paired, 95 %)", "p", "won / tied / lost"], found.figures.map((one) => {
      const { difference: paired } = one;
      return [bdi(one.name), num(interval(one.a)), num(interval(one.b)),
        num(`${signed(paired.difference)} [${signed(paired.lower)}, ${signed(paired.upper)}]`),
        num(paired.p_value === null ? "–" : paired.p_value < 0.001 ? "< 0.001" : number(paired.p_value)),
        num(`${paired.wins} / ${paired.ties} / ${paired.losses}`)];
    })));
}

function entry(pair, problem, page) {
  const inside = h("div", {});
  const made = h("details", {}, h("summary", {}, chip(problem.change), ` ${number(problem.a)} → ${number(problem.b)} · `,
    bdi(problem.id.slice(0, 12)), " · wanted ", bdi(problem.answer), " · ", h("bdi", { class: "quiet small" }, bdi(problem.prompt.slice(-120)))), inside);
  made.addEventListener("toggle", async () => {
    if (!made.open || inside.children.length) return;
    try {
      const both = await get(["pair", "problem"], { ...pair, problem: problem.id }, page.signal);
      inside.replaceChildren(h("div", { class: "pair" }, ["a", "b"].map((side) => h("div", {}, h("h3", {}, side.toUpperCase(), " ", bdi(pair[side])),
        both[side].map((row, at) => { const shown = sample(row); shown.open = at === 0; return shown; })))));
    } catch (error) {
      if (error.name !== "AbortError") inside.replaceChildren(errorBox(error));
    }
  });
  return made;
}
