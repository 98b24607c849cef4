"""The card of the atrial fibrillation model as a Markdown page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

INTRODUCTION = """# Model card: af

Gives the probability of atrial fibrillation in half a minute of beats: a weighted sum of the
measures of `tocsin_dsp.rhythms.irregularity`. Written by `make train-af`; the same in numbers:
`af.json`. Used by the alarm `atrial_fibrillation` alone, in an alerting agent; no diagnosis.

**Data.** cinc2017 (680 short records, one lead), the training records of mitdb (DS1 without 201)
and, as no fibrillation, the half minutes of svdb in which a beat is marked supraventricular; all
leads, detected beats with the labels of the shipped beat model. All 48 records of mitdb are judged.

**Split.** Eight groups of records, each judged by a weighted sum trained without them; DS2 of mitdb
is in no training set. The labels of the beats are those of the shipped beat model, which was
trained on DS1, svdb and half of cinc2017: there they are better than elsewhere. In brackets: 95 %
interval by record. The shipped file is the float one: for so few numbers int8 is no faster.
"""


def page(result: dict[str, Any], failure_modes: Sequence[str]) -> str:
    """Return the Markdown page of the measured figures."""
    kinds = ("float", "int8")
    low, high = zip(*(result[kind]["cinc2017"]["f1_a_ci95"] for kind in kinds), strict=True)
    f1 = [result[kind]["cinc2017"]["f1_a"] for kind in kinds]
    rows = {
        "F1 of A, cinc2017": [
            f"{x:.2f} ({a:.1f}-{b:.1f})" for x, a, b in zip(f1, low, high, strict=True)
        ],
        "Se, half minutes of mitdb": [result[kind]["mitdb"]["se"] for kind in kinds],
        "Sp, half minutes of mitdb": [result[kind]["mitdb"]["sp"] for kind in kinds],
        "Sp without flutter": [result[kind]["mitdb"]["sp_without_flutter"] for kind in kinds],
        "Sp at 0.7 with two or more ectopic beats, svdb": [
            result[kind]["svdb"]["sp"] for kind in kinds
        ],
    }
    for name in ("episode_se", "episode_ppv", "duration_se", "duration_ppv"):
        rows[f"mitdb, alarm: {name}"] = [result[kind]["mitdb, alarm"][name] for kind in kinds]
    for name in ("episode_se", "episode_ppv"):
        rows[f"the same without paced records: {name}"] = [
            result[kind]["mitdb, alarm"]["without_paced"][name] for kind in kinds
        ]
    for name in ("bytes", "us_single", "us_batch_256"):
        rows[name] = [result[kind][name] for kind in kinds]
    lines = [INTRODUCTION, "| | float | int8 |", "|---|---|---|"]
    lines += [f"| {name} | {cells[0]} | {cells[1]} |" for name, cells in rows.items()]
    lines += ["", "Half minutes of mitdb, by record, float, the worst first:", ""]
    lines += ["| record | fibrillates | missed | false | of |", "|---|---|---|---|---|"]
    lines += [
        f"| {r['record']} | {r['fibrillates']} | {r['missed']} | {r['false']} "
        f"| {r['half_minutes']} |"
        for r in result["float"]["mitdb"]["by_record"]
    ]
    lines += ["", "**Where it fails.**", "", *(f"- {mode}" for mode in failure_modes), ""]
    return "\n".join(lines)
