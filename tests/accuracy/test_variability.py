"""Heart rate variability of real records against neurokit2 over the beats of the reference."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from support.patients import read_all, run_monitor
from tocsin_agent.monitor.trends import VARIABILITY_MINUTES
from tocsin_agent.sources.opening import open_source
from tocsin_models import load_models

BEATS = "NLRejAaJSVEFfQ/"
NORMAL = list("NLRe")


class Compared(NamedTuple):
    """SDNN and RMSSD of five minutes, in ms: those of the reference, and those of the monitor."""

    sdnn: float
    rmssd: float
    found_sdnn: float
    found_rmssd: float


def compare(records: Path, name: str) -> list[Compared]:
    """Compare each five minutes in which the reference has normal beats only."""
    import neurokit2
    import wfdb

    trends = run_monitor(read_all(open_source(f"mitdb/{name}", block_s=30.0)), load_models()).trends
    reference = wfdb.rdann(str(records / "mitdb" / name), "atr")
    kept = [(at, y) for at, y in zip(reference.sample, reference.symbol, strict=True) if y in BEATS]
    samples, symbols = (np.array(column) for column in zip(*kept, strict=True))
    compared = []
    for first, last in zip(trends, trends[VARIABILITY_MINUTES - 1 :], strict=False):
        inside = (samples >= first.from_index) & (samples < last.to_index)
        found = last.values.variability
        if found is None or not np.isin(symbols[inside], NORMAL).all():
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # neurokit2's own
            expected = neurokit2.hrv_time(samples[inside], sampling_rate=360)
        sdnn, rmssd = (float(expected[f"HRV_{key}"].iloc[0]) for key in ("SDNN", "RMSSD"))
        compared.append(Compared(sdnn, rmssd, found.sdnn_ms, found.rmssd_ms))
    return compared


@pytest.mark.parametrize("name", ["112", "122"])
def test_of_a_regular_rhythm_it_is_the_same(records: Path, name: str) -> None:
    compared = compare(records, name)
    assert len(compared) >= 20
    for one in compared:
        assert one.found_sdnn == pytest.approx(one.sdnn, abs=0.6)
        assert one.found_rmssd == pytest.approx(one.rmssd, abs=0.8)


def test_of_a_sinus_arrhythmia_it_is_less(records: Path) -> None:
    """Intervals that differ by more than 20 % from the one before are left out."""
    compared = compare(records, "115")
    assert len(compared) >= 20
    for one in compared:
        assert 0.85 * one.sdnn <= one.found_sdnn <= one.sdnn + 0.6
        assert 0.75 * one.rmssd <= one.found_rmssd <= one.rmssd + 0.8
