"""The card of the ventricular fibrillation model as a Markdown page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

INTRODUCTION = """# Model card: vf

Gives the probability of ventricular fibrillation or flutter in four seconds of one lead. Written by
`make train-vf`; the same in numbers: `vf.json`. Used by the alarm `ventricular_fibrillation` alone,
in an alerting agent; no diagnosis.

**Data.** vfdb (22 records, eight of which fibrillate), training records of mitdb without 207, svdb,
the noise of nstdb, white, pink and brown noise, half of cinc2017, three scripted patients.

**Split.** Eight groups of records of vfdb, each judged by a model trained without it. Every window
of 4 s, one a second, is judged by the label that fills most of it; a window that the signal
processing does not classify counts as no fibrillation. In brackets: 95 % interval by record.
"""
LEADS = ("vfdb, first lead", "vfdb, second lead")
COST = {
    "bytes": "bytes",
    "us_single": "µs a window, one at a time",
    "us_batch_256": "µs a window, batches of 256",
}


def page(result: dict[str, Any], failure_modes: Sequence[str]) -> str:
    """Return the Markdown page of the measured figures."""
    kinds = ("float", "int8")
    scores = [result[kind][lead] for lead in LEADS for kind in kinds]
    rows = {
        "": [f"{lead}, {kind}" for lead in LEADS for kind in kinds],
        "---": ["---"] * len(scores),
        "Se %": [_share(s, "se") for s in scores],
        "Sp %": [_share(s, "sp") for s in scores],
    }
    rows["F1 %"] = [f"{s['f1']:.2f}" for s in scores]
    for name in scores[0]["sp_by_rhythm"]:
        rows[f"Sp % in {name}"] = [f"{s['sp_by_rhythm'][name]['sp']:.2f}" for s in scores]
    rows["onset to decision, s, median"] = [
        f"{s['onset_to_decision_s']['median']:.2f}" for s in scores
    ]
    lines = [INTRODUCTION, *(_row(title, *cells) for title, cells in rows.items())]
    lines += ["", "By record, first lead, int8, the worst first:", ""]
    lines += [_row("record", "fibrillates, s", "missed", "false", "false in"), _row(*["---"] * 5)]
    for r in result["int8"][LEADS[0]]["by_record"]:
        where = ", ".join(f"{name[1:]} {n}" for name, n in r["false_in"].items())
        lines.append(_row(r["record"], r["fibrillates"], r["missed"], r["false"], where))
    lines += ["", "Elsewhere, first lead, int8:", ""]
    lines += [_row("", "hours", "false windows in 24 h", "Se %"), _row(*["---"] * 4)]
    for name, s in result["int8"].items():
        if isinstance(s, dict) and "hours" in s:
            lines.append(_row(name, s["hours"], s["false_windows_in_24h"], s.get("se") or ""))
    lines += ["", _row("", *kinds), _row(*["---"] * 3)]
    lines += [_row(title, *(result[kind][key] for kind in kinds)) for key, title in COST.items()]
    lines += ["", "**Where it fails.**", "", *(f"- {mode}" for mode in failure_modes), ""]
    return "\n".join(lines)


def _share(score: dict[str, Any], name: str) -> str:
    low, high = score[f"{name}_ci95"]
    return f"{score[name]:.2f} ({low:.1f}-{high:.1f})"


def _row(*cells: object) -> str:
    return f"| {' | '.join(map(str, cells))} |"
