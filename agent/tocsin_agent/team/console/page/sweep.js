// @ts-check
/**
 * The live ECG of one bed: samples as they arrive, played smoothly, drawn as a sweep.
 *
 * Each frame draws only the samples that are new, behind an erase bar that runs ahead of them.
 * Missing samples and samples that never arrived are a hatched gap, not a line.
 */

import { unpack } from "./protocol.js";

const KEEP_S = 40;
const START_DELAY_S = 0.5; // between what has arrived and what is drawn, so that pauses do not show
const BAR_MM = 4;

/**
 * @typedef {object} Look
 * @property {number} pxPerMm
 * @property {number} mmPerS
 * @property {number} mmPerMv
 * @property {number} laneMm height of a lead
 * @property {number} topMm room for beat labels
 * @property {boolean} labels
 */

/** Samples of one lead by index, NaN where missing. */
export class Lane {
  /** @param {number} rateHz */
  constructor(rateHz) {
    this.samples = new Float32Array(Math.ceil(rateHz * KEEP_S)).fill(NaN);
    this.end = -1; // one after the last index; -1 before the first
    this.offset = NaN; // mV that is drawn in the middle; NaN before the first samples
  }

  /** @param {number} start @param {Float32Array} values */
  push(start, values) {
    const size = this.samples.length;
    if (this.end < 0 || start > this.end + size) {
      this.samples.fill(NaN);
      this.end = start;
    }
    for (let index = this.end; index < start; index++) this.samples[index % size] = NaN;
    for (let i = 0; i < values.length; i++) {
      if (start + i >= this.end - size) this.samples[(start + i) % size] = values[i];
    }
    this.end = Math.max(this.end, start + values.length);
  }

  /** @param {number} index @returns {number} */
  at(index) {
    return index < this.end && index >= this.end - this.samples.length
      ? this.samples[index % this.samples.length] : NaN;
  }

  /** @param {number} from @param {number} to @returns {number} the median; the one before without samples */
  median(from, to) {
    const found = [];
    for (let index = Math.max(0, from); index < to; index += 3) {
      const value = this.at(index);
      if (!Number.isNaN(value)) found.push(value);
    }
    if (!found.length) return this.offset;
    found.sort((a, b) => a - b);
    return found[found.length >> 1];
  }
}

export class Sweep {
  /**
   * @param {HTMLCanvasElement} canvas
   * @param {Look} look
   */
  constructor(canvas, look) {
    this.canvas = canvas;
    this.look = look;
    this.context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
    /** @type {Map<string, Lane>} */
    this.lanes = new Map();
    this.rateHz = 250;
    this.stream = "";
    this.head = NaN; // index up to which it is drawn, a fraction while it moves
    this.drawn = 0;
    this.phase = Math.random(); // slow sweeps draw in different frames, not all in the same one
    this.delayS = START_DELAY_S;
    this.arrivedAt = 0;
    /** @type {Map<number, string>} */
    this.beats = new Map();
    this.width = 0;
    this.ratio = 1;
    this.colours = { trace: "#000", label: "#000", ventricular: "#b00", gap: "#999" };
  }

  /** Whether samples are arriving. */
  get alive() {
    return performance.now() - this.arrivedAt < 2000;
  }

  /** Whether it has something to draw in the frames that come. */
  get moving() {
    return this.lanes.size > 0 && performance.now() - this.arrivedAt < 1000 * KEEP_S;
  }

  /** Read the colours of the theme, and take the size that the page gives. */
  fit() {
    const style = getComputedStyle(this.canvas);
    this.colours = {
      trace: style.getPropertyValue("--trace") || "#000",
      label: style.getPropertyValue("--beat") || "#000",
      ventricular: style.getPropertyValue("--beat-v") || "#b00",
      gap: style.getPropertyValue("--gap") || "#999",
    };
    this.ratio = window.devicePixelRatio || 1;
    this.width = this.canvas.clientWidth;
    const height = Math.max(1, this.heightPx);
    this.canvas.style.height = `${height}px`;
    this.canvas.width = Math.max(1, Math.round(this.width * this.ratio));
    this.canvas.height = Math.round(height * this.ratio);
    this.context.setTransform(this.ratio, 0, 0, this.ratio, 0, 0);
    if (!Number.isNaN(this.head)) this.drawn = Math.max(0, Math.floor(this.head - this.visible * 0.9));
  }

  get heightPx() {
    return (this.look.topMm + this.look.laneMm * Math.max(1, this.lanes.size)) * this.look.pxPerMm;
  }

  get pxPerSample() {
    return (this.look.mmPerS * this.look.pxPerMm) / this.rateHz;
  }

  /** Samples on one sweep. */
  get visible() {
    return this.width / this.pxPerSample;
  }

  /** @param {import("./protocol.js").Wave} wave */
  take(wave) {
    if (wave.stream !== this.stream || wave.rate_hz !== this.rateHz) this.#restart(wave);
    let lane = this.lanes.get(wave.lead);
    if (!lane) {
      lane = new Lane(this.rateHz);
      this.lanes.set(wave.lead, lane);
      this.fit();
    }
    lane.push(wave.start_index, unpack(wave.samples, wave.gain_uv / 1000));
    const now = performance.now();
    const pause = (now - this.arrivedAt) / 1000;
    if (pause < 3) this.delayS = Math.max(START_DELAY_S, Math.min(2, Math.max(this.delayS * 0.995, pause + 0.15)));
    this.arrivedAt = now;
  }

  /** @param {import("./protocol.js").Beats} message */
  takeBeats(message) {
    if (message.stream !== this.stream) return;
    for (const [index, label] of message.beats) {
      this.beats.set(index, label);
      if (index < this.drawn && index > this.drawn - this.visible * 0.97) this.#label(index, label);
    }
    for (const index of this.beats.keys()) {
      if (this.beats.size < 200) break;
      this.beats.delete(index);
    }
  }

  /** @param {import("./protocol.js").Wave} wave */
  #restart(wave) {
    this.stream = wave.stream;
    this.rateHz = wave.rate_hz;
    this.lanes.clear();
    this.beats.clear();
    this.head = NaN;
    this.context.clearRect(0, 0, this.width, this.heightPx);
  }

  /**
   * Draw what has come since the last frame.
   *
   * @param {number} seconds since the last frame
   * @returns {boolean} whether anything was drawn
   */
  frame(seconds) {
    let end = -1;
    for (const lane of this.lanes.values()) end = Math.max(end, lane.end);
    if (end < 0 || this.width < 1) return false;
    const delay = this.delayS * this.rateHz;
    if (Number.isNaN(this.head)) {
      this.head = Math.max(0, end - delay);
      this.drawn = Math.floor(this.head);
    }
    const lag = end - this.head;
    if (lag > 4 * this.rateHz + delay) this.head = end - delay; // caught up at once, and drawn
    else this.head += seconds * this.rateHz * (1 + Math.max(-0.1, Math.min(0.1, (lag - delay) / delay / 5)));
    this.head = Math.min(this.head, end);
    const until = Math.floor(this.head);
    if (until <= this.drawn || !this.#isPixel(until)) return false;
    const from = Math.max(this.drawn, Math.ceil(until - this.visible * 0.95), 0);
    this.#draw(from, until);
    this.drawn = until;
    return true;
  }

  /** Whether what is new is a pixel wide: less is no other picture. @param {number} until @returns {boolean} */
  #isPixel(until) {
    const step = this.pxPerSample * this.ratio;
    return Math.floor(until * step + this.phase) > Math.floor(this.drawn * step + this.phase);
  }

  /** @param {number} index @returns {number} */
  #x(index) {
    return (index * this.pxPerSample) % this.width;
  }

  /** @param {number} from @param {number} to */
  #draw(from, to) {
    // A piece that crosses the right edge is drawn in two.
    const turn = Math.floor((from * this.pxPerSample) / this.width);
    const edge = Math.ceil(((turn + 1) * this.width) / this.pxPerSample);
    if (to > edge && edge > from) {
      this.#draw(from, edge);
      this.#draw(edge, to);
      return;
    }
    const { context, look } = this;
    const [x0, x1] = [this.#x(from), this.#x(from) + (to - from) * this.pxPerSample];
    const bar = BAR_MM * look.pxPerMm;
    context.clearRect(x0, 0, x1 - x0 + bar, this.heightPx);
    if (x1 + bar > this.width) context.clearRect(0, 0, x1 + bar - this.width, this.heightPx);
    let lane = 0;
    for (const samples of this.lanes.values()) {
      if (Number.isNaN(samples.offset) || this.#x(from) < this.pxPerSample) {
        samples.offset = samples.median(to - 2 * this.rateHz, to);
      }
      this.#trace(samples, from, to, (look.topMm + look.laneMm * (lane + 0.5)) * look.pxPerMm, x0);
      lane += 1;
    }
    if (look.labels) {
      for (const [index, label] of this.beats) if (index >= from && index < to) this.#label(index, label);
    }
  }

  /** @param {Lane} lane @param {number} from @param {number} to @param {number} middle @param {number} x0 */
  #trace(lane, from, to, middle, x0) {
    const { context, look } = this;
    const scale = look.mmPerMv * look.pxPerMm;
    const half = (look.laneMm / 2) * look.pxPerMm;
    const reach = half * 1.9; // a high QRS goes into the lane beside it, as on paper
    const step = this.pxPerSample;
    const joined = from > 0 && x0 >= step; // the piece before lies to the left of this one
    context.strokeStyle = this.colours.trace;
    context.lineWidth = look.labels ? 1.4 : 1.2;
    context.lineJoin = "round";
    context.beginPath();
    let pen = false;
    let gap = -1;
    for (let index = joined ? from - 1 : from; index < to; index++) {
      const value = lane.at(index);
      const x = x0 + (index - from) * step;
      if (Number.isNaN(value)) {
        pen = false;
        if (gap < 0) gap = x;
        continue;
      }
      if (gap >= 0) this.#gap(gap, x, middle, half);
      gap = -1;
      const y = middle - Math.max(-reach, Math.min(reach, (value - lane.offset) * scale));
      if (pen) context.lineTo(x, y);
      else context.moveTo(x, y);
      pen = true;
    }
    context.stroke();
    if (gap >= 0) this.#gap(gap, x0 + (to - from) * step, middle, half);
  }

  /** @param {number} x0 @param {number} x1 @param {number} middle @param {number} half */
  #gap(x0, x1, middle, half) {
    this.context.fillStyle = this.colours.gap;
    this.context.fillRect(x0, middle - half * 0.5, Math.max(0.5, x1 - x0), half);
  }

  /** @param {number} index @param {string} label */
  #label(index, label) {
    const { context, look } = this;
    if (!look.labels) return;
    const x = this.#x(index);
    const ventricular = label === "V";
    context.fillStyle = ventricular ? this.colours.ventricular : this.colours.label;
    context.font = `${ventricular ? "bold " : ""}12px system-ui, sans-serif`;
    context.textAlign = "center";
    context.fillText(label, x, 12);
    context.fillRect(x - 0.5, 15, 1, look.topMm * look.pxPerMm - 15);
  }
}

/**
 * Draw ECG paper: lines at each millimetre, stronger ones at five; a pulse of 1 mV and the name of
 * each lead.
 *
 * @param {HTMLCanvasElement} canvas
 * @param {Look} look
 * @param {string[]} leads
 */
export function drawPaper(canvas, look, leads) {
  const ratio = window.devicePixelRatio || 1;
  const width = canvas.clientWidth;
  const height = (look.topMm + look.laneMm * Math.max(1, leads.length)) * look.pxPerMm;
  canvas.style.height = `${height}px`;
  canvas.width = Math.max(1, Math.round(width * ratio));
  canvas.height = Math.max(1, Math.round(height * ratio));
  const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
  const style = getComputedStyle(canvas);
  context.scale(ratio, ratio);
  context.fillStyle = style.getPropertyValue("--paper");
  context.fillRect(0, 0, width, height);
  for (const [every, name] of /** @type {[number, string][]} */ ([[1, "--grid"], [5, "--grid-5"]])) {
    context.strokeStyle = style.getPropertyValue(name);
    context.lineWidth = every === 5 ? 1 : 0.5;
    context.beginPath();
    const step = every * look.pxPerMm;
    for (let x = 0; x <= width; x += step) { context.moveTo(x, 0); context.lineTo(x, height); }
    for (let y = (look.topMm * look.pxPerMm) % step; y <= height; y += step) { context.moveTo(0, y); context.lineTo(width, y); }
    context.stroke();
  }
  context.strokeStyle = context.fillStyle = style.getPropertyValue("--trace");
  leads.forEach((lead, index) => {
    const middle = (look.topMm + look.laneMm * (index + 0.5)) * look.pxPerMm;
    const [mm, high] = [look.pxPerMm, look.mmPerMv * look.pxPerMm];
    context.lineWidth = 1.2;
    context.globalAlpha = 0.75;
    context.beginPath();
    const base = middle + high / 2 + 3 * mm;
    context.moveTo(0.5 * mm, base);
    for (const [x, y] of [[1.5, 0], [1.5, high], [6.5, high], [6.5, 0], [7.5, 0]]) context.lineTo(x * mm, base - y);
    context.stroke();
    context.globalAlpha = 1;
    context.font = "bold 14px system-ui, sans-serif";
    context.fillText(lead, 1.5 * mm, middle - (look.laneMm / 2 - 4) * mm);
  });
}
