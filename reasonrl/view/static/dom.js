/* Elements, requests, and small parts that several pages have. Every text goes in as text, never as markup. */

/** Makes an element. `attributes`: `class`, `on<event>`, properties of the element, or attributes. */
export function h(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) continue;
    if (name === "class") made.className = value;
    else if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (name in made && typeof made[name] !== "object") made[name] = value;
    else made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children.flat().filter((child) => child !== undefined && child !== null && child !== false));
  return made;
}

/** A text that somebody else wrote: its direction stays its own. */
export const bdi = (text, attributes = {}) => h("bdi", attributes, visible(String(text)));

/** Texts of models hold signs that steer a terminal or turn text round: they are written out. */
export function visible(text) {
  return text.replace(HIDDEN, (sign) => {
    const code = sign.codePointAt(0);
    if (code < 0x20) return String.fromCodePoint(0x2400 + code);
    if (code === 0x7f) return "\u2421";
    return `\u27e8U+${code.toString(16).toUpperCase().padStart(4, "0")}\u27e9`;
  });
}

// Control characters but tab and line feed, marks of direction, signs without width, tags, half surrogate pairs.
const HIDDEN = new RegExp(
  "[\\u0000-\\u0008\\u000b-\\u001f\\u007f-\\u009f\\u00ad\\u061c\\u180e\\u200b\\u200e\\u200f\\u2028-\\u202e\\u2060-\\u206f\\ufeff\\ufff9-\\ufffb" +
  "\\u{e0000}-\\u{e007f}\\ud800-\\udfff]", "gu");

export const number = (value) => charts.number(value);

export function signed(value) {
  return value === null || value === undefined ? "–" : (value > 0 ? "+" : "") + number(value);
}

/** A link within the app: each part of the path is escaped, empty parameters are left out. */
export function to(parts, query = {}) {
  const given = Object.entries(query).filter(([, value]) => value !== "" && value !== null && value !== undefined);
  const text = new URLSearchParams(given).toString();
  return `#/${parts.map(encodeURIComponent).join("/")}${text ? `?${text}` : ""}`;
}

export function link(parts, query, ...children) {
  return h("a", { href: to(parts, query) }, ...children);
}

export class RequestError extends Error {}

async function answer(response) {
  if (response.status === 204) return null;
  const body = await response.json().catch(() => ({ error: `the server answered ${response.status}.` }));
  if (!response.ok) throw new RequestError(body.error ?? `the server answered ${response.status}.`);
  return body;
}

async function reached(url, options) {
  try {
    return await fetch(url, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new RequestError("the server does not answer: is `reasonrl view` still running?");
  }
}

/** GET from the server: parts of a path under /api, and parameters. */
export async function get(parts, query = {}, signal = undefined) {
  const path = parts.map(encodeURIComponent).join("/");
  const given = Object.entries(query).filter(([, value]) => value !== "" && value !== null && value !== undefined);
  const text = new URLSearchParams(given).toString();
  return answer(await reached(`/api/${path}${text ? `?${text}` : ""}`, { signal }));
}

export async function post(parts, body) {
  const token = document.querySelector('meta[name="reasonrl-token"]').content;
  return answer(await reached(`/api/${parts.join("/")}`, {
    method: "POST",
    headers: { "Content-Type": "application/json", "X-Reasonrl-Token": token },
    body: JSON.stringify(body),
  }));
}

export function say(text) {
  document.getElementById("status").textContent = text;
}

export const errorBox = (error) => h("p", { class: "error", role: "alert" }, visible(error.message));

const KINDS = { running: "warn", finished: "good", failed: "bad", interrupted: "", silent: "bad", unreadable: "bad", scored: "good",
  timeout: "bad", error: "bad", unscorable: "warn", won: "good", lost: "bad", tied: "", length: "warn", stop: "" };

export const chip = (text, label = text) => h("span", { class: `chip ${KINDS[text] ?? ""}` }, visible(String(label)));

export const advantageOf = (value) =>
  h("span", { class: value > 0 ? "good" : value < 0 ? "bad" : "quiet" }, signed(value));

/** A table: heads are texts or elements; cells too, or {class, content}. */
export function table(heads, rows, attributes = {}) {
  const cell = (tag) => (given) => {
    const isCell = given !== null && typeof given === "object" && !(given instanceof Node) && !Array.isArray(given);
    const { content, ...more } = isCell ? given : { content: given };
    return h(tag, { ...(tag === "th" ? { scope: "col" } : {}), ...more }, content ?? "");
  };
  return h("div", { class: "scroll" }, h("table", attributes,
    h("thead", {}, h("tr", {}, heads.map(cell("th")))),
    h("tbody", {}, rows.map((row) => h("tr", {}, row.map(cell("td")))))));
}

export const num = (content) => ({ class: "number", content });

/** Pages of a list: where it stands, and buttons to the others. */
export function pager(offset, shown, total, isCapped, size, go) {
  const of = isCapped ? `more than ${total.toLocaleString("en")}` : total.toLocaleString("en");
  const text = total ? `${(offset + 1).toLocaleString("en")} to ${(offset + shown).toLocaleString("en")} of ${of}` : "none";
  const button = (label, at, isOn) => h("button", { type: "button", disabled: !isOn, onclick: () => go(at) }, label);
  return h("div", { class: "row pager" }, h("span", { class: "quiet" }, text),
    button("First", 0, offset > 0), button("Previous", Math.max(0, offset - size), offset > 0),
    button("Next", offset + size, isCapped ? shown === size : offset + shown < total));
}

/** Lets arrow keys move the focus over the elements that a selector finds in a box. */
export function arrows(box, selector, before, after) {
  box.addEventListener("keydown", (event) => {
    if (event.key !== before && event.key !== after) return;
    const all = [...box.querySelectorAll(selector)];
    const next = all[all.indexOf(event.target.closest(selector)) + (event.key === after ? 1 : -1)];
    if (!next) return;
    next.focus();
    event.preventDefault();
    event.stopPropagation();
  });
}

/** Calls a function once nothing more has come for a while. */
export function later(ms, call) {
  let timer;
  return (...given) => {
    clearTimeout(timer);
    timer = setTimeout(() => call(...given), ms);
  };
}

/** Whether a key was typed into something that takes text. */
export const isTyping = (event) =>
  ["INPUT", "TEXTAREA", "SELECT"].includes(event.target.tagName) || event.ctrlKey || event.metaKey || event.altKey;
