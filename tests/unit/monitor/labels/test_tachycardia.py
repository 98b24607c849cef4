"""What continues a ventricular tachycardia, and what ends it."""

from __future__ import annotations

from itertools import accumulate

import numpy as np
import pytest

from tocsin_agent.monitor.labels.tachycardia import HeldLabel, LastingTachycardia
from tocsin_agent.monitor.rhythm.limits import Limits
from tocsin_dsp.beats.beats import BEFORE, FEATURES, SHAPE, STEP, BeatView
from tocsin_dsp.beats.delineation import Delineated
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


def taken(
    shapes: list[FloatArray],
    labels: str,
    rr: int = 100,
    *,
    intervals: list[int] | None = None,
    usual: FloatArray = NARROW,
    leads: list[int] | None = None,
    qrs_s: float | None = None,
    readable: bool = True,
    limits: Limits | None = None,
) -> list[HeldLabel | None]:
    """Take beats of these shapes, each so many samples after the one before."""
    tachycardia = LastingTachycardia(limits or Limits())
    places = accumulate([1000, *(intervals or [rr] * (len(shapes) - 1))])
    found = []
    for at, shape, label, lead in zip(
        places, shapes, labels, leads or [0] * len(labels), strict=True
    ):
        both = np.stack((shape, usual))
        view = BeatView(at, at + 91, 1.0, None, 1.0, readable, both, np.zeros(len(FEATURES)))
        width = (QRS_S[id(shape)] if qrs_s is None else qrs_s) * RATE
        waves = UNKNOWN._replace(qrs_onset=float(at), qrs_end=at + width)
        found.append(tachycardia.take(LeadBeat(view, lead, Delineated(waves)), label, 0.8))
    return found


def held(found: list[HeldLabel | None]) -> str:
    return "".join("." if one is None else "V" for one in found)


def test_what_is_like_a_tachycardia_stays_ventricular_whatever_its_label() -> None:
    found = taken([WIDE] * 205, "V" * 5 + "NSQ" * 66 + "NN")
    assert held(found) == "." * 5 + "V" * 200
    assert found[-1] is not None
    assert found[-1].probability == pytest.approx(0.8)
    assert found[-1].likeness < 0, "it is compared with what was usual before"


@pytest.mark.parametrize("beats", [5, 8])
def test_as_many_beats_in_a_row_prove_it_as_the_limit_states(beats: int) -> None:
    limits = Limits(vt_beats=beats)
    one_less = "V" * (beats - 1) + "N" * (21 - beats)
    assert taken([WIDE] * 20, one_less, limits=limits)[-1] is None
    enough = "V" * beats + "N" * (20 - beats)
    assert taken([WIDE] * 20, enough, limits=limits)[-1] is not None


def test_an_unclassified_beat_of_the_same_shape_breaks_no_proof() -> None:
    assert taken([WIDE] * 10, "VQVQVQVVNN")[-1] is not None
    assert taken([WIDE, NARROW, *[WIDE] * 8], "VQVVVVNNNN")[-1] is None


@pytest.mark.parametrize(
    ("bpm", "rr", "follows"),
    [(100.0, 149, True), (100.0, 151, False), (120.0, 124, True), (120.0, 126, False)],
)
def test_it_is_as_fast_as_the_limit_states(bpm: float, rr: int, follows: bool) -> None:
    found = taken([WIDE] * 10, "VVVVVNNNNN", rr, limits=Limits(vt_bpm=bpm))
    assert (found[-1] is not None) is follows


def test_it_is_wide_or_unlike_the_usual_beat() -> None:
    labels = "VVVVVNNNNN"
    assert taken([BLOCKED] * 10, labels)[-1] is None
    assert taken([BLOCKED] * 10, labels, qrs_s=0.12)[-1] is not None
    assert taken([WIDE] * 10, labels, qrs_s=float("nan"))[-1] is not None
    assert taken([BLOCKED] * 10, labels, qrs_s=float("nan"))[-1] is None


def test_a_capture_beat_is_none_of_it_and_does_not_end_it() -> None:
    found = taken([WIDE] * 8 + [NARROW] + [WIDE] * 3, "VVVVVSSSNSSS")
    assert held(found) == ".....VVV.VVV"


def test_sinus_rhythm_ends_it() -> None:
    fast_sinus = taken([WIDE] * 8 + [NARROW] * 4 + [WIDE] * 2, "VVVVVSSSNNNNSS")
    assert held(fast_sinus) == ".....VVV......"


def test_a_slower_rhythm_of_its_shape_ends_it() -> None:
    slower = taken([WIDE] * 14, "VVVVVSSSNNNNSS", intervals=[100] * 7 + [125] * 4 + [100] * 2)
    assert held(slower) == ".....VVV......"


def test_it_may_slow_down_and_change_its_shape_bit_by_bit() -> None:
    shapes = [-gaussian(width) for width in np.linspace(8.0, 4.5, 60)]
    intervals = np.linspace(90, 140, 59).round().astype(int).tolist()
    found = taken(shapes, "V" * 5 + "N" * 55, intervals=intervals, qrs_s=0.15)
    assert held(found) == "." * 5 + "V" * 55


def test_a_long_silence_ends_it_at_once() -> None:
    found = taken([WIDE] * 10, "VVVVVSSSSS", intervals=[100] * 6 + [301] + [100] * 2)
    assert held(found) == ".....VV..."


def test_it_continues_in_another_lead() -> None:
    shapes = [WIDE] * 7 + [-WIDE] * 3 + [WIDE] * 2
    leads = [0] * 7 + [1] * 3 + [0] * 2
    found = taken(shapes, "VVVVVSSSSSSS", leads=leads, qrs_s=0.15)
    assert held(found) == ".....VVVVVVV"


def test_what_cannot_be_read_is_no_tachycardia() -> None:
    assert held(taken([WIDE] * 9, "VVVVVVVSS", readable=False)) == "." * 9
