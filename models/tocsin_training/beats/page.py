"""The card of the beat model as a Markdown page."""

from __future__ import annotations

from typing import Any

INTRODUCTION = """# Model card: beats

Labels each detected beat N, S, V, F or Q (ANSI/AAMI EC57), from one lead. Written by
`make train-beats`; the same in numbers: `beats.json`. The rhythm rules of an alerting agent rest on
its labels; no diagnosis.

**Data.** The training records of mitdb (DS1 without 201, whose patient is 202 in DS2) and all of
svdb, both leads of each; beats in sinus rhythm and atrial fibrillation of the odd records of
cinc2017, to show that irregular is not early; the first half of the noises em and
ma of nstdb, as Q, and mixed into mitdb and svdb. The network for prematurity is also trained on
scripted rhythms (`models/tocsin_training/data/scripted.py`) that hardly occur in these patients.

**Split.** By patient. DS2 of mitdb judges the shipped file. svdb and the training patients of mitdb
are judged in three groups, each by a file that was trained without that group (`python -m
tocsin_training.beats.train --cross-validate`). First lead, detected beats, from 5:00, 150
ms. Escape beats count as N here; `tocsin evaluate`, like the reference programs, counts them as S.
In brackets: 95 % interval by record.
"""
COST = {
    "bytes": "bytes",
    "us_single": "µs a beat, one at a time",
    "us_batch_256": "µs a beat, batches of 256",
}
WORST = 12


def page(card: dict[str, Any]) -> str:
    """Return the Markdown page of a card."""
    float_, int8 = card["metrics"]["float"], card["metrics"]["int8"]
    judged = {
        "DS2, float": float_["ds2"],
        "DS2, int8": int8["ds2"],
        "DS1, cross-validated, int8": card["cross_validation"]["mitdb"],
        "svdb, cross-validated, int8": card["cross_validation"]["svdb"],
    }
    lines = [INTRODUCTION, _row("", "VEB Se %", "VEB +P %", "SVEB Se %", "SVEB +P %")]
    lines.append(_row(*["---"] * 5))
    for name, of in judged.items():
        cells = [
            f"{of[kind][score]:.2f} ({low:.1f}-{high:.1f})"
            for kind in ("veb", "sveb")
            for score in ("se", "ppv")
            for low, high in [of["intervals"][kind][score]]
        ]
        lines.append(_row(name, *cells))
    without = int8["ds2_sveb_without_232"]
    lines.append(_row("DS2 without 232, int8", "", "", without["se"], without["ppv"]))
    for name, of in list(judged.items())[1:]:
        lines += ["", f"{name}, the worst records first (missed + false):", ""]
        lines += [_row("record", "VEB", "SVEB"), _row(*["---"] * 3)]
        records = sorted(of["per_record"].items(), key=lambda item: -sum(_errors(item[1])))
        for record, scores in records[:WORST]:
            veb_missed, veb_false, sveb_missed, sveb_false = _errors(scores)
            lines.append(
                _row(record, f"{veb_missed} + {veb_false}", f"{sveb_missed} + {sveb_false}")
            )
    lines += ["", _row("", "float", "int8"), _row(*["---"] * 3)]
    lines += [_row(title, float_[key], int8[key]) for key, title in COST.items()]
    lines += ["", "**Where it fails.**", "", *(f"- {mode}" for mode in card["failure_modes"]), ""]
    return "\n".join(lines)


def _errors(scores: dict[str, Any]) -> tuple[int, int, int, int]:
    veb, sveb = scores["veb"], scores["sveb"]
    return veb["missed"], veb["false"], sveb["missed"], sveb["false"]


def _row(*cells: object) -> str:
    return f"| {' | '.join(str(cell) for cell in cells)} |"
