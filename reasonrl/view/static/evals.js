/* What was measured held out in a run, and which two measurements to compare. */
import { bdi, get, h, link, num, number, table, to } from "./dom.js";

export async function show(content, [name], _, page) {
  const [run, all] = await Promise.all([get(["runs", name], {}, page.signal), get(["runs"], {}, page.signal)]);
  content.append(h("h1", {}, "Evaluations of ", bdi(run.name)));
  const suites = [...new Set(run.evaluations.map((one) => one.suite))];
  if (!suites.length) {
    content.append(h("p", { class: "quiet" }, "No held-out suite was measured yet."));
    return;
  }
  for (const suite of suites) {
    const of = run.evaluations.filter((one) => one.suite === suite), last = of.at(-1);
    const rates = Object.keys(last.rates);
    content.append(h("h2", {}, bdi(suite), h("span", { class: "quiet small" }, ` ${last.role}, ${last.num_problems} problems`)),
      compareForm(name, suite, of, all.runs),
      table(["Step", bdi(last.label), "95 % interval", ...rates, "tokens", ""], of.map((one) => [
        num(String(one.step)), num(number(one.value)), num(`${number(one.low)} to ${number(one.high)}`),
        ...rates.map((rate) => num(number(one.rates[rate] ?? null))), num(number(one.mean_tokens)),
        link(["run", name, "evals", one.step, suite], {}, "Completions")])));
  }
}

function compareForm(name, suite, of, runs) {
  const steps = of.map((one) => String(one.step));
  const select = (label, chosen) => h("select", { "aria-label": label }, steps.map((step) =>
    h("option", { value: step, selected: step === chosen }, `step ${step}`)));
  const first = select("A: step", steps[0]), other = h("select", { "aria-label": "B: run" },
    runs.filter((run) => run.headline).map((run) => h("option", { value: run.id, selected: run.id === name }, run.name)));
  const second = h("select", { "aria-label": "B: step" });
  const offer = async () => {
    const run = other.value === name ? { evaluations: of } : await get(["runs", other.value]);
    const found = run.evaluations.filter((one) => one.suite === suite).map((one) => String(one.step));
    second.replaceChildren(...found.map((step, at) => h("option", { value: step, selected: at === found.length - 1 }, `step ${step}`)));
  };
  other.addEventListener("change", offer);
  offer();
  return h("form", { class: "row", "aria-label": `Compare two measurements of ${suite}`, onsubmit: (event) => {
    event.preventDefault();
    if (second.value) location.hash = to(["pair"], { a: `${name}@${first.value}`, b: `${other.value}@${second.value}`, suite });
  } }, "Compare A ", first, " with B ", other, second, h("button", {}, "Paired by problem"));
}
