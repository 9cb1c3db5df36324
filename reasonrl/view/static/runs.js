/* The list of runs. */
import { bdi, chip, get, h, later, link, num, number, table } from "./dom.js";

const ORDERS = {
  name: (run) => run.name.toLowerCase(),
  status: (run) => run.status,
  created: (run) => run.created ?? "",
  steps: (run) => run.steps_done ?? -1,
  headline: (run) => run.headline?.value ?? -Infinity,
  alarms: (run) => run.alarms ?? 0,
};

export async function show(content, _, query, page) {
  const state = { order: query.sort ?? "created", isDown: query.up !== "1", wanted: query.filter ?? "", data: await get(["runs"]) };
  const filter = h("input", { type: "search", id: "filter", value: state.wanted, placeholder: "name, task, model, status" });
  const list = h("div", {}), note = h("p", { class: "quiet" });
  filter.addEventListener("input", later(150, () => { state.wanted = filter.value; draw(); }));
  content.append(h("h1", {}, "Runs"), note,
    h("div", { class: "row" }, h("label", {}, "Filter ", filter)), list);

  function draw() {
    const { folder, runs } = state.data;
    const words = state.wanted.toLowerCase().split(/\s+/).filter(Boolean);
    const text = (run) => [run.name, run.task, run.model, run.status, run.kind, run.device].join(" ").toLowerCase();
    const key = ORDERS[state.order] ?? ORDERS.created;
    const sorted = runs.filter((run) => words.every((word) => text(run).includes(word)))
      .sort((a, b) => (key(a) < key(b) ? -1 : key(a) > key(b) ? 1 : 0) * (state.isDown ? -1 : 1));
    note.replaceChildren(`${runs.length} ${runs.length === 1 ? "run" : "runs"} in `, bdi(folder));
    if (!runs.length) {
      list.replaceChildren(h("p", { class: "note" }, "No run directory here yet. One appears as soon as a run begins: reasonrl train quickstart"));
      return;
    }
    list.replaceChildren(table(heads(), sorted.map(row), { class: "list" }));
  }

  function heads() {
    const head = (label, order, attributes = {}) => ({
      ...attributes,
      "aria-sort": state.order === order ? (state.isDown ? "descending" : "ascending") : "none",
      content: h("button", { type: "button", id: `sort-${order}`, onclick: () => sort(order) },
        label, state.order === order ? (state.isDown ? " ▾" : " ▴") : ""),
    });
    return [head("Run", "name"), head("Status", "status"), head("Steps", "steps", { class: "number" }),
      head("Held out", "headline"), "Reward", head("Alarms", "alarms", { class: "number" }), "Model", head("Started", "created")];
  }

  function sort(order) {
    state.isDown = state.order === order ? !state.isDown : order !== "name";
    state.order = order;
    draw();
    document.getElementById(`sort-${order}`).focus();
  }

  draw();
  page.every(2000, async () => {
    const fresh = await get(["runs"], {}, page.signal);
    if (JSON.stringify(fresh) === JSON.stringify(state.data)) return;
    state.data = fresh;
    const focused = list.contains(document.activeElement) ? document.activeElement.getAttribute("href") : null;
    draw();
    if (focused) [...list.querySelectorAll("a")].find((each) => each.getAttribute("href") === focused)?.focus();
  });
}

function row(run) {
  if (run.error) return [link(["run", run.id], {}, bdi(run.name)), chip("unreadable"), "", { colSpan: 5, content: bdi(run.error) }];
  const steps = run.num_steps ? `${run.steps_done} / ${run.num_steps}` : String(run.steps_done);
  return [
    h("div", {}, link(["run", run.id], {}, bdi(run.name)), h("div", { class: "quiet small" }, bdi(run.task), run.control ? ` · control: ${run.control}` : "")),
    h("div", {}, chip(run.status), left(run)), num(steps), headline(run.headline), spark(run.spark),
    num(run.alarms ? h("span", { class: "bad" }, String(run.alarms)) : "0"), bdi(run.model),
    h("span", { title: run.created }, run.created.slice(0, 16).replace("T", " ")),
  ];
}

/** What a run achieved: before, after, interval. */
export function headline(found) {
  if (!found) return h("span", { class: "quiet" }, "–");
  const before = found.before === null || found.before === undefined ? "" : `${number(found.before)} → `;
  const interval = found.low === undefined ? "" : ` [${number(found.low)}, ${number(found.high)}]`;
  return h("div", {}, h("strong", {}, `${before}${number(found.value)}`), interval,
    h("div", { class: "quiet small" }, bdi(found.name), ` at step ${found.step}`));
}

/** How long a run will still train. */
export function left(run) {
  if (run.seconds_left === null || run.seconds_left === undefined) return "";
  const minutes = Math.round(run.seconds_left / 60), hours = Math.floor(minutes / 60);
  return h("span", { class: "quiet small" }, ` ${hours ? `${hours} h ` : ""}${minutes % 60} min left`);
}

function spark(found) {
  if (!found || found.values.length < 2) return "";
  const { values } = found, low = Math.min(...values), high = Math.max(...values), space = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(space, "svg"), line = document.createElementNS(space, "polyline");
  const points = values.map((value, at) => `${(at / (values.length - 1)) * 100},${high === low ? 14 : 26 - ((value - low) / (high - low)) * 24}`);
  line.setAttribute("points", points.join(" "));
  svg.setAttribute("class", "spark");
  svg.setAttribute("viewBox", "0 0 100 28");
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("role", "img");
  svg.setAttribute("aria-label", `${found.metric} from ${number(values[0])} to ${number(values.at(-1))}`);
  svg.append(line);
  return svg;
}
