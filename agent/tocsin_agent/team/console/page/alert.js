// @ts-check
/** One alert: the strip of its onset, the strip now, why, how often it is right, what to do with it. */

import { ApiError, get, oneAtATime } from "./api.js";
import { LivePage } from "./bed.js";
import { el, inStep, setText } from "./dom.js";
import { sign } from "./icons.js";
import { alertUrl, bedHash, isWaiting, keyOf } from "./protocol.js";
import { isSilenced, may, openAlert, state } from "./state.js";
import { stripView } from "./strip.js";
import { conditionText, holderText, outcomeText, sinceText } from "./wall.js";
import { clock, dateClock, hasWord, t } from "./words.js";

/** @typedef {import("./protocol.js").Alert} Alert */
/** @typedef {import("./protocol.js").AlertPage} Page */

/** @param {number | string} value */
const number = (value) => (typeof value === "number" ? String(Math.round(value * 1000) / 1000) : value);

/**
 * Write the name of a limit or a measured value with its unit: `vt_bpm` is `vt 100 /min`.
 *
 * @param {import("./protocol.js").Measured} one
 * @returns {[string, string]}
 */
export function named(one) {
  const units = { bpm: "/min", s: "s", ms: "ms", mv: "mV", percent: "%", hz: "Hz", beats: "" };
  for (const [ending, unit] of Object.entries(units)) {
    if (ending !== "beats" && one.name.endsWith(`_${ending}`)) {
      return [one.name.slice(0, -ending.length - 1).replaceAll("_", " "), `${number(one.value)} ${unit}`];
    }
  }
  return [one.name.replaceAll("_", " "), number(one.value)];
}

export class AlertPageView extends LivePage {
  /**
   * @param {{site: string, device: string, alert_id: string}} of
   * @param {(alert: Alert, action: string) => void} act
   */
  constructor(of, act) {
    super(of);
    this.of = of;
    this.act = act;
    /** @type {Page | null} */
    this.page = null;
    this.problem = "";
    this.signature = "";
    this.asked = "";
    this.drawn = "";
    this.headline = el("h1", {});
    this.sentence = el("p", { class: "sentence" });
    this.since = el("p", { class: "meta" });
    this.holder = el("p", { class: "holder" });
    this.badge = el("span", { class: "badge" });
    this.answer = el("p", { class: "answer", role: "status" });
    this.actions = el("div", { class: "actions" });
    this.chain = el("ol", { class: "chain" });
    this.strips = el("div", { class: "strips" });
    this.why = el("div", { class: "why" });
    this.right = el("div", { class: "right" });
    this.events = el("ol", { class: "events" });
    this.files = el("p", { class: "files" });
    this.print = el("div", { class: "print-only" });
    this.banner = el("header", { class: "banner" }, this.badge, el("div", {}, this.headline, this.sentence, this.since, this.holder));
    this.root = el(
      "main", { class: "page alert", id: "main", tabindex: "-1" },
      this.banner,
      el("div", { class: "bar" }, this.actions, this.answer),
      el("section", {}, el("h2", { text: t("strip_onset") }), this.strips),
      el("section", { class: "screen-only" }, el("h2", { text: t("strip_now") }), this.live.root),
      this.print,
      el("div", { class: "columns" },
        el("section", {}, el("h2", { text: t("why") }), this.why),
        el("section", {}, el("h2", { text: t("how_often_right") }), this.right, el("h2", { text: t("escalation") }), this.chain)),
      el("section", {}, el("h2", { text: t("events") }), this.events),
      this.files,
    );
    this.load();
  }

  /** The alert as it is now: open at its bed, else as it was last. @returns {Alert | null} */
  get alert() {
    const [now, page] = [openAlert(this.of.site, this.of.device, this.of.alert_id), this.page?.alert];
    if (!now) return page ?? null;
    // A bed with many alerts is sent without the reasons of each.
    return now.why || !page ? now : { ...now, why: page.why, what_to_do: page.what_to_do, right: page.right };
  }

  load = oneAtATime(async () => {
    try {
      this.page = await get(alertUrl(this.of));
      this.problem = "";
      this.#strips();
      this.#events();
    } catch (error) {
      this.problem = error instanceof ApiError && error.status === 404 ? t("alert_unknown") : t("not_loaded");
    }
    this.signature = "";
    this.show();
  });

  show() {
    const alert = this.alert;
    const bed = state.beds.get(this.key);
    this.live.show(bed);
    if (!alert) {
      setText(this.headline, this.problem || t("loading"));
      return;
    }
    setText(this.headline, `${this.page?.place ?? bed?.place ?? ""}: ${conditionText(alert)}`);
    setText(this.sentence, alert.text);
    setText(this.since, `${sinceText(alert)} · ${dateClock(Date.parse(alert.since))}${alert.unproven ? ` · ${t("unproven", { why: alert.unproven })}` : ""}${alert.synthetic ? ` · ${t("synthetic")}` : ""}${alert.clock === "unsynchronised" ? ` · ${t("clock_not_set")}` : ""}`);
    setText(this.holder, holderText(alert));
    const answer = state.answers.get(alert.alert_id);
    setText(this.answer, answer ? `${t(`action_${answer.action}`)}: ${outcomeText(answer)}` : "");
    this.answer.dataset.outcome = answer?.outcome ?? "";
    const signature = JSON.stringify([alert, isSilenced(alert), state.session?.rights, state.session?.user]);
    if (signature === this.signature) return;
    this.signature = signature;
    this.banner.dataset.priority = alert.priority;
    if (isWaiting(alert)) this.banner.dataset.waiting = "yes";
    else delete this.banner.dataset.waiting;
    this.badge.replaceChildren(sign(alert.priority), el("b", { text: t(alert.priority) }));
    this.#actions(alert);
    this.#why(alert);
    this.#right(alert);
    this.#chain(alert);
    inStep(this.root);
  }

  /**
   * Not rebuilt with the rest: a press on a button that is replaced meanwhile is lost.
   *
   * @param {Alert} alert
   */
  #actions(alert) {
    const asked = JSON.stringify([alert.state, alert.holder, isWaiting(alert), may("answer"), state.session?.user]);
    if (asked === this.asked) return;
    this.asked = asked;
    const focused = document.activeElement instanceof HTMLElement && this.actions.contains(document.activeElement) ? document.activeElement.dataset.action : "";
    const buttons = [];
    if (may("answer") && alert.state !== "closed") {
      const mine = alert.holder !== null && alert.holder === state.session?.user;
      const primary = alert.holder === null || mine;
      if (primary) buttons.push(this.#button(alert, "accept", mine ? "renew" : "accept", "a", true));
      if (mine) buttons.push(this.#button(alert, "give_back", "give_back", "g", false));
      if (isWaiting(alert)) {
        buttons.push(this.#button(alert, "reject", "reject", "r", false));
        buttons.push(this.#button(alert, "silence", "silence", "s", false));
      }
      buttons.push(this.#button(alert, "note", "note", "n", false));
    }
    buttons.push(el("button", { onclick: () => window.print(), "aria-keyshortcuts": "p" }, t("print")));
    buttons.push(el("a", { class: "button", href: bedHash(alert) }, t("to_bed")));
    this.actions.replaceChildren(...buttons);
    const again = focused && this.actions.querySelector(`[data-action="${focused}"]`);
    if (again instanceof HTMLElement) again.focus();
  }

  /** @param {Alert} alert @param {string} action @param {string} word @param {string} key @param {boolean} primary */
  #button(alert, action, word, key, primary) {
    return el("button", { class: primary ? "primary" : "", "data-action": action, "aria-keyshortcuts": key, onclick: () => this.act(this.alert ?? alert, action) }, t(word));
  }

  /** @param {Alert} alert */
  #why(alert) {
    const why = alert.why;
    if (!why) {
      this.why.replaceChildren(el("p", { class: "calm", text: t("no_document") }));
      return;
    }
    /** @param {string} title @param {import("./protocol.js").Measured[]} values */
    const table = (title, values) =>
      values.length
        ? el("table", {}, el("caption", { text: title }), el("tbody", {}, ...values.map((one) => {
            const [name, value] = named(one);
            return el("tr", {}, el("th", { scope: "row", text: name }), el("td", { text: value }));
          })))
        : null;
    const verdict = why.certainty !== null
      ? t("verified", { percent: Math.round(why.certainty * 100) }) : why.model ? t("by_model") : t("by_rule");
    this.why.replaceChildren(
      el("p", { class: "rule", text: why.rule }),
      el("p", { class: "certainty" }, el("b", { text: verdict }), why.trusted ? "" : ` · ${t("not_trusted")}`),
      ...[table(t("limits"), why.limits), table(t("measured"), why.measured), table(t("probabilities"), why.probabilities)].filter((one) => one !== null),
      el("p", { class: "small", text: [why.lead ? t("lead_used", { lead: why.lead }) : "", why.model ?? ""].filter(Boolean).join(" · ") }),
      ...(alert.what_to_do ? [el("h3", { text: t("what_to_do") }), el("p", { lang: "en", text: alert.what_to_do })] : []),
    );
  }

  /** @param {Alert} alert */
  #right(alert) {
    this.right.replaceChildren(
      ...(alert.right.length
        ? alert.right.map((one) => el("p", {}, el("b", { text: t("right_of", { right: one.right, raised: one.raised }) }), ` ${t("right_found", { found: one.found, due: one.due, records: one.records })}`))
        : [el("p", { class: "calm", text: t("not_judged") })]),
    );
  }

  /** @param {Alert} alert */
  #chain(alert) {
    this.chain.replaceChildren(
      ...alert.addressed.map((level) => el("li", { text: `${clock(Date.parse(level.at))} ${level.name}` })),
      ...(alert.repeats ? [el("li", { text: t("repeats", { count: alert.repeats }) })] : []),
      ...(alert.addressed.length || alert.repeats ? [] : [el("li", { class: "calm", text: t("not_escalated", { level: alert.level || "–" }) })]),
    );
  }

  #strips() {
    const page = this.page;
    if (!page) return;
    const drawn = JSON.stringify([page.onset_strip, page.strip, page.alert.condition]);
    if (drawn === this.drawn) return; // a picture that is loaded again is missing from what is printed meanwhile
    this.drawn = drawn;
    const parts = [];
    const first = page.onset_strip ?? page.strip;
    if (first) parts.push(stripView(first, t("strip_of", { condition: page.alert.condition }), t("onset")));
    if (page.onset_strip && page.strip && page.strip.data !== page.onset_strip.data) {
      parts.push(el("h3", { text: t("strip_latest", { clock: clock(Date.parse(page.strip.from_at)) }) }));
      parts.push(stripView(page.strip, t("strip_latest", { clock: clock(Date.parse(page.strip.from_at)) }), t("onset")));
    }
    if (!parts.length) parts.push(el("p", { class: "calm", text: t("no_strip") }));
    this.strips.replaceChildren(...parts);
    this.print.replaceChildren(
      ...(first ? [el("img", { class: "true-scale", alt: t("strip_of", { condition: page.alert.condition }), src: alertUrl(this.of, "/strip.svg") })] : []),
      el("p", { class: "small", text: t("print_note") }),
    );
    this.files.replaceChildren(
      ...(first ? [el("a", { href: alertUrl(this.of, "/strip.pdf"), download: true }, t("strip_pdf")), " "] : []),
      el("a", { href: alertUrl(this.of, "/episode.json"), download: true }, t("episode_json")), " ",
      ...(first ? [el("a", { href: alertUrl(this.of, "/episode.zip"), download: true }, t("episode_wfdb"))] : []),
    );
  }

  #events() {
    const events = this.page?.events ?? [];
    this.events.replaceChildren(
      ...events.map((event) => {
        const word = hasWord(`event_${event.event}`) ? t(`event_${event.event}`) : event.event;
        return el("li", {}, el("time", { text: dateClock(Date.parse(event.at)) }), ` ${word}`, event.who ? ` · ${event.who}` : "", event.text ? ` · ${event.text}` : "");
      }),
    );
  }

  watched() {
    const bed = state.beds.get(this.key);
    return bed ? [bed] : [];
  }

  refit() {
    this.live.refit();
    this.drawn = "";
    this.#strips();
  }

  /** There is more to read. @param {import("./protocol.js").HistoryMessage} message */
  takeHistory(message) {
    if (message.alert_id === this.of.alert_id && keyOf(message) === this.key) this.load();
  }

  /** @returns {Alert | null} */
  selected() {
    return this.alert;
  }
}

