// @ts-check
/** The wall: on top the beds that need somebody, the gravest first; below, every bed at its place. */

import { arrange, el, inStep, setAttr, setText } from "./dom.js";
import { quality, sign } from "./icons.js";
import { bedHash, isWaiting, keyOf } from "./protocol.js";
import { settings } from "./settings.js";
import { beatAge, byPlace, counts, gravest, isDead, isSilenced, isStale, may, needing, state } from "./state.js";
import { Sweep } from "./sweep.js";
import { secondsSince, serverNow } from "./time.js";
import { clock, hasWord, span, t } from "./words.js";

/** @typedef {import("./protocol.js").Bed} Bed */
/** @typedef {import("./protocol.js").Alert} Alert */

const MINI = { pxPerMm: 2, mmPerS: 12.5, mmPerMv: 5, laneMm: 12, topMm: 0, labels: false };

/** @param {Bed} bed @returns {string} whether alerts can come from it, in words; empty if they can */
export function stateText(bed) {
  if (bed.state === "offline" || bed.state === "stopped" || bed.state === "source_lost" || bed.state === "starting") return t(`state_${bed.state}`);
  if (bed.state === "silent" || isStale(bed)) {
    const age = secondsSince(bed.last_seen_at);
    return Number.isNaN(age) ? t("state_unknown") : t("state_silent", { span: span(age) });
  }
  return bed.state === "unknown" ? t("state_unknown") : "";
}

/** @param {Alert} alert @returns {string} who has it, or that nobody has */
export function holderText(alert) {
  if (alert.holder !== null) return t("has_it", { who: alert.holder });
  if (isSilenced(alert)) return t("nobody_silenced", { clock: clock(Date.parse(alert.silenced_until ?? "")) });
  return isWaiting(alert) ? t("nobody_yet") : t("closed");
}

/** @param {Alert} alert @returns {string} since when, and whether it is over */
export function sinceText(alert) {
  const age = span(secondsSince(alert.since));
  if (alert.ended_at === null) return t("since", { span: age });
  return alert.end_observed ? t("ended", { span: span(secondsSince(alert.ended_at)) }) : t("end_unknown");
}

/** @param {Alert} alert @returns {string} */
export const conditionText = (alert) =>
  alert.rate_bpm === null ? alert.condition : `${alert.condition} ${Math.round(alert.rate_bpm)}/min`;

/** @param {{outcome: string, text: string}} answer @returns {string} what became of an answer */
export function outcomeText(answer) {
  if (answer.outcome === "sent") return t("sent");
  return hasWord(`outcome_${answer.outcome}`) ? t(`outcome_${answer.outcome}`) : answer.text || answer.outcome;
}

class Tile {
  /** @param {boolean} large with alerts, actions and ECG: on top of the wall */
  constructor(large) {
    this.large = large;
    /** @type {Sweep | null} */
    this.sweep = null;
    this.signature = "";
    this.asked = "";
    /** @type {Bed | undefined} */
    this.bed = undefined;
    this.around = "";
    this.place = el("span", { class: "place" });
    this.rate = el("span", { class: "rate" });
    this.unit = el("span", { class: "unit", text: "/min" });
    this.leads = el("span", { class: "leads" });
    this.facts = el("span", { class: "facts" });
    this.state = el("span", { class: "state" });
    this.alert = el("span", { class: "alert" });
    this.badge = el("span", { class: "badge" });
    this.link = el(
      "a",
      { class: "open" },
      el("span", { class: "head" }, this.badge, this.place),
      el("span", { class: "numbers" }, this.rate, this.unit, this.leads),
      this.state, this.alert, this.facts,
    );
    this.canvas = el("canvas", { class: "mini", "aria-hidden": "true" });
    this.actions = el("div", { class: "actions" });
    this.root = el("li", { class: large ? "tile large" : "tile" }, this.link, this.canvas, large && this.actions);
    this.canvas.hidden = true;
  }

  /**
   * @param {Bed} bed
   * @param {(alert: Alert, action: string) => void} act
   * @param {string} around what else its look depends on
   */
  show(bed, act, around) {
    if (bed === this.bed && around === this.around) return; // nothing of it can look different
    this.bed = bed;
    this.around = around;
    const alert = gravest(bed);
    const waiting = alert !== undefined && isWaiting(alert);
    const [dead, stale] = [isDead(bed), isStale(bed)];
    setAttr(this.link, "href", bedHash(bed));
    setText(this.place, bed.place);
    setText(this.rate, bed.heart_rate_bpm === null || stale ? "–" : String(Math.round(bed.heart_rate_bpm)));
    setAttr(this.root, "data-priority", alert?.priority ?? null);
    setAttr(this.root, "data-waiting", waiting ? "yes" : null);
    setAttr(this.root, "data-state", dead ? "dead" : bed.state);
    const text = stateText(bed);
    setText(this.state, text);
    this.state.hidden = text === "";
    const more = bed.alerts.length > 1 ? ` +${bed.alerts.length - 1}` : "";
    setText(this.alert, alert ? conditionText(alert) + more : text ? "" : t("nothing_active"));
    setText(this.facts, this.#facts(bed, alert));
    this.#rarely(bed, alert, waiting, act);
    setAttr(this.link, "aria-label", this.#name(bed, alert));
    this.#waves(bed);
  }

  /** @param {Bed} bed @param {Alert | undefined} alert */
  #facts(bed, alert) {
    const facts = [];
    if (alert) facts.push(sinceText(alert), holderText(alert));
    const beat = beatAge(bed);
    if (!Number.isNaN(beat) && !isStale(bed)) facts.push(t("last_beat", { span: beat < 10 ? `${beat.toFixed(0)} s` : span(beat) }));
    if (bed.battery === "low") facts.push(t("battery_low"));
    if (bed.synthetic) facts.push(t("synthetic"));
    if (bed.faults.length) facts.push(t("faults", { count: bed.faults.length }));
    return facts.join(" · ");
  }

  /** What is rebuilt only when it changes. @param {Bed} bed @param {Alert | undefined} alert @param {boolean} waiting @param {(alert: Alert, action: string) => void} act */
  #rarely(bed, alert, waiting, act) {
    const asked = JSON.stringify([
      alert?.priority, alert?.alert_id, waiting, alert?.holder, document.documentElement.lang, may("answer"),
    ]);
    if (this.large && asked !== this.asked) this.#buttons(alert, waiting, act);
    this.asked = asked;
    const signature = JSON.stringify([bed.leads, asked]);
    if (signature === this.signature) return;
    this.signature = signature;
    this.leads.replaceChildren(
      ...bed.leads.slice(0, 3).map((lead) => quality(lead, t("lead_quality", { lead: lead.name, percent: Math.round(lead.quality * 100) }))),
    );
    this.badge.replaceChildren(
      ...(alert ? [sign(alert.priority), el("b", { class: `word ${alert.priority}`, text: t(alert.priority) })] : []),
      ...(alert && !waiting ? [el("b", { class: "tick", text: "✓" })] : []),
    );
    inStep(this.root);
  }

  /**
   * Not rebuilt when a lead's quality changes: a press on a button that is replaced meanwhile is lost.
   *
   * @param {Alert | undefined} alert @param {boolean} waiting @param {(alert: Alert, action: string) => void} act
   */
  #buttons(alert, waiting, act) {
    const focused = this.actions.contains(document.activeElement);
    this.actions.replaceChildren(
      ...(alert && waiting && may("answer")
        ? [
            el("button", { class: "primary", onclick: () => act(alert, "accept"), "aria-keyshortcuts": "a" }, t("accept")),
            el("button", { onclick: () => act(alert, "open") }, t("look")),
          ]
        : alert ? [el("button", { onclick: () => act(alert, "open") }, t("look"))] : []),
    );
    if (focused) this.actions.querySelector("button")?.focus();
  }

  /** @param {Bed} bed @param {Alert | undefined} alert */
  #name(bed, alert) {
    const parts = [bed.place];
    if (alert) parts.push(t(alert.priority), conditionText(alert), holderText(alert));
    parts.push(stateText(bed) || (bed.heart_rate_bpm === null ? t("rate_unknown") : t("rate_is", { rate: Math.round(bed.heart_rate_bpm) })));
    return parts.join(", ");
  }

  /** @param {Bed} bed */
  #waves(bed) {
    const wanted = bed.waveforms.length > 0 && (this.large || settings.waves) && !isStale(bed);
    this.canvas.hidden = !wanted;
    if (!wanted) this.sweep = null;
    else this.sweep ??= new Sweep(this.canvas, MINI);
  }
}

export class Wall {
  /** @param {(alert: Alert, action: string) => void} act */
  constructor(act) {
    this.act = act;
    /** @type {Map<string, Tile>} */
    this.top = new Map();
    /** @type {Map<string, Tile>} */
    this.tiles = new Map();
    this.around = "";
    this.summary = el("p", { class: "summary" });
    this.needing = el("ul", { class: "tiles needing" });
    this.nobody = el("p", { class: "calm" });
    this.headingNow = el("h2", { id: "now" });
    this.sites = el("div", { class: "sites" });
    this.root = el(
      "main", { class: "wall", id: "main", tabindex: "-1" },
      el("section", { "aria-labelledby": "now" }, el("div", { class: "line" }, this.headingNow, this.summary), this.nobody, this.needing),
      this.sites,
    );
    /** @type {Map<string, {root: HTMLElement, heading: HTMLElement, list: HTMLElement}>} */
    this.sections = new Map();
    this.root.addEventListener("keydown", (event) => this.#arrows(event));
  }

  show() {
    // Ages are whole seconds by the server's clock; beats change them between two messages of a bed.
    this.around = [Math.floor(serverNow() / 1000), state.broker.connected, document.documentElement.lang, may("answer"), settings.waves].join();
    setText(this.headingNow, t("needs_somebody"));
    const first = needing();
    const { waiting, accepted } = counts();
    setText(this.summary, t("summary", { beds: state.beds.size, high: waiting.high, medium: waiting.medium, low: waiting.low, accepted }));
    setText(this.nobody, state.beds.size ? t("nobody_needed") : t("no_beds"));
    this.nobody.hidden = first.length > 0;
    arrange(this.needing, first.map((bed) => this.#tile(this.top, bed, true)));
    this.#drop(this.top, new Set(first.map(keyOf)));
    const beds = [...state.beds.values()].sort(byPlace);
    /** @type {Map<string, Bed[]>} */
    const bySite = new Map();
    for (const bed of beds) {
      const site = bySite.get(bed.site);
      if (site) site.push(bed);
      else bySite.set(bed.site, [bed]);
    }
    arrange(this.sites, [...bySite].map(([site, of]) => this.#site(site, of)));
    for (const site of this.sections.keys()) if (!bySite.has(site)) this.sections.delete(site);
    this.#drop(this.tiles, new Set(beds.map(keyOf)));
  }

  /** @param {string} site @param {Bed[]} beds @returns {Element} */
  #site(site, beds) {
    let section = this.sections.get(site);
    if (!section) {
      const id = `site-${this.sections.size}-${Math.random().toString(36).slice(2)}`;
      const heading = el("h2", { id });
      const list = el("ul", { class: "tiles" });
      section = { root: el("section", { "aria-labelledby": id }, heading, list), heading, list };
      this.sections.set(site, section);
    }
    const present = [...state.presence.values()].filter((one) => one.site === site && one.present);
    const who = present.length
      ? present.map((one) => t("present_as", { who: one.who ?? "–", role: roleName(one.role) })).join(", ")
      : t("nobody_present");
    setText(section.heading, `${site} · ${who}`);
    arrange(section.list, beds.map((bed) => this.#tile(this.tiles, bed, false)));
    return section.root;
  }

  /** @param {Map<string, Tile>} tiles @param {Bed} bed @param {boolean} large @returns {Element} */
  #tile(tiles, bed, large) {
    const key = keyOf(bed);
    let tile = tiles.get(key);
    if (!tile) {
      tile = new Tile(large);
      tiles.set(key, tile);
    }
    tile.show(bed, this.act, this.around);
    return tile.root;
  }

  /** @param {Map<string, Tile>} tiles @param {Set<string>} keep */
  #drop(tiles, keep) {
    for (const key of tiles.keys()) if (!keep.has(key)) tiles.delete(key);
  }

  /** Beds whose live ECG is shown here. @returns {Bed[]} */
  watched() {
    const beds = new Map();
    for (const tiles of [this.top, this.tiles]) {
      for (const [key, tile] of tiles) if (tile.sweep && tile.bed) beds.set(key, tile.bed);
    }
    return [...beds.values()];
  }

  /** @param {import("./protocol.js").Wave} wave */
  takeWave(wave) {
    for (const tiles of [this.top, this.tiles]) tiles.get(keyOf(wave))?.sweep?.take(wave);
  }

  takeBeats() {}

  get moving() {
    for (const tiles of [this.top, this.tiles]) {
      for (const tile of tiles.values()) if (tile.sweep?.moving) return true;
    }
    return false;
  }

  /** @param {number} seconds @returns {number} sweeps that were drawn on */
  frame(seconds) {
    let drawn = 0;
    for (const tiles of [this.top, this.tiles]) {
      for (const tile of tiles.values()) if (tile.sweep?.frame(seconds)) drawn += 1;
    }
    return drawn;
  }

  refit() {
    for (const tiles of [this.top, this.tiles]) for (const tile of tiles.values()) tile.sweep?.fit();
  }

  /** The alert under the focus, for keys. @returns {Alert | null} */
  selected() {
    for (const tiles of [this.top, this.tiles]) {
      for (const tile of tiles.values()) {
        if (tile.root.contains(document.activeElement) && tile.bed) return gravest(tile.bed) ?? null;
      }
    }
    return null;
  }

  /** Put the focus on the gravest bed that needs somebody. */
  focusFirst() {
    /** @type {HTMLElement | null} */ (this.needing.querySelector("a, button"))?.focus();
  }

  /** @param {KeyboardEvent} event */
  #arrows(event) {
    const step = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: 0, ArrowUp: 0 }[event.key];
    const active = document.activeElement;
    if (step === undefined || !active?.classList.contains("open")) return;
    const links = /** @type {HTMLElement[]} */ ([...this.root.querySelectorAll("a.open")]);
    const at = links.indexOf(/** @type {HTMLElement} */ (active));
    let next = links[at + step];
    if (step === 0) {
      const here = active.getBoundingClientRect();
      const down = event.key === "ArrowDown";
      const rows = links.filter((link) => {
        const box = link.getBoundingClientRect();
        return Math.abs(box.left - here.left) < box.width / 2 + 1 && (down ? box.top > here.top + 4 : box.top < here.top - 4);
      });
      next = down ? rows[0] : rows[rows.length - 1];
    }
    if (next) {
      next.focus();
      event.preventDefault();
    }
  }
}

/** @param {string} role @returns {string} */
export function roleName(role) {
  const name = t(`role_${role}`);
  return name === `role_${role}` ? role : name;
}
