"""The quality index on real records: it separates noise from ECG, and falls as noise grows."""

from __future__ import annotations

from pathlib import Path

import pytest

from tocsin_agent.lab.studies.quality import mean_by_snr, noise_from_ecg

pytestmark = pytest.mark.records
FLOOR = 0.945  # measured: 0.950


def test_noise_is_separated_from_ecg(records: Path) -> None:  # noqa: ARG001 - their folder
    area, noise, ecg = noise_from_ecg(0)
    assert (noise, ecg) == (29, 120)
    assert area >= FLOOR


@pytest.mark.parametrize("noise", ["em", "ma", "bw"])
@pytest.mark.parametrize("record", ["118", "119"])
def test_quality_falls_with_the_signal_to_noise_ratio(
    records: Path,  # noqa: ARG001 - likewise
    record: str,
    noise: str,
) -> None:
    for lead in zip(*mean_by_snr(record, noise), strict=True):
        assert list(lead) == sorted(lead, reverse=True)
