/* A run: its curves while it trains, alarms and events, what it is. */
import { bdi, chip, get, h, link, num, number, table, visible } from "./dom.js";
import { headline, left } from "./runs.js";

export async function show(content, [name], _, page) {
  let run = await get(["runs", name]);
  const head = h("div", {}), events = h("div", {}), evaluations = h("div", {}), facts = h("div", {});
  const main = new Charts(page), further = new Charts(page);
  const more = h("details", {}, h("summary", {}, h("h2", { class: "inline" }, "All other metrics")), further.box);
  content.append(h("h1", {}, bdi(run.name)), head, h("h2", {}, "Curves"), main.box,
    h("h2", {}, "Alarms and events"), events, h("h2", {}, "Evaluations"), evaluations, more, h("h2", {}, "The run"), facts);
  more.addEventListener("toggle", () => { if (more.open) further.draw(run.further, run.marks); });

  function draw() {
    head.replaceChildren(...top(run));
    events.replaceChildren(eventTable(run));
    evaluations.replaceChildren(evaluationTable(run));
    facts.replaceChildren(...about(run));
    main.draw(run.charts, run.marks);
    if (more.open) further.draw(run.further, run.marks);
  }

  page.attached = draw; // charts need their width
  page.every(2000, async () => {
    const fresh = await get(["runs", name], { unless: run.version }, page.signal);
    if (fresh === null) return;
    run = fresh;
    draw();
  });
}

/** Charts that stay, with their zoom, when their data change. */
class Charts {
  constructor(page) {
    this.box = h("div", { class: "charts" });
    this.drawn = new Map();
    page.onClose(() => this.drawn.forEach(({ chart }) => chart.destroy()));
  }

  draw(list, marks) {
    const titles = new Set(list.map((chart) => chart.title));
    for (const [title, { chart, host }] of this.drawn) {
      if (titles.has(title)) continue;
      chart.destroy();
      host.remove();
      this.drawn.delete(title);
    }
    list.forEach((given, at) => {
      const whole = { ...given, marks }, text = JSON.stringify(whole), known = this.drawn.get(given.title);
      if (known) {
        if (known.text !== text) known.chart.update(whole);
        known.text = text;
        return;
      }
      const host = h("div", {});
      this.box.insertBefore(host, this.box.children[at] ?? null);
      this.drawn.set(given.title, { host, text, chart: charts.draw(host, whole) });
    });
    if (!list.length && !this.box.children.length) this.box.append(h("p", { class: "quiet" }, "Nothing has been measured yet."));
    else if (list.length) this.box.querySelector(":scope > p")?.remove();
  }
}

function top(run) {
  const steps = run.num_steps ? `step ${run.steps_done} of ${run.num_steps}` : `step ${run.steps_done}`;
  return [
    h("div", { class: "row" }, chip(run.status), h("span", { id: "steps" }, steps), left(run), headline(run.headline),
      run.alarms ? h("span", { class: "chip bad" }, `${run.alarms} ${run.alarms === 1 ? "alarm" : "alarms"}`) : ""),
    run.cause ? h("p", { class: "note" }, visible(run.cause)) : "",
    run.description ? h("p", {}, visible(run.description)) : "",
    h("div", { class: "row" },
      run.rollout_steps ? link(["run", run.id, "rollouts"], {}, `Rollouts of ${run.rollout_steps} steps`) : "",
      run.evaluations.length ? link(["run", run.id, "evals"], {}, "Evaluations") : "",
      run.kind === "policy" ? link(["lab"], { run: run.id }, "Reward lab") : "",
      run.has_report ? h("a", { href: `/report/${encodeURIComponent(run.id)}`, target: "_blank", rel: "noopener" }, "Report")
        : h("span", { class: "quiet" }, "No report yet: ", h("code", {}, `reasonrl report ${run.path}`))),
  ];
}

function eventTable(run) {
  if (!run.events.length) return h("p", { class: "quiet" }, "None.");
  return table(["Step", "What", "", "When"], run.events.slice(0, 200).map((event) => [
    num(String(event.step)), h("span", { class: `chip ${event.kind === "alarm" ? "bad" : ""}` }, event.kind.replaceAll("_", " ")),
    bdi(event.message), h("span", { class: "quiet" }, event.wall.slice(0, 19).replace("T", " "))]));
}

function evaluationTable(run) {
  if (!run.evaluations.length) return h("p", { class: "quiet" }, "None.");
  return table(["Step", "Suite", "Figure", "Value", "95 % interval", ""], [...run.evaluations].reverse().slice(0, 20).map((one) => [
    num(String(one.step)), bdi(one.suite), bdi(one.label), num(number(one.value)), num(`${number(one.low)} to ${number(one.high)}`),
    link(["run", run.id, "evals", one.step, one.suite], {}, "Completions")]));
}

function about(run) {
  const rows = {
    Folder: run.path, Kind: run.kind.replaceAll("_", " "), Model: run.model, Task: run.task, Device: run.device,
    Started: run.created.slice(0, 19).replace("T", " "), Attempts: run.attempts, "Roll-backs": run.rollbacks,
    "Began with": run.began_with, Control: run.control,
    Checkpoints: run.checkpoints.join(", ") || "none", Command: run.argv.join(" "),
    ...Object.fromEntries(Object.entries(run.environment).map(([name, value]) => [name, value])),
  };
  const shown = Object.entries(rows).filter(([, value]) => value !== null && value !== undefined);
  return [h("dl", { class: "facts" }, shown.flatMap(([name, value]) => [h("dt", {}, name), h("dd", {}, bdi(value))])),
    h("details", {}, h("summary", {}, "All settings"), h("pre", {}, visible(run.settings)))];
}
