// @ts-check
/** What the page knows: beds, alerts, who is present, the connections. One place, one instance. */

import { isWaiting, keyOf, RANK } from "./protocol.js";
import { secondsSince, serverNow } from "./time.js";

/**
 * @typedef {import("./protocol.js").Bed} Bed
 * @typedef {import("./protocol.js").Alert} Alert
 * @typedef {import("./protocol.js").Answer} Answer
 * @typedef {import("./protocol.js").Presence} Presence
 * @typedef {import("./protocol.js").Session} Session
 */

export const state = {
  /** @type {Session | null} */ session: null,
  /** @type {Map<string, Bed>} */ beds: new Map(),
  /** @type {Map<string, Presence>} */ presence: new Map(),
  /** @type {Map<string, Answer>} by alert: the last answer from this browser */ answers: new Map(),
  /** @type {Set<string>} ids of answers that this browser sent */ mine: new Set(),
  broker: { connected: true, reason: "", since: "" },
  title: "tocsin",
  release: "",
  /** @type {string[]} */ rejectReasons: [],
  /** @type {string | null} */ pushKey: null,
};

/** @param {string} right @returns {boolean} whether the person may do it */
export const may = (right) => state.session?.rights.includes(right) ?? false;

/** @param {Bed} bed @returns {boolean} whether what is shown of it is not of now */
export const isStale = (bed) =>
  bed.stale || !state.broker.connected || (bed.stale_at !== null && Date.parse(bed.stale_at) <= serverNow());

/** @param {Bed} bed @returns {boolean} whether no alert can come from it, against what is wanted */
export const isDead = (bed) => bed.state === "offline" || bed.state === "silent" || isStale(bed);

/** @param {Alert} alert @returns {boolean} */
export const isSilenced = (alert) =>
  alert.silenced_until !== null && Date.parse(alert.silenced_until) > serverNow();

/** @param {Bed} bed @returns {Alert | undefined} the gravest that nobody has accepted, else the gravest */
export const gravest = (bed) => bed.alerts.find(isWaiting) ?? bed.alerts[0];

/** @returns {Bed[]} beds that need somebody, the gravest first, then what has lasted longest */
export function needing() {
  /** @param {Bed} bed */
  const rank = (bed) => {
    const alert = bed.alerts.find(isWaiting);
    if (alert && alert.priority !== "low") return RANK[alert.priority];
    return isDead(bed) && state.broker.connected ? 2 : 9;
  };
  /** @param {Bed} bed */
  const since = (bed) => Date.parse(bed.alerts.find(isWaiting)?.since ?? "") || 0;
  return [...state.beds.values()]
    .map((bed) => ({ bed, rank: rank(bed) }))
    .filter((entry) => entry.rank < 9)
    .sort((a, b) => a.rank - b.rank || since(a.bed) - since(b.bed) || byPlace(a.bed, b.bed))
    .map((entry) => entry.bed);
}

/** @param {Bed} a @param {Bed} b */
export const byPlace = (a, b) =>
  a.site.localeCompare(b.site) ||
  a.place.localeCompare(b.place, undefined, { numeric: true }) ||
  a.device.localeCompare(b.device, undefined, { numeric: true });

/** @returns {{waiting: Record<string, number>, accepted: number}} alerts by priority */
export function counts() {
  const waiting = { high: 0, medium: 0, low: 0 };
  let accepted = 0;
  for (const bed of state.beds.values()) {
    for (const alert of bed.alerts) {
      if (isWaiting(alert)) waiting[alert.priority] += 1;
      else accepted += 1;
    }
  }
  return { waiting, accepted };
}

/** @returns {"high" | "medium" | "low" | null} the gravest priority that should sound now */
export function audible() {
  /** @type {"high" | "medium" | "low" | null} */
  let found = null;
  for (const bed of state.beds.values()) {
    for (const alert of bed.alerts) {
      if (!isWaiting(alert) || isSilenced(alert)) continue;
      if (found === null || RANK[alert.priority] < RANK[found]) found = alert.priority;
    }
  }
  return found;
}

/** @param {string} site @param {string} device @param {string} id @returns {Alert | undefined} */
export const openAlert = (site, device, id) =>
  state.beds.get(keyOf({ site, device }))?.alerts.find((alert) => alert.alert_id === id);

/** @param {Bed} bed @returns {number} seconds since the last beat; NaN if unknown */
export const beatAge = (bed) => secondsSince(bed.last_beat_at);
