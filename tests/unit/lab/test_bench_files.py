from __future__ import annotations

import pytest

from tocsin_agent.lab.bench_files import measure


@pytest.mark.parametrize("kind", ["edf", "dicom", "csv"])
def test_memory_does_not_grow_with_the_length(kind: str) -> None:
    short, long = (measure(kind, minutes) for minutes in ((2, 4) if kind == "csv" else (10, 40)))
    assert long.x_realtime > 1
    assert long.peak_mb < 200
    assert long.peak_mb < short.peak_mb + 30
