"""Beat-by-beat scores of labelled detections, as ANSI/AAMI EC57 counts VEB and SVEB."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tocsin_models.labels import LABELS
from tocsin_training.data.beats import MATCH_S, Beats

START_S = 300.0  # s, the learning period
FORGIVEN = {"V": "FQ", "S": "Q"}  # reference classes for which the answer is not false, as in EC57
NONE = len(LABELS)  # row: detection without a beat; column: beat without a detection


@dataclass
class Counts:
    """Reference class (rows) against answered class (columns); the last of each means none."""

    record: str = "gross"
    matrix: NDArray[np.int64] = field(
        default_factory=lambda: np.zeros((NONE + 1, NONE + 1), np.int64)
    )

    def counted(self, label: str) -> tuple[int, int, int]:
        """Return the numbers of found, missed and false beats of a class."""
        k = LABELS.index(label)
        rows = [r for r in range(NONE + 1) if r == NONE or LABELS[r] not in FORGIVEN[label]]
        found = int(self.matrix[k, k])
        missed = int(self.matrix[k].sum()) - found
        return found, missed, int(self.matrix[rows, k].sum()) - found

    def score(self, label: str) -> dict[str, float]:
        """Return Se and +P in percent, and the counts behind them."""
        found, missed, false = self.counted(label)
        return {
            "se": round(100 * found / max(found + missed, 1), 2),
            "ppv": round(100 * found / max(found + false, 1), 2),
            "missed": missed,
            "false": false,
        }

    def as_dict(self) -> dict[str, Any]:
        """Return VEB and SVEB scores and the matrix."""
        return {
            "veb": self.score("V"),
            "sveb": self.score("S"),
            "labels": [*LABELS, "none"],
            "matrix": self.matrix.tolist(),
        }


def score_record(beats: Beats, given: NDArray[np.int64]) -> Counts:
    """Match detections to reference beats one to one within 150 ms, from 5:00 on.

    Detections within ventricular flutter or fibrillation are not judged, as in EC57.
    """
    counts = Counts(beats.record)
    free = (beats.seconds >= START_S) & ~beats.in_vf
    for time, label in zip(beats.references, beats.reference_labels, strict=True):
        if time < START_S:
            continue
        near = np.flatnonzero(free & (np.abs(beats.seconds - time) <= MATCH_S))
        if len(near) == 0:
            counts.matrix[label, NONE] += 1
            continue
        best = near[np.abs(beats.seconds[near] - time).argmin()]
        free[best] = False
        counts.matrix[label, given[best]] += 1
    for label in given[free]:
        counts.matrix[NONE, label] += 1
    return counts


def add_up(records: list[Counts]) -> Counts:
    """Return the gross counts."""
    total = Counts()
    for counts in records:
        total.matrix += counts.matrix
    return total


def intervals(records: list[Counts], draws: int = 1000) -> dict[str, dict[str, list[float]]]:
    """Return 95 % intervals of gross Se and +P, by drawing records with replacement."""
    chosen = np.random.default_rng(0).integers(0, len(records), (draws, len(records)))
    by_kind = {}
    for kind, label in (("veb", "V"), ("sveb", "S")):
        counted = np.array([c.counted(label) for c in records])
        found, missed, false = counted[chosen].sum(axis=1).T
        by_kind[kind] = {
            name: np.percentile(100 * found / np.maximum(found + wrong, 1), (2.5, 97.5))
            .round(2)
            .tolist()
            for name, wrong in (("se", missed), ("ppv", false))
        }
    return by_kind
