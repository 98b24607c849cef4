// @ts-check
/** One bed: live ECG, what is active, who is present, trends, history. */

import { get, oneAtATime } from "./api.js";
import { drawTrends } from "./chart.js";
import { el, inStep, setAttr, setText } from "./dom.js";
import { quality, sign } from "./icons.js";
import { alertHash, alertUrl, isWaiting, keyOf } from "./protocol.js";
import { settings } from "./settings.js";
import { beatAge, isStale, may, state } from "./state.js";
import { drawPaper, Sweep } from "./sweep.js";
import { secondsSince, serverNow } from "./time.js";
import { conditionText, holderText, roleName, sinceText, stateText } from "./wall.js";
import { clock, dateClock, language, span, t } from "./words.js";

/** @typedef {import("./protocol.js").Bed} Bed */
/** @typedef {import("./protocol.js").Alert} Alert */

const HOURS = [1, 4, 12, 24, 72];

/** @param {number} leads @returns {import("./sweep.js").Look} */
const lookFor = (leads) => ({
  pxPerMm: settings.pxPerMm, mmPerS: 25, mmPerMv: 10, laneMm: leads > 3 ? 20 : 30, topMm: 6, labels: true,
});

/** A live ECG on paper, calibrated; used by the bed and the alert. */
export class LiveEcg {
  constructor() {
    this.paper = el("canvas", { class: "sheet", "aria-hidden": "true" });
    this.canvas = el("canvas", { class: "trace", role: "img" });
    this.note = el("p", { class: "over", "aria-live": "polite" });
    this.foot = el("p", { class: "small" });
    this.root = el("div", { class: "live" }, el("div", { class: "sheets" }, this.paper, this.canvas, this.note), this.foot);
    this.sweep = new Sweep(this.canvas, lookFor(1));
    this.signature = "";
  }

  /** @param {Bed | undefined} bed */
  show(bed) {
    setText(this.foot, t("paper_note"));
    const publishes = bed !== undefined && bed.waveforms.length > 0;
    this.root.classList.toggle("empty", !publishes && this.sweep.lanes.size === 0);
    let note = "";
    if (!bed) note = t("bed_unknown");
    else if (!publishes && this.sweep.lanes.size === 0) note = t("no_waveform");
    else if (isStale(bed)) note = stateText(bed) || t("state_unknown");
    else if (!this.sweep.alive) note = t("no_samples", { span: span(this.sweep.arrivedAt ? (performance.now() - this.sweep.arrivedAt) / 1000 : 0) });
    setText(this.note, note);
    this.note.hidden = note === "";
    this.canvas.setAttribute("aria-label", t("live_ecg", { place: bed?.place ?? "" }));
    this.#fit();
  }

  #fit() {
    const leads = [...this.sweep.lanes.keys()];
    const signature = JSON.stringify([leads, settings.pxPerMm, this.paper.clientWidth, document.documentElement.dataset.theme, window.devicePixelRatio]);
    if (signature === this.signature) return;
    this.signature = signature;
    this.sweep.look = lookFor(leads.length);
    drawPaper(this.paper, this.sweep.look, leads);
    this.sweep.fit();
  }

  refit() {
    this.signature = "";
    this.#fit();
  }

  /** @param {import("./protocol.js").Wave} wave */
  take(wave) {
    this.sweep.take(wave);
    this.#fit();
  }
}

/** A page of one bed, which draws its live ECG. */
export class LivePage {
  /** @param {{site: string, device: string}} bed */
  constructor(bed) {
    this.key = keyOf(bed);
    this.live = new LiveEcg();
  }

  /** @param {import("./protocol.js").Wave} wave */
  takeWave(wave) {
    if (keyOf(wave) === this.key) this.live.take(wave);
  }

  /** @param {import("./protocol.js").Beats} beats */
  takeBeats(beats) {
    if (keyOf(beats) === this.key) this.live.sweep.takeBeats(beats);
  }

  get moving() {
    return this.live.sweep.moving;
  }

  /** @param {number} seconds */
  frame(seconds) {
    return this.live.sweep.frame(seconds) ? 1 : 0;
  }
}

export class BedPage extends LivePage {
  /**
   * @param {{site: string, device: string}} of
   * @param {(site: string, action: string) => Promise<void>} presence
   */
  constructor(of, presence) {
    super(of);
    this.of = of;
    this.pressPresence = presence;
    this.hours = 4;
    this.signature = "";
    this.listed = "";
    this.title = el("h1", {});
    this.rate = el("p", { class: "big" });
    this.state = el("p", { class: "state" });
    this.leads = el("p", { class: "leads" });
    this.facts = el("dl", { class: "facts" });
    this.alerts = el("ul", { class: "rows" });
    this.present = el("div", {});
    this.presses = el("div", { class: "actions" });
    this.presence = el("div", { class: "presence" }, el("h3", { text: t("presence") }), this.present, this.presses);
    this.trend = el("div", { class: "trends" });
    this.spans = el("div", { class: "choices", role: "group" },
      ...HOURS.map((hours) => el("button", { onclick: () => { this.hours = hours; this.load(); } }, t("hours", { hours }))));
    this.history = el("ul", { class: "rows" });
    this.root = el(
      "main", { class: "page bed", id: "main", tabindex: "-1" },
      el("div", { class: "top" }, el("div", {}, this.title, this.state), el("div", { class: "vital" }, this.rate, this.leads)),
      this.live.root,
      el("div", { class: "columns" },
        el("section", {}, el("h2", { text: t("active_alerts") }), this.alerts),
        el("section", {}, el("h2", { text: t("patient_and_presence") }), this.facts, this.presence)),
      el("section", {}, el("div", { class: "line" }, el("h2", { text: t("trends") }), this.spans), this.trend),
      el("section", {}, el("h2", { text: t("history") }), this.history),
    );
    this.load();
  }

  get bed() {
    return state.beds.get(keyOf(this.of));
  }

  load = oneAtATime(async () => {
    HOURS.forEach((hours, index) => setAttr(this.spans.children[index], "aria-pressed", String(hours === this.hours)));
    const { site, device } = this.of;
    const hours = this.hours;
    const names = `${encodeURIComponent(site)}/${encodeURIComponent(device)}`;
    const query = new URLSearchParams({ site, device, limit: "50", language: language() });
    const [trend, history] = await Promise.allSettled([get(`/api/trend/${names}?hours=${hours}`), get(`/api/history?${query}`)]);
    if (hours !== this.hours) return; // asked for again
    if (trend.status === "fulfilled") {
      this.points = trend.value.points;
      drawTrends(this.trend, this.points, hours, serverNow());
    } else this.trend.replaceChildren(el("p", { class: "calm", text: t("not_loaded") }));
    if (history.status === "fulfilled") this.#history(history.value.alerts);
    else {
      this.listed = "";
      this.history.replaceChildren(el("li", { class: "calm", text: t("not_loaded") }));
    }
  });

  /** There is more to read. @param {import("./protocol.js").HistoryMessage} message */
  takeHistory(message) {
    if (keyOf(message) === this.key) this.load();
  }

  /** @param {Alert[]} alerts */
  #history(alerts) {
    const signature = JSON.stringify(alerts);
    if (signature === this.listed) return;
    this.listed = signature;
    this.history.replaceChildren(
      ...(alerts.length ? alerts.map((alert) => row(alert, true)) : [el("li", { class: "calm", text: t("no_history") })]),
    );
  }

  show() {
    const bed = this.bed;
    this.live.show(bed);
    setText(this.title, bed?.place ?? `${this.of.site}/${this.of.device}`);
    const text = bed ? stateText(bed) : t("bed_unknown");
    setText(this.state, text || t("state_monitoring"));
    this.state.classList.toggle("bad", text !== "");
    const rate = !bed || bed.heart_rate_bpm === null || isStale(bed) ? "–" : String(Math.round(bed.heart_rate_bpm));
    setText(this.rate, `${rate} /min`);
    const signature = JSON.stringify([bed && { ...bed, last_seen_at: "", stale_at: "", last_beat_at: "" }, [...state.presence.values()], state.session?.rights, Math.floor(performance.now() / 1000)]);
    if (!bed || signature === this.signature) return;
    this.signature = signature;
    this.leads.replaceChildren(...bed.leads.map((lead) => quality(lead, t("lead_quality", { lead: lead.name, percent: Math.round(lead.quality * 100) }))));
    const shown = [...this.alerts.children].map((child) => child.getAttribute("data-key")).join();
    const wanted = bed.alerts.map((alert) => `${alert.alert_id}.${alert.state}`).join();
    if (shown !== wanted || !bed.alerts.length) {
      this.alerts.replaceChildren(...(bed.alerts.length ? bed.alerts.map((alert) => row(alert, false)) : [el("li", { class: "calm", text: t("nothing_active") })]));
      inStep(this.alerts);
    } else bed.alerts.forEach((alert, index) => setText(/** @type {Element} */ (this.alerts.children[index].querySelector(".meta")), metaText(alert)));
    this.#facts(bed);
    this.#presence(bed);
  }

  /** @param {Bed} bed */
  #facts(bed) {
    const beat = beatAge(bed);
    /** @type {[string, string][]} */
    const facts = [
      [t("patient"), bed.patient ?? "–"],
      [t("context"), bed.context || "–"],
      [t("device"), `${bed.site}/${bed.device}`],
      [t("last_seen"), bed.last_seen_at ? t("ago", { span: span(secondsSince(bed.last_seen_at)) }) : "–"],
      [t("last_beat_name"), Number.isNaN(beat) ? "–" : t("ago", { span: span(beat) })],
      [t("battery"), bed.battery === "low" ? t("battery_low") : t("battery_unknown")],
    ];
    if (bed.synthetic) facts.push([t("samples"), t("synthetic")]);
    for (const fault of bed.faults) facts.push([t("fault"), fault]);
    const flat = facts.flat();
    if (this.facts.children.length !== flat.length) {
      this.facts.replaceChildren(...facts.flatMap(([name, value]) => [el("dt", { text: name }), el("dd", { text: value })]));
    } else flat.forEach((text, index) => setText(this.facts.children[index], text));
  }

  /**
   * The buttons stay when a lease is renewed: a press on one that is replaced meanwhile is lost.
   *
   * @param {Bed} bed
   */
  #presence(bed) {
    const here = [...state.presence.values()].filter((one) => one.site === bed.site && one.present);
    const mine = here.some((one) => one.who === state.session?.user);
    const texts = here.map((one) =>
      t("present_until", { who: one.who ?? "–", role: roleName(one.role), clock: one.until ? clock(Date.parse(one.until)) : "–" }));
    const said = JSON.stringify(texts);
    if (this.present.dataset.said !== said) {
      this.present.dataset.said = said;
      this.present.replaceChildren(...(texts.length ? texts : [t("nobody_present_long")]).map((text) => el("p", { text })));
    }
    const asked = JSON.stringify([mine, may("presence")]);
    if (this.presses.dataset.asked === asked) return;
    this.presses.dataset.asked = asked;
    const buttons = !may("presence") ? [] : mine
      ? [button("presence_renew", () => this.pressPresence(bed.site, "renew")), button("presence_release", () => this.pressPresence(bed.site, "release"))]
      : [button("presence_take", () => this.pressPresence(bed.site, "take"))];
    this.presses.replaceChildren(...buttons);
  }

  /** @returns {Bed[]} */
  watched() {
    return this.bed ? [this.bed] : [];
  }

  refit() {
    this.live.refit();
    if (this.points) drawTrends(this.trend, this.points, this.hours, serverNow());
  }

  /** @returns {Alert | null} */
  selected() {
    const focused = document.activeElement?.closest("[data-id]")?.getAttribute("data-id");
    return this.bed?.alerts.find((alert) => alert.alert_id === focused) ?? null;
  }
}

/** @param {string} word @param {() => void} press */
const button = (word, press) => el("button", { onclick: press }, t(word));

/** @param {Alert} alert */
const metaText = (alert) => `${sinceText(alert)} · ${holderText(alert)}`;

/**
 * A line of a list of alerts; one of the history has its strip.
 *
 * @param {Alert} alert
 * @param {boolean} past
 */
function row(alert, past) {
  const meta = past
    ? `${dateClock(Date.parse(alert.since))} · ${alert.ended_at ? t("lasted", { span: span((Date.parse(alert.ended_at) - Date.parse(alert.since)) / 1000) }) : t("lasts")}${alert.holder === null ? "" : ` · ${holderText(alert)}`}`
    : metaText(alert);
  const strip = past && alert.has_strip
    ? el("details", {
        class: "strip",
        ontoggle: (event) => {
          const details = /** @type {HTMLDetailsElement} */ (event.target);
          if (details.open && details.children.length === 1) {
            details.append(el("img", { class: "strip", loading: "lazy", alt: t("strip_of", { condition: alert.condition }), src: alertUrl(alert, "/strip.svg") }));
          }
        },
      }, el("summary", { text: t("strip") }))
    : null;
  return el(
    "li",
    { class: "row", "data-priority": alert.priority, "data-waiting": !past && isWaiting(alert) ? "yes" : null, "data-key": `${alert.alert_id}.${alert.state}`, "data-id": alert.alert_id },
    el("a", { href: alertHash(alert), class: "open" }, sign(alert.priority), el("b", { text: conditionText(alert) }), el("span", { class: "meta", text: meta })),
    strip,
  );
}

