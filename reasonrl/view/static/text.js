/* Texts of models: long ones in pieces, and tokens with their log-probabilities and entropies. */
import { errorBox, get, h, number, say, visible } from "./dom.js";

const MORE = 200000; // characters that "show all" asks for at once

// Upper ends of the shades, in nats: of -log p, and of entropy.
const ENDS = [0.02, 0.1, 0.4, 1, 2, 4];
const MEASURES = {
  logprob: { label: "log-probability", heat: (value) => -value,
    shades: ["p > 0.98", "> 0.90", "> 0.67", "> 0.37", "> 0.14", "> 0.02", "less"] },
  entropy: { label: "entropy", heat: (value) => value,
    shades: ["≤ 0.02 nats", "≤ 0.1", "≤ 0.4", "≤ 1", "≤ 2", "≤ 4", "more"] },
};

function shade(measure, value) {
  if (value === null || value === undefined) return "";
  const heat = MEASURES[measure].heat(value);
  const at = ENDS.findIndex((end) => heat <= end);
  return at === 0 ? "" : `heat-${at === -1 ? ENDS.length : at}`;
}

/** A text that is not cut into tokens, with a button for what is left of it. */
export function plainText(piece, source) {
  return new LongText(piece, source).box;
}

/** A completion: tokens in color where they are known. `source`: {run, id, field} to ask for more of it. */
export function completion(piece, source, colors) {
  return new LongText(piece, source, colors).box;
}

/** What tokens are colored by, with its legend: one for all completions of a page. */
export class Colors {
  constructor() {
    this.measure = "logprob";
    this.texts = [];
    this.select = h("select", { "aria-label": "Color of the tokens", onchange: () => this.choose(this.select.value) },
      h("option", { value: "none" }, "no color"), h("option", { value: "logprob", selected: true }, MEASURES.logprob.label));
    this.legend = h("div", { class: "legend", "aria-label": "Legend" });
    this.hint = h("span", { class: "quiet small" }, "rollout.token_entropy: true records entropies too.");
    this.box = h("div", { class: "row", hidden: true }, h("label", {}, "Tokens by ", this.select), this.legend, this.hint);
  }

  add(text, hasEntropies) {
    this.texts.push(text);
    if (hasEntropies && this.select.length < 3) {
      this.select.append(h("option", { value: "entropy" }, MEASURES.entropy.label));
      this.hint.hidden = true;
    }
    this.box.hidden = false;
    this.choose(this.measure);
  }

  choose(measure) {
    this.measure = measure;
    const { shades } = MEASURES[measure] ?? { shades: [] };
    this.legend.replaceChildren(...shades.map((label, at) => h("span", { class: at ? `heat-${at}` : "" }, label)));
    this.texts.forEach((text) => text.color(measure));
  }
}

class LongText {
  constructor(piece, source, colors) {
    this.source = source;
    this.colors = colors;
    this.length = piece.length;
    this.shown = 0;
    this.tokens = []; // {span, logprob, entropy}
    this.body = h("div", { class: "model-text", dir: "auto" });
    this.more = h("div", { class: "row" });
    this.box = h("div", {}, this.body, this.more);
    if (colors && piece.tokens) this.withTokens(piece.tokens);
    else if (colors) this.box.prepend(h("p", { class: "quiet small" }, "Tokens are not recorded in this rollout."));
    this.add(piece);
  }

  withTokens(tokens) {
    this.readout = h("div", { class: "readout quiet", "aria-live": "polite" });
    this.body.before(this.readout);
    this.body.classList.add("tokens");
    this.body.tabIndex = 0;
    this.body.setAttribute("role", "group");
    this.body.setAttribute("aria-label", "Completion; arrow keys move from token to token");
    this.body.addEventListener("mouseover", (event) => this.point(event.target));
    this.body.addEventListener("keydown", (event) => this.key(event));
    this.colors.add(this, tokens.entropies.length > 0);
  }

  /** Appends a piece, and says what is left. */
  add(piece) {
    if (piece.tokens && this.readout) {
      const { texts, logprobs, entropies } = piece.tokens;
      texts.forEach((text, at) => this.token(text, logprobs[at], entropies[at]));
      this.body.append(visible(piece.text.slice(texts.join("").length)));
      this.color(this.colors.measure);
    } else {
      this.body.append(visible(piece.text));
    }
    this.shown += [...piece.text].length; // the server counts characters, not halves of them
    const left = this.length - this.shown;
    this.more.replaceChildren();
    if (left > 0 && this.source) {
      const next = Math.min(left, 20000);
      this.more.append(
        h("span", { class: "quiet" }, `${this.shown.toLocaleString("en")} of ${this.length.toLocaleString("en")} characters`),
        h("button", { type: "button", onclick: () => this.load(next) }, `Show ${next.toLocaleString("en")} more`),
        h("button", { type: "button", onclick: () => this.loadAll() }, "Show all"));
    } else if (left > 0) {
      this.more.append(h("span", { class: "quiet" }, `the first ${this.shown.toLocaleString("en")} of ${this.length.toLocaleString("en")} characters`));
    }
  }

  async load(count) {
    const { run, id, field } = this.source;
    try {
      const piece = await get(["runs", run, "texts", id], { field, start: this.shown, count });
      this.add(piece);
      return piece.text.length > 0;
    } catch (error) {
      this.more.replaceChildren(errorBox(error));
      return false;
    }
  }

  async loadAll() {
    this.more.querySelectorAll("button").forEach((button) => { button.disabled = true; });
    while (this.shown < this.length && this.box.isConnected && await this.load(MORE)) {
      await new Promise((done) => setTimeout(done)); // the page stays alive meanwhile
    }
    say("The whole text is shown.");
  }

  token(text, logprob, entropy) {
    // A token without characters is what ended the completion, or a part of a character.
    const isEmpty = text === "";
    const span = h("span", {}, isEmpty ? "\u00b7" : visible(text).replaceAll("\n", "\u23ce\n"));
    span.dataset.at = this.tokens.length;
    this.tokens.push({ span, logprob, entropy, text });
    this.body.append(span);
  }

  color(measure) {
    for (const { span, logprob, entropy } of this.tokens) {
      span.className = measure === "none" ? "" : shade(measure, measure === "logprob" ? logprob : entropy);
    }
    this.tokens[this.at]?.span.classList.add("at");
  }

  point(target) {
    const at = target.dataset?.at;
    if (at !== undefined) this.read(Number(at));
  }

  key(event) {
    const last = this.tokens.length - 1, now = this.at ?? -1;
    const next = { ArrowLeft: Math.max(0, now - 1), ArrowRight: Math.min(last, now + 1), Home: 0, End: last }[event.key];
    if (next === undefined || last < 0) return;
    this.read(next);
    this.tokens[next].span.scrollIntoView({ block: "nearest" });
    event.preventDefault();
    event.stopPropagation();
  }

  read(at) {
    this.tokens[this.at]?.span.classList.remove("at");
    this.at = at;
    const { span, logprob, entropy, text } = this.tokens[at];
    span.classList.add("at");
    const parts = [`token ${at + 1}`, text === "" ? "no text" : JSON.stringify(visible(text)), `log-probability ${number(logprob)}`];
    if (logprob !== null && logprob !== undefined) parts.push(`probability ${number(Math.exp(logprob))}`);
    if (entropy !== null && entropy !== undefined) parts.push(`entropy ${number(entropy)} nats`);
    this.readout.replaceChildren(h("bdi", {}, parts.join(" · ")));
  }
}
