"""Scores of fibrillation against all else, per window, by record and by rhythm."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from tocsin_training.data.windows import SECONDS, Windows

BOOTSTRAP = 2000
GROUPS = {"tachycardia": ("(VT",), "noise": ("(NOISE",), "asystole": ("(ASYS",)}


class Judged(NamedTuple):
    """Windows of one lead of one record, and the probability of each (0 if skipped)."""

    windows: Windows
    given: NDArray[np.float32]

    @classmethod
    def of(cls, windows: Windows, answers: NDArray[np.float32]) -> Judged:
        """Give all windows their probabilities from the answers to those that are described."""
        given = np.zeros(len(windows.row), np.float32)
        given[windows.row >= 0] = answers[windows.row[windows.row >= 0]]
        return cls(windows, given)


def score_windows(judged: Sequence[Judged], threshold: float) -> dict[str, Any]:
    """Return Se and Sp in percent, gross and by record, and where the errors are."""
    counts = np.array([_count(j, threshold) for j in judged])
    draws = np.random.default_rng(0).integers(0, len(counts), (BOOTSTRAP, len(counts)))
    drawn = counts[draws].sum(axis=1)
    tp, fn, fp, tn = counts.sum(axis=0).tolist()
    delays = np.array([d for j in judged for d in onset_delays(j, threshold)])
    return {
        "windows": int(counts.sum()),
        "se": _percent(tp, tp + fn),
        "se_ci95": _interval(drawn[:, 0], drawn[:, 1]),
        "sp": _percent(tn, tn + fp),
        "sp_ci95": _interval(drawn[:, 3], drawn[:, 2]),
        "f1": _percent(2 * tp, 2 * tp + fp + fn),
        "sp_by_rhythm": _by_rhythm(judged, threshold),
        "onset_to_decision_s": {
            "episodes": len(delays),
            "found": int(np.isfinite(delays).sum()),
            "median": round(float(np.median(delays)), 2) if len(delays) else None,
        },
        "by_record": sorted(
            (_record(j, threshold) for j in judged), key=lambda r: -(r["missed"] + r["false"])
        ),
    }


def area_under_roc(given: NDArray[np.float32], true: NDArray[np.bool_]) -> float:
    """Return the area under the ROC curve; ties count half."""
    ranks = rankdata(given)
    positive = int(true.sum())
    above = float(ranks[true].sum()) - positive * (positive + 1) / 2
    return above / (positive * (len(true) - positive))


def onset_delays(judged: Judged, threshold: float) -> list[float]:
    """Return for each marked episode of 4 s or more the delay of its detection, or infinity."""
    share = judged.windows.share
    inside = np.concatenate(([False], share > 0, [False]))
    edges = np.flatnonzero(inside[1:] != inside[:-1]).reshape(-1, 2)
    delays = []
    for first, last in edges.tolist():
        if share[first] >= 1 or share[first:last].max() < 1:
            continue  # it began before the record, or is shorter than a window
        onset = (first + SECONDS) - SECONDS * float(share[first])
        found = np.flatnonzero(judged.given[first:last] >= threshold)
        delays.append(first + int(found[0]) + SECONDS - onset if len(found) else np.inf)
    return delays


def _count(judged: Judged, threshold: float) -> tuple[int, int, int, int]:
    true, found = judged.windows.true, judged.given >= threshold
    cells = (true & found, true & ~found, ~true & found, ~true & ~found)
    return tuple(int(cell.sum()) for cell in cells)  # type: ignore[return-value]


def _by_rhythm(judged: Sequence[Judged], threshold: float) -> dict[str, Any]:
    rhythm = np.concatenate([j.windows.rhythm for j in judged])
    false = np.concatenate([j.given >= threshold for j in judged])
    negative = ~np.concatenate([j.windows.true for j in judged])
    members = {name: np.isin(rhythm, marks) for name, marks in GROUPS.items()}
    members["other rhythms"] = ~np.any(list(members.values()), axis=0)
    members["all but tachycardia"] = ~members["tachycardia"]
    table = {}
    for name, member in members.items():
        count, wrong = int((member & negative).sum()), int((member & negative & false).sum())
        table[name] = {"windows": count, "false": wrong, "sp": _percent(count - wrong, count)}
    return table


def _record(judged: Judged, threshold: float) -> dict[str, Any]:
    w, found = judged.windows, judged.given >= threshold
    false = found & ~w.true
    return {
        "record": w.record,
        "lead": w.lead,
        "fibrillates": int(w.true.sum()),
        "missed": int((w.true & ~found).sum()),
        "windows": len(w.share),
        "false": int(false.sum()),
        "false_in": {
            str(name): int((false & (w.rhythm == name)).sum())
            for name in np.unique(w.rhythm[false])
        },
    }


def _percent(part: int, whole: int) -> float | None:
    return round(100 * part / whole, 2) if whole else None


def _interval(part: NDArray[np.int64], rest: NDArray[np.int64]) -> list[float] | None:
    known = part + rest > 0
    if not known.any():
        return None
    shares = 100 * part[known] / (part + rest)[known]
    return [round(float(q), 2) for q in np.percentile(shares, [2.5, 97.5])]
