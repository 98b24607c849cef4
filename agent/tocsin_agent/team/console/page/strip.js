// @ts-check
/** The strip of an alert on paper, as it is on this screen; print and PDF are the server's. */

import { el } from "./dom.js";
import { unpack } from "./protocol.js";
import { settings } from "./settings.js";
import { drawPaper } from "./sweep.js";

/** @typedef {import("./protocol.js").Strip} Strip */

/**
 * @param {Strip} strip
 * @param {string} label for a screen reader
 * @param {string} onset the word at the mark of the onset
 * @returns {HTMLElement} as wide as the strip is long, in a frame that scrolls
 */
export function stripView(strip, label, onset) {
  const columns = strip.leads.length;
  const samples = unpack(strip.data, 1 / strip.gain_per_mv);
  const rows = Math.floor(samples.length / Math.max(1, columns));
  const look = { pxPerMm: settings.pxPerMm, mmPerS: 25, mmPerMv: 10, laneMm: 28, topMm: 6, labels: true };
  const leftMm = 9;
  const width = (leftMm + (rows / strip.rate_hz) * 25 + 2) * look.pxPerMm;
  const canvas = el("canvas", { role: "img", "aria-label": label });
  canvas.style.width = `${Math.ceil(width)}px`;
  requestAnimationFrame(() => {
    drawPaper(canvas, look, strip.leads);
    draw(canvas, strip, samples, rows, look, leftMm, onset);
  });
  return el("div", { class: "paper-frame", tabindex: "0", role: "group", "aria-label": label }, canvas);
}

/**
 * @param {HTMLCanvasElement} canvas @param {Strip} strip @param {Float32Array} samples
 * @param {number} rows @param {import("./sweep.js").Look} look @param {number} leftMm @param {string} onset
 */
function draw(canvas, strip, samples, rows, look, leftMm, onset) {
  const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
  const style = getComputedStyle(canvas);
  const mm = look.pxPerMm;
  const columns = strip.leads.length;
  /** @param {number} row */
  const x = (row) => (leftMm + (row / strip.rate_hz) * look.mmPerS) * mm;
  context.lineWidth = 1.4;
  context.strokeStyle = style.getPropertyValue("--trace");
  for (let lead = 0; lead < columns; lead++) {
    const values = [];
    for (let row = 0; row < rows; row++) {
      const value = samples[row * columns + lead];
      if (!Number.isNaN(value)) values.push(value);
    }
    const offset = values.sort((a, b) => a - b)[values.length >> 1] ?? 0;
    const middle = (look.topMm + look.laneMm * (lead + 0.5)) * mm;
    const reach = look.laneMm * 0.95 * mm; // a high QRS goes into the lane beside it, as on paper
    context.beginPath();
    let pen = false;
    for (let row = 0; row < rows; row++) {
      const value = samples[row * columns + lead];
      if (Number.isNaN(value)) {
        pen = false;
        continue;
      }
      const y = middle - Math.max(-reach, Math.min(reach, (value - offset) * look.mmPerMv * mm));
      if (pen) context.lineTo(x(row), y);
      else context.moveTo(x(row), y);
      pen = true;
    }
    context.stroke();
  }
  strip.rows.forEach((row, index) => {
    const label = strip.labels[index] ?? "";
    const ventricular = label === "V";
    context.fillStyle = style.getPropertyValue(ventricular ? "--beat-v" : "--beat");
    context.font = `${ventricular ? "bold " : ""}12px system-ui, sans-serif`;
    context.textAlign = "center";
    context.fillText(label, x(row), 12);
    context.fillRect(x(row) - 0.5, 15, 1, look.topMm * mm - 15);
  });
  if (strip.onset_row !== null) {
    context.fillStyle = style.getPropertyValue("--beat-v");
    context.fillRect(x(strip.onset_row) - 1, look.topMm * mm, 2, look.laneMm * columns * mm);
    context.textAlign = "left";
    context.fillText(onset, x(strip.onset_row) + 4, (look.topMm + look.laneMm * columns) * mm - 5);
  }
}
