// @ts-check
/** Dialogs: reasons and notes, settings, help. Escape closes each, and the focus goes back. */

import { el } from "./dom.js";
import { change, settings } from "./settings.js";
import { BURSTS } from "./sound.js";
import { LANGUAGES, t } from "./words.js";

/** @param {string} title @param {...(Node | string)} content @returns {HTMLDialogElement} */
function open(title, ...content) {
  document.querySelector("dialog")?.close();
  const dialog = el(
    "dialog", { "aria-labelledby": "dialog-title" },
    el("h2", { id: "dialog-title", text: title }), ...content,
  );
  const before = document.activeElement;
  dialog.addEventListener("close", () => {
    dialog.remove();
    if (before instanceof HTMLElement && before.isConnected) before.focus();
  });
  document.body.append(dialog);
  dialog.showModal();
  return dialog;
}

/**
 * Ask for a reason (where there is a choice) and a note.
 *
 * @param {string} title
 * @param {string[]} reasons
 * @param {(reason: string, note: string) => void} done
 */
export function askReason(title, reasons, done) {
  const choices = reasons.map((reason) =>
    el("label", { class: "choice" }, el("input", { type: "radio", name: "reason", value: reason, required: true }),
      t(`reason_${reason}`) === `reason_${reason}` ? reason : t(`reason_${reason}`)),
  );
  const note = el("textarea", { rows: 3, maxlength: 500, id: "note" });
  const form = el(
    "form", { method: "dialog" },
    choices.length ? el("fieldset", {}, el("legend", { text: t("reason") }), ...choices) : null,
    el("label", { for: "note", text: choices.length ? t("note_optional") : t("note") }), note,
    el("div", { class: "actions" }, el("button", { class: "primary", type: "submit" }, t("send")),
      el("button", { type: "button", onclick: () => dialog.close() }, t("cancel"))),
  );
  if (!choices.length) note.required = true;
  form.addEventListener("submit", () => {
    const chosen = /** @type {HTMLInputElement | null} */ (form.querySelector("input:checked"));
    done(chosen?.value ?? "", note.value.trim());
  });
  const dialog = open(title, form);
}

/**
 * @param {{language: (code: string) => void, test: (priority: "high" | "medium" | "low") => void, notify: () => Promise<string>, changed: () => void}} to
 */
export function openSettings(to) {
  /** @param {keyof import("./settings.js").Settings} name @param {string} word */
  const box = (name, word) =>
    el("label", { class: "choice" }, el("input", { type: "checkbox", checked: Boolean(settings[name]), onchange: (event) => { change({ [name]: event.target.checked }); to.changed(); } }), t(word));
  const ruler = el("div", { class: "ruler", role: "img", "aria-label": t("ruler_label") });
  ruler.style.width = `${50 * settings.pxPerMm}px`;
  ruler.style.backgroundSize = `${10 * settings.pxPerMm}px 100%`;
  const size = el("input", {
    id: "size", type: "range", min: 2, max: 12, step: 0.01, value: settings.pxPerMm,
    oninput: (event) => {
      change({ pxPerMm: Number(event.target.value) });
      ruler.style.width = `${50 * settings.pxPerMm}px`;
      ruler.style.backgroundSize = `${10 * settings.pxPerMm}px 100%`;
      to.changed();
    },
  });
  const answered = el("p", { role: "status", class: "small" });
  open(
    t("settings"),
    el("div", { class: "field" }, el("label", { for: "language", text: t("language") }),
      el("select", { id: "language", onchange: (event) => to.language(event.target.value) },
        ...LANGUAGES.map((code) => el("option", { value: code, selected: code === document.documentElement.lang, lang: code }, { en: "English", de: "Deutsch", fr: "Français" }[code])))),
    el("div", { class: "field" }, el("label", { for: "theme", text: t("theme") }),
      el("select", { id: "theme", onchange: (event) => { change({ theme: event.target.value }); to.changed(); } },
        ...["auto", "day", "night"].map((theme) => el("option", { value: theme, selected: settings.theme === theme }, t(`theme_${theme}`))))),
    box("waves", "wall_waves"),
    box("keys", "single_keys"),
    el("fieldset", {}, el("legend", { text: t("sound") }), box("sound", "sound_wanted"),
      el("div", { class: "field" }, el("label", { for: "volume", text: t("volume") }),
        el("input", { id: "volume", type: "range", min: 0.1, max: 1, step: 0.05, value: settings.volume, oninput: (event) => change({ volume: Number(event.target.value) }) })),
      el("div", { class: "actions" }, ...Object.keys(BURSTS).map((priority) =>
        el("button", { type: "button", onclick: () => to.test(/** @type {any} */ (priority)) }, t("test_sound", { priority: t(priority) }))))),
    el("fieldset", {}, el("legend", { text: t("notifications") }),
      el("button", { type: "button", onclick: async () => { answered.textContent = await to.notify(); } }, t("notify_allow")), answered),
    el("fieldset", {}, el("legend", { text: t("true_size") }), el("p", { class: "small", text: t("ruler_help") }), ruler,
      el("div", { class: "field" }, el("label", { for: "size", text: t("ruler_size") }), size)),
    el("form", { method: "dialog", class: "actions" }, el("button", { class: "primary" }, t("close"))),
  );
}

/** The keys of the page, as the help lists them. */
export const KEYS = /** @type {const} */ ([
  ["w", "key_wall"], ["f", "key_first"], ["←↑↓→", "key_arrows"], ["Enter", "key_enter"],
  ["a", "accept"], ["s", "silence"], ["g", "give_back"], ["r", "reject"], ["n", "note"], ["p", "print"],
  ["m", "key_sound"], ["d", "key_theme"], ["Esc", "key_back"], ["?", "help"],
]);

/** @param {string} release */
export function openHelp(release) {
  open(
    t("help"),
    el("table", { class: "keys" }, el("caption", { text: t("keys") }),
      el("tbody", {}, ...KEYS.map(([key, word]) => el("tr", {}, el("th", { scope: "row" }, el("kbd", { text: key })), el("td", { text: t(word) }))))),
    el("h3", { text: t("signs") }),
    el("ul", {}, ...["high", "medium", "low", "accepted", "dead"].map((name) => el("li", { text: t(`legend_${name}`) }))),
    el("p", { class: "small", text: release }),
    el("form", { method: "dialog", class: "actions" }, el("button", { class: "primary" }, t("close"))),
  );
}
