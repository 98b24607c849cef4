// @ts-check
/** The review of cases: one person reads one case after the other, and sees no answer of others. */

import { ApiError, get, post, useSession } from "./api.js";
// @ts-ignore: the server has it from tocsin_agent.drawing, which the page without a server shares
import { CaseForm } from "./case.js";
import { el, setText } from "./dom.js";
import { readSettings, settings } from "./settings.js";
import { language, t, useLanguage } from "./words.js";

/** @typedef {{case: string, asked: string, seconds: number}} Listed */
/** @typedef {{conditions: string[], names: Record<string, string>, labels: string[], unread: Listed[], read: Listed[]}} Cases */

readSettings();
await useLanguage(settings.language || navigator.language.slice(0, 2));
document.title = t("review_title");

const WORDS = {
  true: t("review_true"), false: t("review_false"), other: t("review_other"), condition: t("review_condition"),
  click: t("review_click"), sets_onset: t("review_sets_onset"), sets_end: t("review_sets_end"), sets_beats: t("review_sets_beats"),
  any: t("review_any"), is: t("review_is"), onset: t("review_onset"), end: t("review_end"),
  ecg: t("review_ecg"),
};
const problem = el("p", { class: "problem", role: "alert" });
const done = el("span", { id: "done", role: "status" });
const title = el("h1", { id: "title", text: t("review_title") });
const list = el("main", { class: "page", id: "main", tabindex: "-1" });
const save = el("button", { id: "save", class: "primary", onclick: () => keep() }, t("review_save"));
/** @type {any} */
let form = null;
/** @type {any} what the person has set for the case that is open */
let answer = {};
let shown = ""; // the case that is open, which the address may have left already
let changed = false;

document.body.append(
  el("header", { class: "chrome" }, el("a", { class: "title", href: "/" }, "tocsin"), el("a", { href: "#/", id: "cases" }, t("review_all")), done),
  list,
);
addEventListener("hashchange", (event) => {
  if (changed && !confirm(t("review_leave"))) history.replaceState(null, "", event.oldURL);
  else open();
});
addEventListener("beforeunload", (event) => { if (changed) event.preventDefault(); });

/** @returns {string} the case that the address names; empty: the list */
const named = () => location.hash.slice(2);

async function open() {
  const name = named();
  setText(problem, "");
  changed = false;
  try {
    useSession(await get("/api/session"));
    /** @type {Cases} */
    const cases = await get(`/api/review?language=${language()}`);
    const one = name ? await get(`/api/review/${encodeURIComponent(name)}`) : null;
    if (name !== named()) return; // the answer is late: another case is open
    setText(done, t("review_done", { read: cases.read.length, all: cases.read.length + cases.unread.length }));
    if (one) showCase(cases, one);
    else showList(cases);
  } catch (error) {
    if (name !== named()) return;
    list.replaceChildren(title, problem, el("a", { class: "button", href: "/" }, t("review_back")));
    fail(error);
  }
}

/** @param {Cases} cases */
function showList(cases) {
  setText(title, t("review_title"));
  /** @param {Listed} one */
  const item = (one) => el("li", {}, el("a", { href: `#/${encodeURIComponent(one.case)}` }, one.case), ` ${one.asked === "any" ? t("review_any") : cases.names[one.asked] ?? one.asked}, ${one.seconds.toFixed(0)} s`);
  list.replaceChildren(
    title, problem,
    el("h2", { text: t("review_unread") }), el("ul", { id: "unread" }, ...cases.unread.map(item)),
    el("h2", { text: t("review_read") }), el("ul", { id: "read" }, ...cases.read.map(item)),
  );
}

/** @param {Cases} cases @param {any} one */
function showCase(cases, one) {
  shown = one.shown.case;
  setText(title, shown);
  answer = { ...one.reading };
  form ??= new CaseForm(cases.conditions, cases.labels, (/** @type {any} */ now) => {
    answer = now;
    changed = true;
    save.disabled = !now.verdict;
  }, WORDS, cases.names);
  save.disabled = true;
  list.replaceChildren(
    title, problem, form.root,
    el("p", { class: "small" }, t("review_how")),
    save,
  );
  form.show(one.shown, one.reading);
}

async function keep() {
  save.disabled = true;
  try {
    useSession(await get("/api/session")); // the person may have logged in again meanwhile
    await post(`/api/review/${shown}`, answer);
    changed = false;
    const next = await get("/api/review");
    location.hash = next.unread.length ? `#/${encodeURIComponent(next.unread[0].case)}` : "#/";
  } catch (error) {
    fail(error);
    save.disabled = false;
  }
}

/** @param {unknown} error */
function fail(error) {
  if (!(error instanceof ApiError)) throw error;
  setText(problem, error.status === 0 ? t("server_away") : error.message);
}

open();
