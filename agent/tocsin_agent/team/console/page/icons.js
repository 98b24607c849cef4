// @ts-check
/** Signs of priority and state: a shape and a text each, so that colour is never all there is. */

import { el, svg } from "./dom.js";

/** @typedef {import("./protocol.js").Priority} Priority */

const MARKS = { high: "!!!", medium: "!!", low: "!" };
const SHAPES = { high: "M20 2 38 34H2Z", medium: "M20 3 37 18 20 33 3 18Z", low: "M4 12H36V26H4Z" };

/**
 * The sign of a priority after IEC 60601-1-8: triangle, rhombus or bar with !!!, !! or !.
 *
 * @param {Priority} priority
 * @returns {SVGElement}
 */
export function sign(priority) {
  return svg(
    "svg",
    { viewBox: "0 0 40 36", class: `sign ${priority}`, "aria-hidden": "true", focusable: "false" },
    svg("path", { d: SHAPES[priority] }),
    svg("text", { x: 20, y: priority === "high" ? 30 : priority === "medium" ? 23 : 24, "text-anchor": "middle" }, MARKS[priority]),
  );
}

/**
 * Bars that show the quality of a lead, with its name.
 *
 * @param {import("./protocol.js").Lead} lead
 * @param {string} label for a screen reader
 */
export function quality(lead, label) {
  const level = lead.quality >= 0.75 ? 3 : lead.quality >= 0.5 ? 2 : lead.quality > 0.05 ? 1 : 0;
  return el(
    "span",
    { class: `lead q${level}${lead.used ? " used" : ""}`, title: label },
    el("span", { "aria-hidden": "true", text: lead.name }),
    svg(
      "svg",
      { viewBox: "0 0 14 10", "aria-hidden": "true", focusable: "false" },
      ...[1, 2, 3].map((step) =>
        svg("rect", { x: (step - 1) * 5, y: 10 - step * 3.3, width: 3.6, height: step * 3.3, class: step <= level ? "on" : "off" }),
      ),
    ),
    el("span", { class: "hidden", text: label }),
  );
}
