"""The T wave of a wide beat may be steeper than half its QRS: svdb 805."""

from __future__ import annotations

import pytest

from tocsin_agent.lab.ec57 import noise as mixer
from tocsin_agent.lab.studies.detector import compare, detect, reference_of, tally

pytestmark = pytest.mark.records


def test_the_t_waves_of_extrasystoles_are_not_beats() -> None:
    record, reference = mixer.read_record("svdb/805"), reference_of("svdb/805")
    detected = detect(record.millivolts()[:, 0], record.rate_hz)
    _, missed, false = tally(compare(reference, detected.r, record, 0.15)).tolist()
    assert missed == 0
    assert false <= 50  # of 122 by slope alone
