"""When a ventricular tachycardia stays one, and what ends it."""

from __future__ import annotations

from itertools import accumulate

import numpy as np
import pytest

from tocsin_agent.monitor.labels.tachycardia import PROVEN, HeldLabel, LastingTachycardia
from tocsin_dsp.beats.beats import BEFORE, FEATURES, SHAPE, STEP, BeatView
from tocsin_dsp.beats.waves import UNKNOWN
from tocsin_dsp.leads.leads import LeadBeat
from tocsin_dsp.signal import FloatArray

RATE = 250


def gaussian(width: float) -> FloatArray:
    at = np.arange(SHAPE) - BEFORE / STEP
    return np.asarray(np.exp(-0.5 * (at / width) ** 2))


NARROW, WIDE = gaussian(2.0), -gaussian(8.0)
BLOCKED = 0.8 * gaussian(2.0) + 0.5 * gaussian(8.0)  # wide, and much like the narrow one
QRS_S = {id(NARROW): 0.08, id(WIDE): 0.15, id(BLOCKED): 0.1}


def heard(
    shapes: list[FloatArray],
    labels: str,
    rr: int = 100,
    *,
    intervals: list[int] | None = None,
    usual: FloatArray = NARROW,
    leads: list[int] | None = None,
    qrs_s: float | None = None,
    readable: bool = True,
) -> list[HeldLabel | None]:
    """Let beats of these shapes come, each so many samples after the one before."""
    follows = LastingTachycardia()
    places = accumulate([1000, *(intervals or [rr] * (len(shapes) - 1))])
    told = []
    for at, shape, label, lead in zip(
        places, shapes, labels, leads or [0] * len(labels), strict=True
    ):
        both = np.stack((shape, usual))
        view = BeatView(at, at + 91, 1.0, None, 1.0, readable, both, np.zeros(len(FEATURES)))
        width = (QRS_S[id(shape)] if qrs_s is None else qrs_s) * RATE
        waves = UNKNOWN._replace(qrs_onset=float(at), qrs_end=at + width)
        told.append(follows.take(LeadBeat(view, lead, waves), label, 0.8))
    return told


def stays(told: list[HeldLabel | None]) -> str:
    return "".join("." if one is None else "V" for one in told)


def test_what_is_like_a_tachycardia_stays_ventricular_however_it_is_called() -> None:
    told = heard([WIDE] * 205, "V" * 5 + "NSQ" * 66 + "NN")
    assert stays(told) == "." * 5 + "V" * 200
    assert told[-1] is not None
    assert told[-1].certainty == pytest.approx(0.8)
    assert told[-1].likeness < 0, "it is compared with what was usual before"


@pytest.mark.parametrize("count", [PROVEN - 1, PROVEN])
def test_five_beats_in_a_row_prove_it(count: int) -> None:
    told = heard([WIDE] * 20, "V" * count + "N" * (20 - count))
    assert (told[-1] is not None) is (count == PROVEN)


def test_a_doubted_beat_of_the_same_shape_breaks_no_proof() -> None:
    assert heard([WIDE] * 10, "VQVQVQVVNN")[-1] is not None
    assert heard([WIDE, NARROW, *[WIDE] * 8], "VQVVVVNNNN")[-1] is None


@pytest.mark.parametrize(("rr", "follows"), [(149, True), (151, False)])
def test_it_is_faster_than_a_hundred(rr: int, follows: bool) -> None:
    assert (heard([WIDE] * 10, "VVVVVNNNNN", rr)[-1] is not None) is follows


def test_it_is_wide_or_unlike_the_usual_beat() -> None:
    labels = "VVVVVNNNNN"
    assert heard([BLOCKED] * 10, labels)[-1] is None
    assert heard([BLOCKED] * 10, labels, qrs_s=0.12)[-1] is not None
    assert heard([WIDE] * 10, labels, qrs_s=float("nan"))[-1] is not None
    assert heard([BLOCKED] * 10, labels, qrs_s=float("nan"))[-1] is None


def test_a_capture_beat_is_none_of_it_and_does_not_end_it() -> None:
    told = heard([WIDE] * 8 + [NARROW] + [WIDE] * 3, "VVVVVSSSNSSS")
    assert stays(told) == ".....VVV.VVV"


def test_sinus_rhythm_ends_it() -> None:
    fast_sinus = heard([WIDE] * 8 + [NARROW] * 4 + [WIDE] * 2, "VVVVVSSSNNNNSS")
    assert stays(fast_sinus) == ".....VVV......"


def test_a_slower_rhythm_of_its_shape_ends_it() -> None:
    slower = heard([WIDE] * 14, "VVVVVSSSNNNNSS", intervals=[100] * 7 + [125] * 4 + [100] * 2)
    assert stays(slower) == ".....VVV......"


def test_it_may_slow_down_and_change_its_shape_bit_by_bit() -> None:
    shapes = [-gaussian(width) for width in np.linspace(8.0, 4.5, 60)]
    intervals = np.linspace(90, 140, 59).round().astype(int).tolist()
    told = heard(shapes, "V" * 5 + "N" * 55, intervals=intervals, qrs_s=0.15)
    assert stays(told) == "." * 5 + "V" * 55


def test_a_long_silence_ends_it_at_once() -> None:
    told = heard([WIDE] * 10, "VVVVVSSSSS", intervals=[100] * 6 + [301] + [100] * 2)
    assert stays(told) == ".....VV..."


def test_it_goes_on_in_another_lead() -> None:
    shapes = [WIDE] * 7 + [-WIDE] * 3 + [WIDE] * 2
    leads = [0] * 7 + [1] * 3 + [0] * 2
    told = heard(shapes, "VVVVVSSSSSSS", leads=leads, qrs_s=0.15)
    assert stays(told) == ".....VVVVVVV"


def test_what_cannot_be_read_is_no_tachycardia() -> None:
    assert stays(heard([WIDE] * 9, "VVVVVVVSS", readable=False)) == "." * 9
