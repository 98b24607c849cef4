// @ts-check
/**
 * The words of the page, one file a language. Texts of alerts come from the server.
 */

/** @type {Record<string, string>} */
let words = {};
/** @type {string} */
let current = "en";
/** @type {Map<string, Intl.DateTimeFormat>} */
const formats = new Map();

export const LANGUAGES = /** @type {const} */ (["en", "de", "fr"]);

/**
 * Load a language; English if there is none of that name.
 *
 * @param {string} code
 */
export async function useLanguage(code) {
  const known = LANGUAGES.find((language) => language === code) ?? "en";
  const response = await fetch(`/page/words/${known}.json`);
  if (!response.ok) throw new Error(`the words of ${known} cannot be loaded: ${response.status}`);
  words = await response.json();
  current = known;
  formats.clear();
  document.documentElement.lang = known;
}

/** @returns {string} the code of the language in use */
export const language = () => current;

/**
 * Return a text, with what is in braces filled in. A text that is missing shows its key.
 *
 * @param {string} key
 * @param {Record<string, string | number>} [values]
 * @returns {string}
 */
export function t(key, values = {}) {
  const text = words[key] ?? key;
  return text.replace(/\{(\w+)\}/g, (whole, name) => (name in values ? String(values[name]) : whole));
}

/** @param {string} key @returns {boolean} */
export const hasWord = (key) => key in words;

/** @param {string} name @param {Intl.DateTimeFormatOptions} options */
function format(name, options) {
  const known = formats.get(name);
  if (known) return known;
  const made = new Intl.DateTimeFormat(current === "en" ? "en-GB" : current, options);
  formats.set(name, made);
  return made;
}

/** @param {number} ms since 1970 @returns {string} such as 13:00:05 */
export const clock = (ms) =>
  format("clock", { hour: "2-digit", minute: "2-digit", second: "2-digit", hour12: false }).format(ms);

/** @param {number} ms since 1970 @returns {string} such as 13:00 */
export const hourMinute = (ms) =>
  format("hm", { hour: "2-digit", minute: "2-digit", hour12: false }).format(ms);

/** @param {number} ms since 1970 @returns {string} such as 1 Mar, 13:00:05 */
export const dateClock = (ms) =>
  format("date", {
    day: "numeric", month: "short", hour: "2-digit", minute: "2-digit", second: "2-digit", hour12: false,
  }).format(ms);

/**
 * Return a span of time as people say it: 8 s, 3 min, 2 h 05.
 *
 * @param {number} seconds
 * @returns {string}
 */
export function span(seconds) {
  const whole = Math.max(0, Math.floor(seconds));
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${String(whole % 60).padStart(2, "0")} s`;
  if (whole < 86400) return `${Math.floor(whole / 3600)} h ${String(Math.floor((whole % 3600) / 60)).padStart(2, "0")}`;
  return `${Math.floor(whole / 86400)} d ${Math.floor((whole % 86400) / 3600)} h`;
}
