"""The style sheet: custom properties for a light and a dark palette; print is light."""

from __future__ import annotations

STYLE = """
:root {
  color-scheme: light dark;
  --page: #fbfbfa; --sheet: #ffffff; --ink: #1c2127; --soft: #5b6570; --rule: #dfe2e5;
  --se: #1f6f8b; --ppv: #6a55a3; --error: #bf4a30; --agree: #1f6f8b; --track: #e9ecee;
  --paper: #fffafa; --fine: #f6dede; --coarse: #eab9b9; --trace: #16191d;
  --warn-page: #fdf3e7; --warn-rule: #d9923b;
}
@media screen and (prefers-color-scheme: dark) {
  :root {
    --page: #14171a; --sheet: #1b1f23; --ink: #e4e7ea; --soft: #9aa5b0; --rule: #32383e;
    --se: #5fb4d0; --ppv: #a893e0; --error: #ec7f63; --agree: #4fa3c0; --track: #2b3136;
    --paper: #1d191a; --fine: #2d2224; --coarse: #4a3134; --trace: #f0f2f4;
    --warn-page: #2b2318; --warn-rule: #d9923b;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0; background: var(--page); color: var(--ink);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif;
  font-variant-numeric: tabular-nums;
}
main { max-width: 70rem; margin: 0 auto; padding: 2.5rem 1.5rem 4rem; }
section { margin-top: 3.25rem; }
h1 { font-size: 2.4rem; line-height: 1.15; margin: 0 0 1.2rem; font-weight: 650; }
h2 {
  font-size: 1.35rem; margin: 0 0 1rem; padding-bottom: .4rem; font-weight: 620;
  border-bottom: 1px solid var(--rule);
}
h3 { font-size: 1.02rem; margin: 0 0 .2rem; font-weight: 620; }
h1, h2, h3, td, th, dd, figcaption, p { overflow-wrap: break-word; }
.eyebrow { margin: 0; color: var(--soft); letter-spacing: .04em; }
.note { color: var(--soft); max-width: 48rem; font-size: .94rem; }
abbr { display: block; color: var(--soft); font-weight: 400; font-size: .92rem; }
pre {
  margin: .4rem 0 0; padding: .7rem .9rem; background: var(--sheet); white-space: pre-wrap;
  border: 1px solid var(--rule); border-radius: 6px; overflow-wrap: anywhere;
}
code {
  font: .9em/1.5 ui-monospace, "SF Mono", Menlo, Consolas, monospace; overflow-wrap: anywhere;
}
.warning {
  margin: 1.6rem 0 0; padding: .7rem 1rem; background: var(--warn-page);
  border-left: 4px solid var(--warn-rule); border-radius: 3px;
}
.warning a { color: inherit; }
dl { margin: 0; }
dd { margin: 0; min-width: 0; }
.facts { display: flex; flex-wrap: wrap; gap: .6rem 2.6rem; }
.facts dt { color: var(--soft); font-size: .86rem; }
.facts dd { font-size: 1.1rem; }
.words {
  display: grid; grid-template-columns: minmax(8rem, max-content) 1fr; gap: .35rem 1.6rem;
  font-size: .94rem; max-width: 60rem;
}
.words dt { color: var(--soft); }
.cards {
  display: grid; gap: 1.1rem; margin-bottom: 1.4rem;
  grid-template-columns: repeat(auto-fit, minmax(17rem, 1fr));
}
.card {
  background: var(--sheet); border: 1px solid var(--rule); border-radius: 10px;
  padding: 1.1rem 1.2rem .9rem;
}
.card { display: grid; grid-row: span 5; grid-template-rows: subgrid; row-gap: 0; }
.meaning { color: var(--soft); font-size: .92rem; margin: .1rem 0 .7rem; }
.value {
  display: grid; grid-template-columns: 2.1rem auto 1fr; align-items: baseline; column-gap: .4rem;
}
.sign { font-weight: 600; }
.big { font-size: 1.9rem; font-weight: 620; line-height: 1.2; }
.big small { font-size: 1rem; font-weight: 400; }
.big.se { color: var(--se); } .big.ppv { color: var(--ppv); }
.interval { color: var(--soft); font-size: .88rem; justify-self: end; }
.whisker { grid-column: 1 / -1; width: 100%; height: auto; margin-bottom: .5rem; }
svg { display: block; }
svg text { fill: var(--ink); font: 12px system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
.whisker .axis { stroke: var(--rule); stroke-width: 1.5; }
.whisker .range { stroke-width: 6; stroke-linecap: round; opacity: .35; }
.range.se { stroke: var(--se); } .range.ppv { stroke: var(--ppv); }
.dot.se { fill: var(--se); } .dot.ppv { fill: var(--ppv); }
.whisker .tick { font-size: 9.5px; fill: var(--soft); }
.whisker .end { text-anchor: end; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: .94rem; }
th, td { padding: .36rem .55rem; text-align: left; border-bottom: 1px solid var(--rule); }
thead th { color: var(--soft); font-weight: 500; vertical-align: bottom; }
tbody th { font-weight: 560; }
.figure { text-align: right; white-space: nowrap; }
.group { text-align: center; font-weight: 620; }
.groups th, .groups td { border-bottom: 0; padding-bottom: 0; }
.records { font-size: .88rem; }
.records th, .records td { padding: .22rem .45rem; }
.bar {
  display: inline-block; width: 60px; height: 8px; vertical-align: middle; margin-right: .3rem;
}
.bar + span { display: inline-block; min-width: 3.5em; }
.bar.alarm { width: 150px; height: 10px; }
.fill.se, .alarm-true { fill: var(--se); } .fill.ppv { fill: var(--ppv); }
.lacks, .alarm-missed { fill: var(--error); }
.alarm-false { fill: var(--warn-rule); }
.lacks { opacity: .55; }
.legend { color: var(--soft); font-size: .9rem; margin-right: 1.1rem; }
.key { display: inline-block; width: .75rem; height: .75rem; border-radius: 2px; }
.key.true { background: var(--se); } .key.missed { background: var(--error); }
.key.false { background: var(--warn-rule); }
figure { margin: 0; break-inside: avoid; }
figcaption { font-weight: 560; margin-bottom: .3rem; }
.heat svg { width: 100%; max-width: 670px; height: auto; }
.chart text { text-anchor: middle; }
.chart .axis, .chart .x, .chart .y, .chart .total, .chart .none { fill: var(--soft); }
.chart .start { text-anchor: start; }
.chart .y { text-anchor: end; }
.chart .label { font-size: 15px; font-weight: 600; }
.chart .count { font-size: 13px; }
.agrees { fill: var(--agree); stroke: var(--rule); }
.errs { fill: var(--error); stroke: var(--rule); }
.charts { display: grid; gap: 1.5rem; grid-template-columns: repeat(auto-fit, minmax(20rem, 1fr)); }
.charts svg { width: 100%; max-width: 520px; height: auto; }
.charts { margin-bottom: 1rem; }
.grid { stroke: var(--rule); }
.curve { fill: none; stroke-width: 2.2; }
.curve.se { stroke: var(--se); } .curve.ppv { stroke: var(--ppv); stroke-dasharray: 6 4; }
.chart .name { font-weight: 600; font-size: 13px; text-anchor: start; }
.chart .name.se { fill: var(--se); } .chart .name.ppv { fill: var(--ppv); }
.strip { margin-top: 1.7rem; }
.where { color: var(--soft); font-weight: 400; margin-left: .8rem; }
.paper { max-width: 100%; height: auto; }
.sheet { fill: var(--paper); }
.fine { stroke: var(--fine); stroke-width: .12; fill: none; }
.coarse { stroke: var(--coarse); stroke-width: .2; fill: none; }
.trace { stroke: var(--trace); stroke-width: .32; fill: none; stroke-linejoin: round; }
.focus { fill: var(--error); opacity: .16; }
.paper text { font-size: 3.6px; }
.paper .row { fill: var(--soft); font-size: 3px; text-anchor: end; }
.mark text { text-anchor: middle; fill: var(--soft); }
.mark .stem { stroke: var(--soft); stroke-width: .2; }
.near text { fill: var(--error); font-weight: 700; }
.near .stem { stroke: var(--error); stroke-width: .35; }
.absent { color: var(--soft); padding: 1rem; border: 1px dashed var(--rule); border-radius: 6px; }
.names { max-width: 60rem; }
@media print {
  @page { margin: 14mm; }
  body { font-size: 10pt; background: none; }
  main { max-width: none; padding: 0; }
  section { margin-top: 9mm; }
  h2, h3, figcaption, thead { break-after: avoid; }
  .card, tr, .value, figure, .words, .warning { break-inside: avoid; }
  .cards { grid-template-columns: repeat(3, 1fr); gap: 4mm; }
  .charts { grid-template-columns: 1fr 1fr; }
  .big { font-size: 15pt; } .value { grid-template-columns: 6mm 1fr; }
  .interval { grid-column: 1 / -1; justify-self: start; }
  .wide { overflow: visible; }
  .records { font-size: 7.5pt; } .records th, .records td { padding: .5mm 1mm; }
  .bar { width: 36px; } .bar.alarm { width: 80px; }
  .key, .lacks, rect { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
}
"""
