"""Agreement of two readers beyond chance: Cohen's kappa with its confidence interval.

Cohen, Educ. Psychol. Meas. 20:37, 1960; the standard error for an interval is that of Fleiss,
Cohen & Everitt, Psychol. Bull. 72:323, 1969.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from typing import TypeVar

import msgspec
import numpy as np

Label = TypeVar("Label", bound=Hashable)
_Z95 = 1.959963984540054


class Kappa(msgspec.Struct, frozen=True):
    """Agreement beyond chance.

    Parameters
    ----------
    value : float or None
        1 for full agreement, 0 for chance; None where it is not defined: no case, or both readers
        gave one and the same answer everywhere, so that chance alone agrees fully.
    low, high : float or None
        The 95 % interval.
    observed : float or None
        The share of the cases on which both agree.
    cases : int
    """

    value: float | None
    low: float | None
    high: float | None
    observed: float | None
    cases: int


def cohens_kappa(first: Sequence[Label], second: Sequence[Label]) -> Kappa:
    """Compare two readers.

    Parameters
    ----------
    first, second : sequence
        Their answers to the same cases, in one order.

    Raises
    ------
    ValueError
        If their lengths differ.
    """
    if len(first) != len(second):
        raise ValueError(f"{len(first)} answers of one reader, {len(second)} of the other")
    n = len(first)
    if n == 0:
        return Kappa(None, None, None, None, 0)
    names = {name: i for i, name in enumerate(dict.fromkeys((*first, *second)))}
    table = np.zeros((len(names), len(names)))
    for a, b in zip(first, second, strict=True):
        table[names[a], names[b]] += 1.0
    observed = float(np.trace(table)) / n  # of counts: full agreement is exactly 1
    table /= n
    rows, columns = table.sum(axis=1), table.sum(axis=0)
    by_chance = float(rows @ columns)
    if by_chance >= 1.0 - 1e-12:
        return Kappa(None, None, None, observed, n)
    value = (observed - by_chance) / (1.0 - by_chance)
    diagonal = np.diag(table) * (1.0 - (rows + columns) * (1.0 - value)) ** 2
    other = table * (columns[:, None] + rows[None, :]) ** 2
    off = (1.0 - value) ** 2 * float(other.sum() - np.trace(other))
    variance = float(diagonal.sum()) + off - (value - by_chance * (1.0 - value)) ** 2
    error = math.sqrt(max(variance, 0.0) / n) / (1.0 - by_chance)
    return Kappa(
        value, max(value - _Z95 * error, -1.0), min(value + _Z95 * error, 1.0), observed, n
    )
