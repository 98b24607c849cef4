// @ts-check
/**
 * What travels between the server and this page, as types; the server's are in `protocol.py`.
 * Every text may hold anything: it is shown as text.
 *
 * @typedef {"high" | "medium" | "low"} Priority
 * @typedef {{name: string, quality: number, used: boolean}} Lead
 * @typedef {{site: string, role: string, who: string | null, present: boolean, until: string | null}} Presence
 * @typedef {{name: string, value: number | string}} Measured
 * @typedef {{records: string, right: number, raised: number, found: number, due: number}} Reliability
 *
 * @typedef {object} Why
 * @property {string} rule
 * @property {Measured[]} limits
 * @property {Measured[]} measured
 * @property {string | null} verdict
 * @property {number | null} certainty
 * @property {Measured[]} probabilities
 * @property {string | null} model
 * @property {string | null} lead
 * @property {boolean} trusted
 *
 * @typedef {object} Alert
 * @property {string} site
 * @property {string} device
 * @property {string} alert_id
 * @property {number} sequence
 * @property {string} code
 * @property {"physiological" | "technical"} kind
 * @property {Priority} priority
 * @property {"onset" | "update" | "end"} phase
 * @property {"unacknowledged" | "acknowledged" | "returned_unacknowledged" | "closed"} state
 * @property {string} condition
 * @property {string} text
 * @property {number | null} rate_bpm
 * @property {string} since
 * @property {string | null} detected_at
 * @property {string | null} ended_at
 * @property {boolean} end_observed
 * @property {string | null} holder
 * @property {string | null} accepted_at
 * @property {string | null} silenced_until
 * @property {string} level
 * @property {{name: string, at: string}[]} addressed
 * @property {number} repeats
 * @property {Why | null} why
 * @property {string} what_to_do
 * @property {Reliability[]} right
 * @property {string} unproven
 * @property {boolean} synthetic
 * @property {string} clock
 * @property {boolean} has_strip
 *
 * @typedef {object} Bed
 * @property {string} site
 * @property {string} device
 * @property {string} place
 * @property {string | null} patient
 * @property {number | null} heart_rate_bpm
 * @property {Lead[]} leads
 * @property {"low" | null} battery
 * @property {"unknown" | "starting" | "monitoring" | "source_lost" | "stopped" | "silent" | "offline"} state
 * @property {boolean} stale
 * @property {string | null} last_seen_at
 * @property {string | null} stale_at
 * @property {string | null} last_beat_at
 * @property {boolean} synthetic
 * @property {string} context
 * @property {Presence | null} presence
 * @property {string[]} faults
 * @property {string[]} waveforms
 * @property {Alert[]} alerts
 *
 * @typedef {{user: string, role: string, rights: string[], language: string, csrf: string, expires_at: string, ask_s: number | null}} Session
 * @typedef {{site: string, device: string, lead: string, stream: string, rate_hz: number, start_index: number, at: string, gain_uv: number, samples: string}} Wave
 * @typedef {{site: string, device: string, stream: string, rate_hz: number, beats: [number, string][]}} Beats
 * @typedef {{site: string, device: string, alert_id: string}} HistoryMessage
 * @typedef {{id: string, site: string, device: string, alert_id: string, action: string, who: string, outcome: string, text: string}} Answer
 * @typedef {{leads: string[], rate_hz: number, gain_per_mv: number, data: string, from_at: string, rows: number[], labels: string[], onset_row: number | null}} Strip
 * @typedef {{at: string, site: string, device: string, alert_id: string, event: string, who: string | null, text: string}} Event
 * @typedef {{alert: Alert, place: string, patient: string | null, open: boolean, onset_strip: Strip | null, strip: Strip | null, events: Event[]}} AlertPage
 * @typedef {{at: string, heart_rate_bpm: number | null, lowest_bpm: number | null, highest_bpm: number | null, ventricular_beats: number, ventricular_per_hour: number | null, af_percent: number | null, pauses: number, signal_s: number, quality: number | null, sdnn_ms: number | null, st_change_mv: number | null}} TrendPoint
 */

/** The version of the protocol that this page speaks. */
export const VERSION = 1;

/** The graver the lower. */
export const RANK = { high: 0, medium: 1, low: 2 };

/** @param {{site: string, device: string}} of @returns {string} a key that no names can share */
export const keyOf = (of) => JSON.stringify([of.site, of.device]);

/** @param {Alert} alert @returns {boolean} whether somebody has to accept it still */
export const isWaiting = (alert) =>
  alert.state === "unacknowledged" || alert.state === "returned_unacknowledged";

/** @param {{site: string, device: string}} of */
export const bedHash = (of) => `#/bed/${encodeURIComponent(of.site)}/${encodeURIComponent(of.device)}`;

/** @param {{site: string, device: string, alert_id: string}} of */
export const alertHash = (of) =>
  `#/alert/${[of.site, of.device, of.alert_id].map(encodeURIComponent).join("/")}`;

/** @param {{site: string, device: string, alert_id: string}} of @param {string} [rest] */
export const alertUrl = (of, rest = "") =>
  `/api/alert/${[of.site, of.device, of.alert_id].map(encodeURIComponent).join("/")}${rest}?language=${document.documentElement.lang}`;

/**
 * Unpack base64 of little-endian int16; -32768 becomes NaN.
 *
 * @param {string} data
 * @param {number} mvPerCount
 * @returns {Float32Array}
 */
export function unpack(data, mvPerCount) {
  const bytes = atob(data);
  const samples = new Float32Array(bytes.length >> 1);
  for (let i = 0; i < samples.length; i++) {
    const unsigned = bytes.charCodeAt(2 * i) | (bytes.charCodeAt(2 * i + 1) << 8);
    const count = unsigned > 32767 ? unsigned - 65536 : unsigned;
    samples[i] = count === -32768 ? NaN : count * mvPerCount;
  }
  return samples;
}
