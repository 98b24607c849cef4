"""Beat-by-beat scores of labelled detections, as ANSI/AAMI EC57 counts VEB and SVEB."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from dataset import MATCH_S, Beats
from numpy.typing import NDArray

from tocsin_models.labels import LABELS

START_S = 300.0
NONE = len(LABELS)  # row: detection without a beat; column: beat without a detection


@dataclass
class Counts:
    """Reference class (rows) against given class (columns), the last of each meaning none."""

    record: str = "gross"
    matrix: NDArray[np.int64] = field(
        default_factory=lambda: np.zeros((NONE + 1, NONE + 1), np.int64)
    )

    def score(self, label: str, forgiven: str = "") -> tuple[float, float]:
        """Return Se and +P in percent; detections of `forgiven` classes are no false positives."""
        k = LABELS.index(label)
        true = self.matrix[k, k]
        rows = [r for r in range(NONE + 1) if r == NONE or LABELS[r] not in forgiven]
        given = self.matrix[rows, k].sum()
        return (
            round(100 * float(true / max(self.matrix[k].sum(), 1)), 2),
            round(100 * float(true / max(given, 1)), 2),
        )

    def as_dict(self) -> dict[str, Any]:
        """Return VEB and SVEB scores and the matrix."""
        veb, sveb = self.score("V", forgiven="FQ"), self.score("S", forgiven="Q")
        return {
            "veb": {"se": veb[0], "ppv": veb[1]},
            "sveb": {"se": sveb[0], "ppv": sveb[1]},
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
