// @ts-check
/** Trends of 1 to 72 hours on canvas: heart rate with its range, ectopy, fibrillation, signal. */

import { el } from "./dom.js";
import { hourMinute, t } from "./words.js";

/** @typedef {import("./protocol.js").TrendPoint} Point */

const LEFT = 44;
const GAP_MS = 150000; // minutes further apart are not joined

/**
 * Draw the trends of a bed.
 *
 * @param {HTMLElement} parent
 * @param {Point[]} points
 * @param {number} hours
 * @param {number} now ms
 */
export function drawTrends(parent, points, hours, now) {
  const from = now - hours * 3600000;
  const known = points.filter((point) => Date.parse(point.at) >= from);
  if (!known.length) {
    parent.replaceChildren(el("p", { class: "calm", text: t("no_trend") }));
    return;
  }
  const span = { from, to: now };
  parent.replaceChildren(
    panel(t("trend_rate"), known, span, { value: (p) => p.heart_rate_bpm, low: (p) => p.lowest_bpm, high: (p) => p.highest_bpm, least: 40, most: 140, tall: true }),
    panel(t("trend_ectopy"), known, span, { value: (p) => p.ventricular_per_hour, least: 0, most: 10 }),
    panel(t("trend_af"), known, span, { value: (p) => p.af_percent, least: 0, most: 100 }),
    panel(t("trend_signal"), known, span, { value: (p) => (p.signal_s / 60) * 100, least: 0, most: 100 }),
  );
}

/**
 * @typedef {object} What
 * @property {(point: Point) => number | null} value
 * @property {(point: Point) => number | null} [low]
 * @property {(point: Point) => number | null} [high]
 * @property {number} least
 * @property {number} most
 * @property {boolean} [tall]
 */

/** @param {string} title @param {Point[]} points @param {{from: number, to: number}} span @param {What} what */
function panel(title, points, span, what) {
  const values = points.map(what.value).filter((value) => value !== null);
  const latest = values.length ? Math.round(values[values.length - 1]) : "–";
  const range = values.length ? `${Math.round(Math.min(...values))}–${Math.round(Math.max(...values))}` : "–";
  const summary = t("trend_summary", { latest, range });
  const canvas = el("canvas", { role: "img", "aria-label": `${title}: ${summary}`, class: what.tall ? "tall" : "" });
  const figure = el("figure", { class: "trend" }, el("figcaption", {}, el("b", { text: title }), ` ${summary}`), canvas);
  requestAnimationFrame(() => plot(canvas, points, span, what));
  return figure;
}

/** @param {HTMLCanvasElement} canvas @param {Point[]} points @param {{from: number, to: number}} span @param {What} what */
function plot(canvas, points, span, what) {
  const ratio = window.devicePixelRatio || 1;
  const [width, height] = [canvas.clientWidth, canvas.clientHeight];
  canvas.width = width * ratio;
  canvas.height = height * ratio;
  const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
  context.scale(ratio, ratio);
  const style = getComputedStyle(canvas);
  const [ink, line, fill, soft] = ["--muted", "--line", "--band", "--accent"].map((name) => style.getPropertyValue(name));
  const all = points.flatMap((p) => [what.value(p), what.low?.(p) ?? null, what.high?.(p) ?? null]).filter((v) => v !== null);
  const least = Math.min(what.least, ...all);
  const most = Math.max(what.most, ...all);
  const foot = height - 18;
  /** @param {number} ms */
  const x = (ms) => LEFT + ((ms - span.from) / (span.to - span.from)) * (width - LEFT - 4);
  /** @param {number} value */
  const y = (value) => foot - ((value - least) / (most - least || 1)) * (foot - 6);
  context.font = "12px system-ui, sans-serif";
  context.fillStyle = ink;
  context.strokeStyle = line;
  context.lineWidth = 1;
  context.textAlign = "right";
  for (const value of [least, (least + most) / 2, most]) {
    context.fillText(String(Math.round(value)), LEFT - 6, y(value) + 4);
    context.beginPath();
    context.moveTo(LEFT, Math.round(y(value)) + 0.5);
    context.lineTo(width, Math.round(y(value)) + 0.5);
    context.stroke();
  }
  context.textAlign = "center";
  const marks = Math.max(2, Math.min(6, Math.floor(width / 120)));
  for (let i = 0; i <= marks; i++) {
    const ms = span.from + ((span.to - span.from) * i) / marks;
    context.textAlign = i === marks ? "right" : i === 0 ? "left" : "center";
    context.fillText(hourMinute(ms), x(ms), height - 3);
  }
  if (what.low && what.high) {
    context.fillStyle = fill;
    for (const point of points) {
      const [low, high] = [what.low(point), what.high(point)];
      if (low === null || high === null) continue;
      const left = x(Date.parse(point.at));
      context.fillRect(left, y(high), Math.max(1.5, x(Date.parse(point.at) + 60000) - left), Math.max(1, y(low) - y(high)));
    }
  }
  context.strokeStyle = context.fillStyle = soft;
  context.lineWidth = 1.6;
  context.beginPath();
  let last = -Infinity;
  for (const point of points) {
    const value = what.value(point);
    const ms = Date.parse(point.at);
    if (value === null) continue;
    if (ms - last > GAP_MS) {
      context.fillRect(x(ms) - 1, y(value) - 1, 2, 2); // a minute alone is seen too
      context.moveTo(x(ms), y(value));
    } else context.lineTo(x(ms), y(value));
    last = ms;
  }
  context.stroke();
}
