"""Kernels keep the rules by which a compiler can take them, and agree with the limits."""

from __future__ import annotations

import ast
from pathlib import Path

import numpy as np
import pytest

import tocsin_dsp.kernels
from tocsin_dsp.kernels.maxima import CLOSE, CONFIRM, EARLY, standing_out
from tocsin_dsp.limits import SHORTEST_RR

MODULES = sorted(
    file
    for file in Path(str(tocsin_dsp.kernels.__file__)).parent.glob("*.py")
    if file.stem != "__init__"
)


@pytest.mark.parametrize("file", MODULES, ids=lambda file: file.stem)
def test_a_kernel_imports_numpy_only(file: Path) -> None:
    imports = [
        name
        for node in ast.walk(ast.parse(file.read_text("utf-8")))
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [str(node.module)]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    ]
    assert set(imports) <= {"__future__", "typing", "numpy", "numpy.typing"}


def test_a_candidate_is_the_highest_within_the_shortest_rr() -> None:
    assert CLOSE == SHORTEST_RR


def test_a_maximum_is_reported_when_each_delay_has_passed() -> None:
    n = 2 * CONFIRM
    envelope = np.zeros((2, 4 * CONFIRM))
    at = envelope.shape[1] - n + 3
    envelope[1, at] = 1.0
    reported, dominant = standing_out(envelope, n)
    assert not reported[0].any()
    newest = [at - (envelope.shape[1] - n) + delay + 1 for delay in (CONFIRM, CLOSE, EARLY)]
    assert [tuple(row) for row in np.argwhere(reported[1])] == [
        (sample, look) for look, sample in sorted(enumerate(newest), key=lambda row: row[1])
    ]
    assert (reported == dominant).all()


def test_a_maximum_at_the_edge_of_a_lead_is_not_compared_with_the_next() -> None:
    envelope = np.zeros((2, 4 * CONFIRM))
    n = CONFIRM
    last = envelope.shape[1] - CLOSE - 2  # reported by its newest sample
    envelope[0, last], envelope[1, 0] = 1.0, 5.0
    reported, _ = standing_out(envelope, n)
    assert reported[0, n - 1].tolist() == [False, True, False]
