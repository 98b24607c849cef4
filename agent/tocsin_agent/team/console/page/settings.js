// @ts-check
/**
 * What this browser remembers: the theme, the true size of a millimetre, what it shows and sounds.
 */

const KEY = "tocsin.console";

/**
 * @typedef {object} Settings
 * @property {"auto" | "day" | "night"} theme
 * @property {string} language empty: the server's choice
 * @property {number} pxPerMm CSS pixels of one millimetre on this screen
 * @property {boolean} waves live ECG on the tiles of the wall
 * @property {boolean} sound
 * @property {number} volume 0 to 1
 * @property {boolean} keys single letters as commands
 * @property {boolean} notify
 */

/** @type {Settings} */
const DEFAULTS = {
  theme: "auto", language: "", pxPerMm: 96 / 25.4, waves: false,
  sound: true, volume: 0.8, keys: true, notify: false,
};

/** @type {Settings} */
export const settings = { ...DEFAULTS };

/** Read what was kept; what cannot be read is the default. */
export function readSettings() {
  try {
    const kept = JSON.parse(localStorage.getItem(KEY) ?? "{}");
    for (const name of /** @type {(keyof Settings)[]} */ (Object.keys(DEFAULTS))) {
      if (typeof kept[name] === typeof DEFAULTS[name]) Object.assign(settings, { [name]: kept[name] });
    }
  } catch { /* a browser that keeps nothing has the defaults */ }
  settings.pxPerMm = Math.min(20, Math.max(1, settings.pxPerMm));
  showTheme();
}

/** @param {Partial<Settings>} changes */
export function change(changes) {
  Object.assign(settings, changes);
  try {
    localStorage.setItem(KEY, JSON.stringify(settings));
  } catch { /* kept until the page is closed */ }
  showTheme();
}

function showTheme() {
  const root = document.documentElement;
  if (settings.theme === "auto") delete root.dataset.theme;
  else root.dataset.theme = settings.theme;
}
