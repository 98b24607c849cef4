// @ts-check
/**
 * Time by the server's clock and the browser's own counter. The browser's clock is never asked:
 * it may be wrong by an hour.
 */

let serverMs = NaN;
let takenAt = NaN;

/** @param {string | undefined} now the server's time, ISO 8601 */
export function takeServerTime(now) {
  const parsed = Date.parse(now ?? "");
  if (Number.isNaN(parsed)) return;
  serverMs = parsed;
  takenAt = performance.now();
}

/** @returns {number} the server's time now, in ms since 1970; NaN before the first message */
export const serverNow = () => serverMs + (performance.now() - takenAt);

/**
 * Return how long ago something was by the server's clock, in seconds, never below 0.
 *
 * @param {string | null | undefined} at ISO 8601
 * @returns {number} NaN if unknown
 */
export function secondsSince(at) {
  if (!at) return NaN;
  return Math.max(0, (serverNow() - Date.parse(at)) / 1000);
}
