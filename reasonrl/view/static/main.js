/* Which page an address means, and what all pages have. */
import { errorBox, h, isTyping, link, say } from "./dom.js";
import * as runs from "./runs.js";
import * as run from "./run.js";
import * as rollouts from "./rollouts.js";
import * as rollout from "./rollout.js";
import * as group from "./group.js";
import * as evals from "./evals.js";
import * as samples from "./samples.js";
import * as pair from "./pair.js";
import * as lab from "./lab.js";

const PAGES = [
  [/^$/, runs],
  [/^run\/([^/]+)$/, run],
  [/^run\/([^/]+)\/rollouts$/, rollouts],
  [/^run\/([^/]+)\/rollout\/(\d+)$/, rollout],
  [/^run\/([^/]+)\/group\/(\d+)$/, group],
  [/^run\/([^/]+)\/evals$/, evals],
  [/^run\/([^/]+)\/evals\/(\d+)\/([^/]+)$/, samples],
  [/^pair$/, pair],
  [/^lab$/, lab],
];

/** What a page does for as long as it is shown: all of it ends with the page. */
class Shown {
  constructor() {
    this.ended = new AbortController();
    this.closers = [];
  }

  get signal() { return this.ended.signal; }

  /** Calls a function every so often, one call after the other; errors are told once in the page. */
  every(ms, call) {
    const turn = async () => {
      if (this.signal.aborted) return;
      try {
        if (!document.hidden) await call();
      } catch (error) {
        if (error.name !== "AbortError" && !this.signal.aborted) say(error.message);
      }
      if (!this.signal.aborted) setTimeout(turn, ms);
    };
    setTimeout(turn, ms);
  }

  onKey(handler) {
    addEventListener("keydown", handler, { signal: this.signal });
  }

  /** Calls a function when the page is left. */
  onClose(closer) { this.closers.push(closer); }

  close() {
    this.ended.abort();
    this.closers.forEach((closer) => closer());
  }
}

let shown = new Shown();
let isLater = false; // the first page leaves the focus where the browser has it

function parsed() {
  const [path, query = ""] = location.hash.replace(/^#\/?/, "").split(/\?(.*)/s);
  for (const [pattern, page] of PAGES) {
    const match = pattern.exec(path);
    if (match) return { page, params: match.slice(1).map(decodeURIComponent), query: Object.fromEntries(new URLSearchParams(query)) };
  }
  return { page: null, params: [], query: {} };
}

async function show() {
  shown.close();
  const now = shown = new Shown();
  const main = document.getElementById("main");
  let found;
  try {
    found = parsed();
  } catch {
    found = { page: null, params: [] }; // an address with half a percent sign
  }
  const { page, params, query } = found;
  places(page && params[0], page);
  const content = h("div", {});
  try {
    if (!page) throw new Error("There is no such page.");
    await page.show(content, params, query, now);
  } catch (error) {
    if (now.signal.aborted) return;
    content.replaceChildren(h("h1", {}, "That did not work"), errorBox(error), h("p", {}, h("a", { href: "#/" }, "All runs")));
  }
  if (now.signal.aborted) return;
  main.replaceChildren(content);
  now.attached?.();
  const title = content.querySelector("h1");
  document.title = title ? `${title.textContent} · reasonrl view` : "reasonrl view";
  if (title && isLater) {
    title.tabIndex = -1;
    title.focus({ preventScroll: true });
    scrollTo(0, 0);
  }
  isLater = true;
}

/** Where the page is among those of its run. */
function places(name, page) {
  const trail = document.getElementById("trail"), others = document.getElementById("places");
  const isOfRun = name !== undefined && name !== null && ![pair, lab, runs].includes(page);
  trail.replaceChildren(...(isOfRun ? [link(["run", name], {}, h("bdi", {}, name))] : []));
  const current = { [page === run]: "Curves", [[rollouts, rollout, group].includes(page)]: "Rollouts", [[evals, samples].includes(page)]: "Evaluations" }[true];
  others.replaceChildren(...(isOfRun ? [["Curves", []], ["Rollouts", ["rollouts"]], ["Evaluations", ["evals"]]].map(([label, rest]) => {
    const made = link(["run", name, ...rest], {}, label);
    if (label === current) made.setAttribute("aria-current", "page");
    return made;
  }) : []));
}

function theme() {
  const root = document.documentElement;
  const isDark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = isDark ? "light" : "dark";
  try { localStorage.setItem("theme", root.dataset.theme); } catch { /* a browser that keeps nothing */ }
}

try {
  const kept = localStorage.getItem("theme");
  if (kept) document.documentElement.dataset.theme = kept;
} catch { /* as above */ }
document.getElementById("theme").addEventListener("click", theme);
document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault(); // the hash is the address of the page
  document.getElementById("main").focus();
});
addEventListener("keydown", (event) => {
  if (event.key === "?" && !isTyping(event)) document.getElementById("keys").showModal();
});
addEventListener("hashchange", show);
show();
