// @ts-check
/**
 * The page: what arrives goes into the state, the view that is open shows it, one loop draws.
 */

import { AlertPageView } from "./alert.js";
import { ApiError, get, post, useSession } from "./api.js";
import { BedPage } from "./bed.js";
import { Connection } from "./connection.js";
import { askReason, openHelp, openSettings } from "./dialogs.js";
import { el, setAttr, setText } from "./dom.js";
import { LoginPage, ProxyLoginPage } from "./login.js";
import { alertHash, isWaiting, keyOf, VERSION } from "./protocol.js";
import { canPush, subscribe } from "./push.js";
import { change, readSettings, settings } from "./settings.js";
import { Sound } from "./sound.js";
import { audible, may, state } from "./state.js";
import { serverNow, takeServerTime } from "./time.js";
import { conditionText, outcomeText, roleName, Wall } from "./wall.js";
import { clock, span, t, useLanguage } from "./words.js";

/** @typedef {import("./protocol.js").Alert} Alert */
/** @typedef {import("./protocol.js").Bed} Bed */

const MAX_EARLY = 50;
const SHOW_MS = 250; // numbers that are not alerts are shown at most this often
/** Why an alert is rejected: the findings of a review. */
const REASONS = ["false_alarm", "artefact", "wrong_condition", "known", "not_mine", "other"];
const sound = new Sound();

/** @typedef {LoginPage | ProxyLoginPage} Door */

/** @type {Wall | BedPage | AlertPageView | Door} */
let view;
let urgent = false; // an alert changed: shown in the next frame
let framing = false; // a frame is asked for
let shownAt = 0;
let boot = "";
let drawnFrames = 0; // frames in which a sweep was drawn, for measurements
/** @type {Map<string, Bed>} beds whose live ECG the server sends */
const watched = new Map();

const chrome = {
  title: el("a", { href: "#/", class: "title" }),
  status: el("span", { class: "status", role: "status" }),
  sound: el("button", { class: "sound", onclick: () => pressSound() }),
  theme: el("button", { onclick: () => nextTheme() }),
  settings: el("button", { onclick: () => showSettings() }),
  help: el("button", { onclick: () => openHelp(`tocsin ${state.release}`) }),
  review: el("a", { href: "/review", hidden: true }),
  user: el("span", { class: "user" }),
  logout: el("button", { onclick: () => logout() }),
  banner: el("p", { class: "away", role: "alert", hidden: true }),
  toast: el("p", { class: "toast", role: "status" }),
  loud: el("p", { class: "hidden", "aria-live": "assertive" }),
  quiet: el("p", { class: "hidden", "aria-live": "polite" }),
  skip: el("a", { class: "skip", href: "#main", onclick: (event) => { event.preventDefault(); document.getElementById("main")?.focus(); } }),
};
const header = el(
  "header", { class: "chrome" },
  chrome.title, chrome.status,
  el("div", { class: "tools" }, chrome.sound, chrome.theme, chrome.settings, chrome.help, chrome.review, chrome.user, chrome.logout),
);
const place = el("div", { class: "view" });

const connection = new Connection(receive, (reason) => {
  if (reason === "session") leave(t("session_ended"));
  else ask(); // a login that ended meanwhile looks the same as a lost network
});

/** @param {any} message */
function receive(message) {
  switch (message.type) {
    case "hello": return hello(message);
    case "beds":
      state.beds = new Map(message.beds.map((/** @type {Bed} */ bed) => [keyOf(bed), bed]));
      state.presence = new Map(message.presence.map((/** @type {any} */ one) => [JSON.stringify([one.site, one.role]), one]));
      hurry();
      return;
    case "bed": {
      const before = state.beds.get(keyOf(message.bed));
      if (JSON.stringify(before?.alerts) !== JSON.stringify(message.bed.alerts) || before?.state !== message.bed.state) hurry();
      state.beds.set(keyOf(message.bed), message.bed);
      return;
    }
    case "bed_gone":
      state.beds.delete(keyOf(message));
      hurry();
      return;
    case "alert": return happened(message.event, message.alert, message.place);
    case "history": return withHistory()?.takeHistory(message);
    case "presence":
      state.presence.set(JSON.stringify([message.presence.site, message.presence.role]), message.presence);
      hurry();
      return;
    case "wave":
      wake();
      anchors.set(keyOf(message), message);
      return shows()?.takeWave(message);
    case "beats":
      noteBeat(message);
      return shows()?.takeBeats(message);
    case "tick": return takeServerTime(message.now);
    case "broker":
      state.broker = message;
      hurry();
      return;
    case "answer":
      if (state.mine.has(message.id)) return answered(message);
      early.set(message.id, message);
      if (early.size > MAX_EARLY) early.delete(early.keys().next().value ?? "");
      return;
    case "session_ended": return leave(t("session_ended"));
  }
}

/** @type {Map<string, import("./protocol.js").Answer>} of others, or before the request that was answered said its id */
const early = new Map();

/** Show what became of an answer. @param {import("./protocol.js").Answer} message */
function answered(message) {
  state.answers.set(message.alert_id, message);
  if (message.outcome !== "sent") say(`${t(`action_${message.action}`)}: ${outcomeText(message)}`, message.outcome === "applied" || message.outcome === "already_applied");
  hurry();
}

/** @type {Map<string, import("./protocol.js").Wave>} the last piece of each bed: which index was when */
const anchors = new Map();

/** Note when the last beat of a bed was. @param {import("./protocol.js").Beats} message */
function noteBeat(message) {
  const anchor = anchors.get(keyOf(message));
  const bed = state.beds.get(keyOf(message));
  const last = message.beats[message.beats.length - 1];
  if (!anchor || !bed || !last || anchor.stream !== message.stream) return;
  const at = Date.parse(anchor.at) + ((last[0] - anchor.start_index) / anchor.rate_hz) * 1000;
  if (!Number.isNaN(at)) bed.last_beat_at = new Date(at).toISOString();
}

/** @param {any} message */
function hello(message) {
  if (message.version !== VERSION || (state.release && state.release !== message.release)) {
    if (sessionStorage.getItem("tocsin.reloaded") !== message.release) { // once: another server has another page
      sessionStorage.setItem("tocsin.reloaded", message.release);
      location.reload();
      return;
    }
  }
  takeServerTime(message.now);
  state.session = message.session;
  state.broker = message.broker;
  state.title = message.title;
  state.release = message.release;
  state.rejectReasons = message.reject_reasons.length ? message.reject_reasons : REASONS;
  state.pushKey = message.push_key ?? null;
  useSession(message.session);
  watched.clear(); // this connection watches nothing yet
  if (boot) withHistory()?.load(); // something may have happened while there was no connection
  boot = message.boot;
  if (!pushed) push();
  label();
  hurry();
}

/** @param {string} event @param {Alert} alert @param {string} where */
function happened(event, alert, where) {
  const text = `${t(alert.priority)}: ${where}: ${conditionText(alert)}`;
  if (event === "onset" || (event === "update" && isWaiting(alert))) {
    setText(alert.priority === "high" ? chrome.loud : chrome.quiet, text);
    notify(alert, text);
  } else if (event === "repeat" || event === "level") {
    setText(chrome.loud, t("not_accepted_yet", { text }));
    notify(alert, t("not_accepted_yet", { text }));
  } else if (event === "accepted") setText(chrome.quiet, `${where}: ${conditionText(alert)}: ${t("has_it", { who: alert.holder ?? "–" })}`);
  else if (event === "end") setText(chrome.quiet, `${where}: ${conditionText(alert)}: ${t("over")}`);
  hurry();
}

/** @param {Alert} alert @param {string} text */
function notify(alert, text) {
  if (pushed || !settings.notify || !document.hidden || typeof Notification === "undefined" || Notification.permission !== "granted") return;
  const note = new Notification(text, { body: alert.text, tag: alert.alert_id, requireInteraction: alert.priority === "high" });
  note.onclick = () => {
    window.focus();
    location.hash = alertHash(alert);
  };
}

/** @param {object} one @returns {one is Door} */
const isDoor = (one) => one instanceof LoginPage || one instanceof ProxyLoginPage;

/** The view, if it shows beds. @returns {Wall | BedPage | AlertPageView | null} */
const shows = () => (!view || isDoor(view) ? null : view);

/** The view, if it fetches what the store has. @returns {BedPage | AlertPageView | null} */
const withHistory = () => (view instanceof BedPage || view instanceof AlertPageView ? view : null);

/** @param {Alert} alert @param {string} action */
function act(alert, action) {
  if (action === "open") location.hash = alertHash(alert);
  else if (action === "reject") askReason(t("reject_title", { condition: alert.condition }), state.rejectReasons, (reason, note) => send(alert, action, { reason, note }));
  else if (action === "note") askReason(t("note_title", { condition: alert.condition }), [], (_, note) => send(alert, action, { note }));
  else send(alert, action, {});
}

/** @param {Alert} alert @param {string} action @param {object} more */
async function send(alert, action, more) {
  const { site, device, alert_id } = alert;
  const waiting = { id: "", site, device, alert_id, action, who: "", outcome: "sent", text: "" };
  state.answers.set(alert_id, waiting);
  say(`${t(`action_${action}`)}: ${t("sent")}`, true);
  try {
    const done = await post("/api/answer", { site, device, alert_id, action, ...more });
    state.mine.add(done.id);
    if (done.outcome !== "sent") say(`${t(`action_${action}`)}: ${t("done")}`, true);
    if (state.answers.get(alert_id) === waiting) {
      const known = early.get(done.id); // the device was faster than the answer to the request
      if (known) answered(known);
      else state.answers.set(alert_id, { ...waiting, id: done.id, outcome: done.outcome, text: "" });
    }
  } catch (error) {
    const text = error instanceof ApiError && error.status ? error.message : t("not_sent");
    state.answers.set(alert_id, { ...waiting, outcome: "failed", text });
    say(`${t(`action_${action}`)}: ${text}`, false);
    if (error instanceof ApiError && error.status === 401) leave(t("session_ended"));
  }
  hurry();
}

/** @param {string} site @param {string} action */
async function presence(site, action) {
  try {
    await post("/api/presence", { site, action });
    say(t(`presence_done_${action}`), true);
  } catch (error) {
    say(error instanceof ApiError && error.status ? error.message : t("not_sent"), false);
  }
}

/** @param {string} text @param {boolean} good */
function say(text, good) {
  setText(chrome.toast, text);
  chrome.toast.dataset.good = String(good);
  chrome.toast.classList.add("shown");
  clearTimeout(toastTimer);
  toastTimer = setTimeout(() => chrome.toast.classList.remove("shown"), 6000);
}
let toastTimer = 0;

async function pressSound() {
  if (sound.on) change({ sound: false });
  else {
    change({ sound: true });
    await sound.unlock();
  }
  status();
}

function nextTheme() {
  const dark = settings.theme === "night" || (settings.theme === "auto" && matchMedia("(prefers-color-scheme: dark)").matches);
  change({ theme: dark ? "day" : "night" });
  redraw();
}

function redraw() {
  shows()?.refit();
  label();
  hurry();
}

function showSettings() {
  openSettings({
    language: async (code) => {
      change({ language: code });
      await useLanguage(code);
      connection.renew(); // the texts of alerts are the server's
      route();
      label();
      showSettings();
    },
    test: async (priority) => {
      await sound.unlock();
      sound.burst(priority);
    },
    notify: async () => {
      if (typeof Notification === "undefined") return t("notify_unknown");
      const answer = await Notification.requestPermission();
      change({ notify: answer === "granted" });
      if (answer !== "granted") return t("notify_off");
      return t((await push()) ? "push_on" : "notify_on");
    },
    changed: redraw,
  });
}

let pushed = false; // the server calls this browser: the page itself need not

/** @returns {Promise<boolean>} whether the server calls this browser while the page is closed */
async function push() {
  if (!canPush() || !settings.notify || Notification.permission !== "granted") return false;
  try {
    await subscribe();
    pushed = true;
  } catch (error) {
    console.warn("no web push", error);
    pushed = false;
  }
  return pushed;
}

async function logout() {
  await post("/api/logout", {}).catch(() => null);
  leave("");
}

/** Ask whether the login is still good; a proxy may have another person or role by now. */
async function ask() {
  clearTimeout(askTimer);
  if (!state.session) return;
  const before = state.session;
  try {
    const session = await get("/api/session");
    if (state.session?.csrf !== before.csrf) return;
    const other = session.csrf !== before.csrf || session.role !== before.role;
    askEach(session.ask_s);
    if (other) {
      enter(session);
      label();
    }
  } catch (error) {
    if (state.session?.csrf !== before.csrf) return;
    if (error instanceof ApiError && error.status === 401) leave(t("session_ended"), error.code === "proxy_login" || before.ask_s !== null);
    else askEach(before.ask_s);
  }
}
let askTimer = 0;

/** @param {number | null} seconds null: the server says when a login ends */
function askEach(seconds) {
  clearTimeout(askTimer);
  if (seconds !== null) askTimer = setTimeout(ask, seconds * 1000);
}

/** @param {string} reason @param {boolean} [byProxy] */
function leave(reason, byProxy = (state.session?.ask_s ?? null) !== null) {
  connection.stop();
  clearTimeout(askTimer);
  sound.keep(null);
  state.session = null;
  state.beds.clear();
  state.presence.clear();
  put(byProxy ? new ProxyLoginPage(enter, reason) : new LoginPage(enter, reason));
}

/** @param {import("./protocol.js").Session} session */
function enter(session) {
  state.session = session;
  useSession(session);
  sound.unlock().catch(() => null); // the press on the login's button allows it
  askEach(session.ask_s);
  connection.start();
  route();
}

/** @param {Wall | BedPage | AlertPageView | Door} next */
function put(next) {
  view = next;
  place.replaceChildren(view.root);
  header.hidden = isDoor(view);
  window.scrollTo(0, 0);
  hurry();
}

function route() {
  if (!state.session) return;
  const [kind, ...names] = location.hash.replace(/^#\/?/, "").split("/");
  /** @type {string[]} */
  let of;
  try {
    of = names.map(decodeURIComponent);
  } catch {
    of = [];
  }
  if (kind === "bed" && of.length === 2) put(new BedPage({ site: of[0], device: of[1] }, presence));
  else if (kind === "alert" && of.length === 3) put(new AlertPageView({ site: of[0], device: of[1], alert_id: of[2] }, act));
  else put(new Wall(act));
  if (document.activeElement === document.body) view.root.focus({ preventScroll: true });
}

/** Ask for the live ECG of what is on the page, and no longer for what is not. */
function watch() {
  const wanted = new Map((shows()?.watched() ?? []).map((bed) => [keyOf(bed), bed]));
  for (const [key, bed] of watched) {
    if (wanted.has(key)) continue;
    connection.send({ type: "unwatch", site: bed.site, device: bed.device });
    watched.delete(key);
  }
  for (const [key, bed] of wanted) {
    if (watched.has(key)) continue;
    connection.send({ type: "watch", site: bed.site, device: bed.device, leads: [] });
    watched.set(key, bed);
  }
}

/** What the head of the page says of the connections; called several times a second. */
function status() {
  connection.check();
  const live = connection.live;
  let away = "";
  if (state.session) {
    if (!live && connection.silentS > 1.8) away = t("server_lost", { span: span(connection.silentS) });
    else if (live && !state.broker.connected) {
      const since = Date.parse(state.broker.since);
      away = t("broker_lost", { span: Number.isNaN(since) ? "" : span((serverNow() - since) / 1000) });
    }
  }
  setText(chrome.banner, away);
  chrome.banner.hidden = away === "";
  document.body.classList.toggle("old", away !== "");
  setText(chrome.status, state.session && !Number.isNaN(serverNow()) ? `${away ? "✕" : "●"} ${clock(serverNow())}` : "");
  setAttr(chrome.status, "aria-label", t(away ? "not_live" : "live"));
  const on = sound.on;
  setText(chrome.sound, t(on ? "sound_on" : "sound_off"));
  chrome.sound.classList.toggle("off", !on);
  setAttr(chrome.sound, "aria-pressed", String(on));
  sound.keep(!state.session ? null : away && connection.silentS > 5 ? "medium" : audible());
}

/** Write the fixed texts of the head, after a change of language, person or theme. */
function label() {
  setText(chrome.title, state.title);
  setText(chrome.theme, t("theme_switch"));
  setText(chrome.settings, t("settings"));
  setText(chrome.help, t("help"));
  setText(chrome.logout, t("logout"));
  setText(chrome.review, t("review_cases"));
  chrome.review.hidden = !may("review");
  setText(chrome.skip, t("skip"));
  setText(chrome.user, state.session ? `${state.session.user} · ${roleName(state.session.role)}` : "");
  setAttr(chrome.title, "aria-label", t("key_wall"));
}

/** Show what changed in the next frame. */
function hurry() {
  urgent = true;
  wake();
}

/** Ask for a frame; a page on which nothing moves asks for none. */
function wake() {
  if (framing) return;
  framing = true;
  requestAnimationFrame(frame);
}

/** Shows what changed, draws what is new. */
let frameAt = performance.now();
/** @param {number} now */
function frame(now) {
  framing = false;
  const seconds = Math.min(1, (now - frameAt) / 1000);
  frameAt = now;
  const current = shows();
  if (!current) return;
  if (urgent || now - shownAt > SHOW_MS) {
    urgent = false;
    shownAt = now;
    current.show();
    watch();
    const waiting = audible();
    document.title = waiting ? `${{ high: "!!!", medium: "!!", low: "!" }[waiting]} ${state.title}` : state.title;
  }
  if (current.frame(seconds)) drawnFrames += 1;
  if (current.moving) wake();
}

/** @param {KeyboardEvent} event */
function key(event) {
  const target = /** @type {HTMLElement} */ (event.target);
  if (event.key !== "m" && !chrome.sound.contains(target)) sound.unlock().catch(() => null);
  if (event.ctrlKey || event.metaKey || event.altKey || !state.session) return;
  if (target.closest("dialog, input, textarea, select")) return;
  if (event.key === "Escape") location.hash = view instanceof AlertPageView ? `#/bed/${encodeURIComponent(view.of.site)}/${encodeURIComponent(view.of.device)}` : "#/";
  if (!settings.keys) return;
  const commands = { a: "accept", s: "silence", g: "give_back", r: "reject", n: "note" };
  const action = commands[/** @type {keyof typeof commands} */ (event.key)];
  const chosen = shows()?.selected();
  if (action) {
    if (chosen && may("answer")) act(chosen, action);
    else if (view instanceof Wall) {
      view.focusFirst();
      say(t("look_then_press"), true);
    }
  } else if (event.key === "w") location.hash = "#/";
  else if (event.key === "f" && view instanceof Wall) view.focusFirst();
  else if (event.key === "m") pressSound();
  else if (event.key === "d") nextTheme();
  else if (event.key === "p" && view instanceof AlertPageView) window.print();
  else if (event.key === "?") openHelp(`tocsin ${state.release}`);
  else return;
  event.preventDefault();
}

async function start() {
  readSettings();
  await useLanguage(settings.language || navigator.language.slice(0, 2));
  document.body.replaceChildren(chrome.skip, header, chrome.banner, place, chrome.toast, chrome.loud, chrome.quiet);
  label();
  window.addEventListener("hashchange", route);
  window.addEventListener("keydown", key);
  window.addEventListener("pointerdown", (event) => {
    if (!chrome.sound.contains(/** @type {Node} */ (event.target))) sound.unlock().catch(() => null);
  });
  window.addEventListener("resize", () => shows()?.refit());
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
  setInterval(status, 200);
  setInterval(wake, SHOW_MS);
  try {
    enter(await get("/api/session"));
    label();
  } catch (error) {
    const lost = error instanceof ApiError && error.status === 0;
    leave(lost ? t("server_away") : "", error instanceof ApiError && error.code === "proxy_login");
  }
}

/** What tests and measurements read; nothing of it changes anything. */
Object.defineProperty(window, "tocsin", {
  value: Object.freeze({
    state, sound, connection,
    get drawnFrames() { return drawnFrames; },
    get live() { return shows() instanceof BedPage ? /** @type {BedPage} */ (view).live.sweep : null; },
  }),
});

start();
