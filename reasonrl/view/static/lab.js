/* The reward lab: paste a completion, see what every reward says of it. */
import { bdi, chip, errorBox, get, h, num, number, post, say, signed, table, visible } from "./dom.js";

export async function show(content, _, query, page) {
  const list = await get(["runs"], {}, page.signal);
  const policies = list.runs.filter((run) => run.kind === "policy");
  const run = h("select", { id: "lab-run" }, h("option", { value: "" }, "none: installed rewards only"),
    policies.map((one) => h("option", { value: one.id, selected: one.id === query.run }, one.name)));
  const area = (rows) => h("textarea", { rows, spellcheck: false, dir: "auto", class: "wide" });
  const prompt = area(5), answer = h("input", { class: "wide" }), meta = area(2), completions = h("div", {});
  const step = h("input", { type: "number", min: 0, value: 1 });
  const choices = h("div", {}), results = h("div", { "aria-live": "polite" });
  const button = h("button", { class: "main" }, "Score");
  const add = (text = "") => {
    const made = area(8), number = completions.children.length + 1;
    made.value = text;
    made.name = "completion";
    completions.append(h("label", { class: "field" }, number === 1 ? "Completion" : `Completion ${number}, a sibling`, made));
    return made;
  };
  add();
  const form = h("form", { class: "lab", onsubmit: (event) => { event.preventDefault(); score(); } },
    h("div", {}, completions, h("button", { type: "button", onclick: () => add().focus() }, "Add a sibling"),
      h("label", { class: "field" }, "Answer", answer), h("label", { class: "field" }, "Prompt, as the model saw it", prompt),
      h("label", { class: "field" }, "Further columns of the problem, as a JSON object (rollouts do not hold them)", meta)),
    h("div", {}, h("label", { class: "field" }, "Rewards of", run), choices,
      h("label", { class: "field" }, "Step, for weights that move", step), h("div", { class: "row" }, button)));
  content.append(h("h1", {}, "Reward lab"),
    h("p", { class: "quiet" }, "Rewards run in processes of their own and are ended when they take too long. Nothing is written."), form, results);

  async function offer() {
    try {
      choices.replaceChildren(...choiceBoxes(await get(["lab", "rewards"], { run: run.value }, page.signal)));
    } catch (error) {
      if (error.name !== "AbortError") choices.replaceChildren(errorBox(error));
    }
  }

  async function score() {
    const rewards = [...choices.querySelectorAll("input:checked[name]")].map((box) => ({ source: box.name, name: box.value }));
    button.disabled = true;
    results.replaceChildren(h("p", { class: "quiet" }, "Scoring ..."));
    try {
      const texts = [...completions.querySelectorAll("textarea")].map((one) => one.value);
      const asked = { run: run.value || null, step: Number(step.value) || 0, rewards, prompt: prompt.value, completions: texts,
        answer: answer.value, meta: meta.value.trim() ? JSON.parse(meta.value) : {} };
      if (!rewards.length) throw new Error("Choose a reward first.");
      results.replaceChildren(...verdicts(await post(["lab"], asked), texts));
      say("Scored.");
    } catch (error) {
      const isJson = error instanceof SyntaxError;
      results.replaceChildren(errorBox(isJson ? new Error(`The further columns are no JSON: ${error.message}`) : error));
    } finally {
      button.disabled = false;
    }
  }

  run.addEventListener("change", offer);
  await offer();
  if (query.run && query.rollout) await fill(query, { prompt, answer, completions, step }, page);
}

/** Takes the texts of a rollout. */
async function fill({ run, rollout }, fields, page) {
  const whole = (field) => get(["runs", run, "texts", rollout], { field, start: 0, count: 500000 }, page.signal);
  const [one, prompt, completion] = await Promise.all([get(["runs", run, "rollouts", rollout], {}, page.signal), whole("prompt"), whole("completion")]);
  fields.prompt.value = prompt.text;
  fields.completions.querySelector("textarea").value = completion.text;
  fields.answer.value = one.answer ?? "";
  fields.step.value = one.step;
}

function choiceBoxes(offered) {
  const box = (source, name, isChecked, ...more) => h("label", {},
    h("input", { type: "checkbox", name: source, value: name, checked: isChecked }), h("span", {}, bdi(name), ...more));
  const filter = h("input", { type: "search", placeholder: "find one", class: "wide", "aria-label": "Find an installed reward" });
  const installed = offered.installed.map((name) => box("installed", name, !offered.run.length && name === "numeric_answer"));
  filter.addEventListener("input", () => installed.forEach((label) => {
    label.hidden = !label.textContent.toLowerCase().includes(filter.value.toLowerCase()) && !label.firstChild.checked;
  }));
  return [
    offered.run.length ? h("fieldset", { class: "choices" }, h("legend", {}, "Of the run"), offered.run.map((one) => box("run", one.label, true,
      h("span", { class: "quiet small" }, ` weight ${number(one.weight)}`, one.gate ? `, behind ${visible(one.gate)}` : "", one.label === one.name ? "" : ` · ${visible(one.name)}`),
      one.file ? h("span", { class: "chip warn" }, "runs code of this folder") : ""))) : "",
    h("details", { open: !offered.run.length }, h("summary", {}, `Installed (${offered.installed.length})`), filter,
      h("div", { class: "choices" }, installed)),
  ];
}

function verdicts(found, texts) {
  const parts = (score) => Object.entries(score.parts).map(([name, value]) => `${visible(name)} ${number(value)}`).join(" · ");
  return texts.map((text, at) => h("section", {},
    h("h2", {}, texts.length > 1 ? `Completion ${at + 1}` : "Verdicts"),
    found.totals ? h("p", {}, "Weighted sum ", h("strong", {}, number(found.totals[at].value)), " ",
      found.totals[at].outcome === "scored" ? "" : chip(found.totals[at].outcome), " ", bdi(found.totals[at].why),
      found.totals[at].shut.length ? ` · gate shut: ${found.totals[at].shut.map(visible).join(", ")}` : "") : "",
    table(["Reward", "Value", "Outcome", "Why", "Parts", "ms"], found.rewards.map((one) => {
      if (one.refused) return [bdi(one.name), "", chip("error", "not asked"), { colSpan: 3, content: bdi(one.refused) }];
      const score = one.scores[at];
      return [bdi(one.name), num(score.value === null ? "–" : number(score.value)), chip(score.outcome), h("div", {}, bdi(score.why || "(no reason given)"),
        score.spans.map((span) => h("div", { class: "small" }, signed(span.value), " for ", bdi([...text].slice(span.start, span.end).join("").slice(0, 200)), " ", bdi(span.why)))),
      bdi(parts(score)), num(number(score.run_s * 1000))];
    }))));
}
