// @ts-check
/**
 * One case of a review: its ECG, and the fields of an answer. `cases/review.html` holds a copy of
 * this file, the console serves it.
 *
 * @typedef {{case: string, asked: string, seconds: number, rate: number, leads: string[], data: string, beats: [number, string][]}} ShownCase
 * @typedef {{verdict?: string, condition?: string, onset_s?: number | null, end_s?: number | null, beats?: [number, string][] | null}} Answer
 */

const PX_PER_S = 100, PX_PER_MV = 40, LEAD_PX = 190, TOP_PX = 30;
const COUNTS_PER_MV = 200, MISSING = -32768;
const NEAR_S = 0.15; // a click so near a beat means that beat
const VERDICTS = /** @type {const} */ (["true", "false", "other"]);
const MODES = /** @type {const} */ (["onset", "end", "beats"]);
/** @typedef {Record<string, string>} Words what is in braces is filled in */
/** @type {Words} */
const ENGLISH = {
  true: "True (t)",
  false: "False (f)",
  other: "Another condition (o)",
  condition: "The condition that is there",
  click: "A click on the ECG",
  sets_onset: "sets the onset",
  sets_end: "sets the end",
  sets_beats: "changes a beat",
  any: "Is any condition there?",
  is: "Is it {condition}?",
  onset: "onset {seconds} s",
  end: "end {seconds} s",
  ecg: "ECG, {leads}, {seconds} s",
};
const KEYS = /** @type {Record<string, string>} */ ({ t: "true", f: "false", o: "other" });

export class CaseForm {
  /**
   * @param {string[]} conditions alarm codes
   * @param {string[]} labels of beats
   * @param {(answer: Answer) => void} changed the person has changed the answer
   * @param {Words} [words] in the person's language
   * @param {Record<string, string>} [names] of conditions, by code
   */
  constructor(conditions, labels, changed, words = ENGLISH, names = {}) {
    this.labels = labels;
    this.words = words;
    this.names = names;
    this.changed = changed;
    /** @type {ShownCase | null} */
    this.case = null;
    /** @type {Answer} */
    this.answer = {};
    /** @type {string} */
    this.mode = "onset";
    this.samples = new Int16Array(0);
    this.asked = make("span", "asked");
    this.times = make("span", "times");
    this.canvas = make("canvas", "ecg");
    this.canvas.setAttribute("role", "img");
    this.condition = make("select", "condition");
    this.condition.setAttribute("aria-label", words.condition);
    for (const code of conditions) this.condition.add(new Option(this.#name(code), code));
    this.condition.addEventListener("change", () => this.say("other"));
    const verdicts = VERDICTS.map((name) => button(name, words[name], () => this.say(name)));
    const modes = MODES.map((name) => button(name, words[`sets_${name}`], () => { this.mode = name; this.#update(); }));
    this.buttons = [...verdicts, ...modes];
    this.root = document.createElement("div");
    this.root.append(row(this.asked, ...verdicts, this.condition), row(words.click, ...modes, this.times), paper(this.canvas));
    this.canvas.addEventListener("click", (event) => this.#click(event.offsetX / PX_PER_S));
    document.addEventListener("keydown", (event) => {
      const typing = /** @type {Element} */ (event.target).matches("input, select");
      if (!typing && !event.ctrlKey && !event.altKey && !event.metaKey && this.root.isConnected && event.key in KEYS) this.say(KEYS[event.key]);
    });
  }

  /** @param {ShownCase} one @param {Answer | null} [answer] what the person has answered already */
  show(one, answer) {
    this.case = one;
    this.answer = { ...answer };
    const raw = Uint8Array.from(atob(one.data), (c) => c.charCodeAt(0));
    this.samples = new Int16Array(raw.buffer);
    this.#update();
  }

  /** @param {string} verdict */
  say(verdict) {
    const asked = this.case?.asked ?? "any";
    if (verdict === "true" && asked === "any") return;
    this.#change({ verdict, condition: verdict === "false" ? "" : verdict === "true" ? asked : this.condition.value });
  }

  /** @param {Answer} more */
  #change(more) {
    this.answer = { ...this.answer, ...more };
    this.#update();
    this.changed(this.answer);
  }

  /** @param {number} clicked seconds */
  #click(clicked) {
    if (!this.case) return;
    const s = Number(Math.min(Math.max(clicked, 0), this.case.seconds).toFixed(3));
    if (this.mode !== "beats") return this.#change({ [`${this.mode}_s`]: s });
    const beats = this.#beats().map((beat) => /** @type {[number, string]} */ ([...beat]));
    const near = beats.findIndex(([at]) => Math.abs(at - s) < NEAR_S);
    if (near < 0) beats.push([s, "N"]);
    else {
      const next = this.labels.indexOf(beats[near][1]) + 1;
      if (next < this.labels.length) beats[near][1] = this.labels[next];
      else beats.splice(near, 1);
    }
    this.#change({ beats: beats.sort((a, b) => a[0] - b[0]) });
  }

  /** @param {string} code of a condition */
  #name(code) {
    return this.names[code] ?? code.replaceAll("_", " ");
  }

  #beats() {
    return this.answer.beats ?? this.case?.beats ?? [];
  }

  #update() {
    const one = /** @type {ShownCase} */ (this.case), said = this.answer;
    this.asked.textContent = one.asked === "any" ? this.words.any : fill(this.words.is, { condition: this.#name(one.asked) });
    for (const item of this.buttons) item.setAttribute("aria-pressed", String(item.id === said.verdict || item.id === this.mode));
    this.buttons[0].hidden = one.asked === "any";
    this.condition.hidden = said.verdict !== "other";
    if (said.condition) this.condition.value = said.condition;
    const time = (/** @type {"onset" | "end"} */ which, /** @type {number | null | undefined} */ s) => (s == null ? "" : fill(this.words[which], { seconds: s.toFixed(2) }));
    this.times.textContent = [time("onset", said.onset_s), time("end", said.end_s)].join("  ");
    this.canvas.setAttribute("aria-label", fill(this.words.ecg, { leads: one.leads.join(", "), seconds: one.seconds.toFixed(0) }));
    this.#draw(one, said);
  }

  /** @param {ShownCase} one @param {Answer} said */
  #draw(one, said) {
    const pen = /** @type {CanvasRenderingContext2D} */ (this.canvas.getContext("2d"));
    const n = one.leads.length, values = this.samples;
    const width = (this.canvas.width = Math.ceil(one.seconds * PX_PER_S));
    const height = (this.canvas.height = n * LEAD_PX + TOP_PX);
    pen.strokeStyle = "#f0d0d0";
    pen.lineWidth = 1;
    for (let x = 0; x <= width; x += PX_PER_S / 5) line(pen, x, 0, x, height);
    for (let y = 0; y < height; y += PX_PER_MV / 2) line(pen, 0, y, width, y);
    pen.strokeStyle = pen.fillStyle = "#16191d";
    pen.font = "14px system-ui";
    for (let lead = 0; lead < n; lead++) {
      const middle = (lead + 0.5) * LEAD_PX + TOP_PX / 2;
      pen.fillText(one.leads[lead], 4, lead * LEAD_PX + 34);
      pen.beginPath();
      let down = false;
      for (let i = 0; i * n + lead < values.length; i++) {
        const value = values[i * n + lead];
        if (value === MISSING) {
          down = false;
          continue;
        }
        const x = (i / one.rate) * PX_PER_S, y = middle - (value / COUNTS_PER_MV) * PX_PER_MV;
        if (down) pen.lineTo(x, y);
        else pen.moveTo(x, y);
        down = true;
      }
      pen.stroke();
    }
    for (const [s, label] of this.#beats()) {
      pen.fillStyle = label === "N" ? "#5b6570" : "#bf4a30";
      pen.fillText(label, s * PX_PER_S - 4, 16);
    }
    for (const [s, colour] of /** @type {[number | null | undefined, string][]} */ ([[said.onset_s, "#1f6f8b"], [said.end_s, "#6a55a3"]])) {
      if (s == null) continue;
      pen.strokeStyle = colour;
      line(pen, s * PX_PER_S, 0, s * PX_PER_S, height);
    }
  }
}

/** @template {keyof HTMLElementTagNameMap} K @param {K} tag @param {string} id @returns {HTMLElementTagNameMap[K]} */
function make(tag, id) {
  const element = document.createElement(tag);
  element.id = id;
  return element;
}

/** @param {string} text @param {Record<string, string>} values @returns {string} */
const fill = (text, values) => text.replace(/\{(\w+)\}/g, (whole, name) => values[name] ?? whole);

/** @param {string} id @param {string} text @param {() => void} pressed */
function button(id, text, pressed) {
  const element = make("button", id);
  element.type = "button";
  element.textContent = text;
  element.addEventListener("click", pressed);
  return element;
}

/** @param {...(Node | string)} children */
function row(...children) {
  const element = document.createElement("div");
  element.className = "fields";
  element.append(...children);
  return element;
}

/** @param {HTMLCanvasElement} canvas */
function paper(canvas) {
  const element = document.createElement("div");
  element.className = "paper";
  element.tabIndex = 0;
  element.append(canvas);
  return element;
}

/** @param {CanvasRenderingContext2D} pen @param {number} x @param {number} y @param {number} toX @param {number} toY */
function line(pen, x, y, toX, toY) {
  pen.beginPath();
  pen.moveTo(x, y);
  pen.lineTo(toX, toY);
  pen.stroke();
}
