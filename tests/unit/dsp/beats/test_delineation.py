"""Beats wait for the delineator, and get the same waves as at once."""

from __future__ import annotations

import pickle

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tocsin_dsp.beats.delineation import NOT_DELINEATED, Delineated, DelineationQueue
from tocsin_dsp.beats.waves import LONGEST_RR_WITH_T, UNKNOWN, Delineator, IntArray, Waves
from tocsin_dsp.exact import on_sample_grid
from tocsin_dsp.signal import FloatArray

RR, BEATS = 200, 12
SAMPLES = LONGEST_RR_WITH_T + RR * (BEATS + 2)
KEPT = LONGEST_RR_WITH_T + 4 * RR


def ecg() -> tuple[FloatArray, IntArray]:
    """Return samples of two leads, and the R peaks."""
    r = LONGEST_RR_WITH_T + RR * np.arange(1, BEATS + 1)
    at = np.arange(SAMPLES)
    x = 0.01 * np.random.default_rng(7).standard_normal((SAMPLES, 2))
    for height, offset, width in ((1.0, 0, 3.0), (0.15, -42, 5.0), (0.3, 70, 10.0)):
        for peak in r + offset:
            x += height * np.exp(-0.5 * ((at - peak) / width) ** 2)[:, None]
    return on_sample_grid(x), r


X, R = ecg()
LEADS = np.arange(BEATS) % 2
AT_ONCE = Delineator().push(X, 0, R, LEADS)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(read=st.lists(st.booleans(), min_size=BEATS, max_size=BEATS))
def test_waves_are_the_same_whenever_they_are_read(read: list[bool]) -> None:
    """Samples are dropped meanwhile; some beats are read at once, the others at the end."""
    queue, waiting = DelineationQueue(X[:0], 0), list[Delineated]()
    for at, lead, at_once in zip(R.tolist(), LEADS.tolist(), read, strict=True):
        stop = at + RR
        queue.use(X[max(stop - KEPT, 0) : stop], stop)
        waiting.append(queue.add(at, lead))
        if at_once:
            assert waiting[-1] == Delineated(AT_ONCE[len(waiting) - 1])
    assert waiting == [Delineated(waves) for waves in AT_ONCE]


def test_beats_are_delineated_together() -> None:
    queue, calls = DelineationQueue(X, SAMPLES), list[int]()

    class Counted(Delineator):
        def push(self, x: FloatArray, start: int, r_index: IntArray, lead: IntArray) -> list[Waves]:
            calls.append(len(r_index))
            return super().push(x, start, r_index, lead)

    queue._delineator = Counted()
    waiting = [queue.add(at, lead) for at, lead in zip(R.tolist(), LEADS.tolist(), strict=True)]
    assert calls == []
    assert [later == Delineated(w) for later, w in zip(waiting, AT_ONCE, strict=True)] == [
        True
    ] * BEATS
    assert calls == [BEATS]


def test_after_a_gap_no_beat_is_before() -> None:
    known = Delineator().push(X, 0, R[:2], np.zeros(2, np.int64))
    assert not np.isnan(known[1].previous_qt_s)
    queue = DelineationQueue(X, SAMPLES)
    first = queue.add(int(R[0]), 0)
    queue.skip()
    second = queue.add(int(R[1]), 0)
    assert first == Delineated(known[0])
    assert np.isnan(second.waves.previous_qt_s)


def test_what_is_unknown_is_equal_and_can_be_sent_to_another_process() -> None:
    assert Delineated() == NOT_DELINEATED
    assert Delineated(UNKNOWN._replace(qrs_onset=1.0)) != NOT_DELINEATED
    queue = DelineationQueue(X, SAMPLES)
    later = queue.add(int(R[0]), 0)
    assert pickle.loads(pickle.dumps(later)) == Delineated(AT_ONCE[0])  # noqa: S301 - our own
