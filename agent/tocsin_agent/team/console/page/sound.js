// @ts-check
/**
 * Alarm sounds after IEC 60601-1-8, generated: bursts of pulses with a fundamental and harmonics.
 */

import { settings } from "./settings.js";

/** @typedef {"high" | "medium" | "low"} Priority */

/**
 * The bursts: when each pulse begins, how long it lasts (s), how often the burst comes again.
 * High: c c c - c c, twice. Medium: c c c. Low: c c.
 */
export const BURSTS = {
  high: { starts: fiveTwice(0.15, 0.1, 0.9), length: 0.15, every: 5, hz: 523.25 },
  medium: { starts: [0, 0.4, 0.8], length: 0.2, every: 15, hz: 440 },
  low: { starts: [0, 0.45], length: 0.22, every: 30, hz: 349.23 },
};

const HARMONICS = [1, 0.6, 0.45, 0.35, 0.25]; // the fundamental and four above it
const RISE_S = 0.02;

/**
 * Return the starts of ten pulses: three and two, a pause, and again.
 *
 * @param {number} length of a pulse
 * @param {number} gap between two pulses
 * @param {number} pause between the halves
 */
function fiveTwice(length, gap, pause) {
  const step = length + gap;
  const half = [0, step, 2 * step, 4 * step, 5 * step];
  const second = half[4] + length + pause;
  return [...half, ...half.map((start) => start + second)];
}

export class Sound {
  constructor() {
    /** @type {AudioContext | null} */
    this.context = null;
    /** @type {Priority | null} */
    this.sounding = null;
    this.nextAt = 0;
    /** @type {{priority: Priority, pulses: number}[]} bursts that were started, for tests */
    this.played = [];
  }

  /** Whether sound is wanted and the browser lets it be. @returns {boolean} */
  get on() {
    return settings.sound && this.context?.state === "running";
  }

  /** Ask the browser for sound; it agrees only on a press or a key. */
  async unlock() {
    this.context ??= new AudioContext();
    if (this.context.state !== "running") await this.context.resume();
  }

  /**
   * Sound this priority until another call; null is silence. Called often.
   *
   * @param {Priority | null} priority
   */
  keep(priority) {
    if (priority !== this.sounding) {
      this.sounding = priority;
      this.nextAt = 0; // at once
    }
    if (!priority || !this.on || performance.now() < this.nextAt) return;
    this.nextAt = performance.now() + BURSTS[priority].every * 1000;
    this.burst(priority);
  }

  /** @param {Priority} priority */
  burst(priority) {
    const context = this.context;
    if (!context) return;
    const { starts, length, hz } = BURSTS[priority];
    for (const start of starts) pulse(context, context.currentTime + 0.02 + start, length, hz);
    this.played.push({ priority, pulses: starts.length });
    if (this.played.length > 100) this.played.shift();
  }
}

/**
 * @param {AudioContext} context
 * @param {number} at
 * @param {number} length
 * @param {number} hz
 */
function pulse(context, at, length, hz) {
  const gain = context.createGain();
  gain.connect(context.destination);
  const peak = settings.volume / HARMONICS.reduce((sum, part) => sum + part, 0);
  gain.gain.setValueAtTime(0, at);
  gain.gain.linearRampToValueAtTime(peak, at + RISE_S);
  gain.gain.setValueAtTime(peak, at + length - RISE_S);
  gain.gain.linearRampToValueAtTime(0, at + length);
  HARMONICS.forEach((level, index) => {
    const part = context.createGain();
    part.gain.value = level;
    part.connect(gain);
    const oscillator = context.createOscillator();
    oscillator.frequency.value = hz * (index + 1);
    oscillator.connect(part);
    oscillator.start(at);
    oscillator.stop(at + length + 0.01);
  });
}
