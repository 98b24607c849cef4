"""Scripted rhythms that few patients of the databases have, after textbook descriptions.

The beat model is trained on them to tell from RR intervals whether a supraventricular beat is
ectopic: one script gives any number of patients, and each label is certain. The choice of rhythms
followed from records that were classified badly, two of DS2 among them (decision 24). Ectopic are
single early beats, those of lasting bigeminy to quadrigeminy, and those of atrial runs, which may
be most of a recording where a sick sinus node pauses between them (Ferrer, JAMA 206:645, 1968). Not
ectopic are the beats after a dropped one, by sinoatrial or atrioventricular block (Mobitz, Z.
Gesamte Exp. Med. 41:180, 1924), those after a pause, in atrial fibrillation and flutter, and in
sinus tachycardia. Ranges are wide on purpose; none was taken from a record.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from itertools import count
from math import exp, log, pi, sin

import numpy as np
from numpy.typing import NDArray

from tocsin_dsp.beats.rr import Intervals
from tocsin_dsp.conditioning.resample import ANALYSIS_RATE_HZ
from tocsin_models.labels import LABELS

MINUTES = 30  # min, length of a recording
SHORTEST_S = 0.3  # s, shortest RR interval
LONGEST_S = 4.0  # s, longest RR interval
Draws = np.random.Generator
Rhythm = Iterator[tuple[float, str]]  # RR interval before a beat, in seconds, and its label


class SinusNode:
    """RR intervals of a sinus node: breathing, slow waves, random walk and jitter about a mean.

    Parameters
    ----------
    draws : numpy.random.Generator
    mean_s : float, optional
    """

    def __init__(self, draws: Draws, mean_s: float | None = None) -> None:
        self.mean_s = mean_s or _about(draws, 0.82, 0.2)
        self.breathing = abs(draws.normal(0, 0.03))
        self._draws = draws
        self._breath_hz, self._wave_hz = draws.uniform(0.15, 0.35), draws.uniform(1 / 600, 1 / 60)
        self._wave, self._phase = draws.uniform(0, 0.12), draws.uniform(0, 2 * pi)
        self._step, self._jitter = abs(draws.normal(0, 0.004)), abs(draws.normal(0.008, 0.006))
        self._walk = self._now = 0.0

    def next(self) -> float:
        """Return the next interval in seconds."""
        self._walk = 0.995 * self._walk + self._draws.normal(0, self._step)
        slow = exp(self._walk + self._wave * sin(2 * pi * self._wave_hz * self._now + self._phase))
        breath = 1 + self.breathing * sin(2 * pi * self._breath_hz * self._now)
        rr = self.mean_s * slow * breath + self._draws.normal(0, self._jitter)
        self._now += rr
        return float(np.clip(rr, SHORTEST_S, 2.2))


def _about(draws: Draws, middle: float, spread: float) -> float:
    return float(middle * exp(draws.normal(0, spread)))


def _between(draws: Draws, low: float, high: float) -> float:
    """Draw a value whose logarithm is uniform between two limits."""
    return exp(draws.uniform(log(low), log(high)))


def _early(draws: Draws, coupling: float, spread: float) -> float:
    return float(np.clip(draws.normal(coupling, spread), 0.4, 0.94))


def single(draws: Draws) -> Rhythm:
    """Single early beats, sometimes two, with a coupling interval of the patient's own."""
    node, often = SinusNode(draws), 10 ** draws.uniform(-2.7, -0.5)
    coupling, spread = draws.uniform(0.5, 0.82), draws.uniform(0.01, 0.06)
    pause = draws.uniform(0.95, 1.35)
    while True:
        if draws.random() < often:
            for _ in range(1 + int(draws.random() < 0.15)):
                yield node.next() * _early(draws, coupling, spread), "S"
            yield node.next() * _about(draws, pause, 0.05), "N"
        else:
            yield node.next(), "N"


def alternating(draws: Draws) -> Rhythm:
    """Early beats at every second to fourth place for long, with sinus rhythm in between."""
    node = SinusNode(draws)
    coupling, spread = draws.uniform(0.5, 0.92), draws.uniform(0.005, 0.04)
    compensated = draws.uniform(0, 1)
    with_it, without = _between(draws, 8, 600), _between(draws, 4, 300)
    while True:
        every = int(draws.choice([2, 2, 2, 3, 3, 4]))
        for _ in range(1 + int(draws.exponential(with_it) / every)):
            for _ in range(every - 2):
                yield node.next(), "N"
            rr, share = node.next(), _early(draws, coupling, spread)
            yield rr * share, "S"
            yield rr * (1 + compensated * (1 - share)) * _about(draws, 1.0, 0.015), "N"
        for _ in range(1 + int(draws.exponential(without))):
            yield node.next(), "N"


def runs(draws: Draws) -> Rhythm:
    """Atrial runs of a few beats or most of the recording, with sudden onset and a pause after."""
    slow = float(np.clip(_about(draws, 1.05, 0.25), 0.65, 1.8)) if draws.random() < 0.6 else None
    node = SinusNode(draws, slow)
    burden, length = draws.uniform(0.05, 0.9), _between(draws, 3, 80)
    fast = min(_between(draws, 0.36, 0.75), 0.8 * node.mean_s)
    unsteady, warm_up = draws.uniform(0.005, 0.06), draws.uniform(0, 0.15)
    pause, pauses_vary = draws.uniform(1.0, 2.6), draws.uniform(0.02, 0.35)
    between = max(1.0, length * (1 - burden) / burden)
    while True:
        for _ in range(max(1, int(draws.exponential(between)))):
            yield node.next(), "N"
        this = _about(draws, fast, 0.08)
        for i in range(1 + int(draws.exponential(length))):
            rr = this * (1 + warm_up * exp(-i / 3)) * _about(draws, 1.0, unsteady)
            yield (min(rr * draws.uniform(0.9, 1.1), 0.86 * node.mean_s) if i == 0 else rr), "S"
        yield node.next() * float(np.clip(draws.normal(pause, pauses_vary), 0.95, 4.0)), "N"


def two_to_one(draws: Draws) -> Rhythm:
    """Two-to-one block, at times."""
    node, dropping = SinusNode(draws), draws.random() < 0.5
    while True:
        dropping ^= bool(draws.random() < 0.03)
        yield node.next() * (_about(draws, 2.0, 0.01) if dropping else 1.0), "N"


def dropped(draws: Draws) -> Rhythm:
    """Single dropped beats; the intervals in between do not change."""
    node, often = SinusNode(draws), draws.uniform(0.004, 0.5)
    while True:
        yield node.next() * (_about(draws, 2.0, 0.02) if draws.random() < often else 1.0), "N"


def wenckebach(draws: Draws) -> Rhythm:
    """Wenckebach block: the last of some beats is dropped, the intervals before it shrink."""
    node, group = SinusNode(draws), int(draws.integers(3, 8))
    for k in count(1):
        rr = node.next()
        if k % group:
            yield rr * (1 + 0.06 / (k % group)), "N"
        else:
            yield rr * (2 - 0.12 * draws.uniform(0.5, 2)), "N"


def pauses(draws: Draws) -> Rhythm:
    """Sinus pauses."""
    node, often = SinusNode(draws), draws.uniform(0.005, 0.2)
    while True:
        yield node.next() * (draws.uniform(1.2, 3.0) if draws.random() < often else 1.0), "N"


def fibrillation(draws: Draws) -> Rhythm:
    """Atrial fibrillation: independent intervals."""
    mean, spread = _about(draws, 0.7, 0.25), draws.uniform(0.1, 0.3)
    while True:
        yield mean * draws.gamma(spread**-2, spread**2), "N"


def flutter(draws: Draws) -> Rhythm:
    """Atrial flutter in which every second to fifth wave is conducted."""
    wave = draws.uniform(0.2, 0.27)
    while True:
        waves = draws.choice([2, 3, 4, 5], p=[0.4, 0.2, 0.35, 0.05])
        yield wave * waves * _about(draws, 1.0, 0.02), "N"


def exertion(draws: Draws) -> Rhythm:
    """Sinus rhythm that speeds up and slows down over eight to sixty beats, with breathing."""
    node = SinusNode(draws)
    node.breathing = abs(draws.normal(0.06, 0.05))
    at_rest = target = node.mean_s
    rate = 1 / 20
    while True:
        if draws.random() < 0.01:
            target = float(np.clip(_about(draws, at_rest, 0.25), 0.38, 1.6))
            rate = draws.uniform(1 / 60, 1 / 8)
        node.mean_s += rate * (target - node.mean_s)
        yield node.next(), "N"


PARTS: dict[Callable[[Draws], Rhythm], float] = {
    single: 15, alternating: 25, runs: 30, two_to_one: 5, dropped: 5, wenckebach: 5, pauses: 10,
    fibrillation: 3.5, flutter: 1.5, exertion: 5,
}  # fmt: skip
"""Relative number of patients with each rhythm."""


@functools.cache
def scripted(number: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return the beats of a patient: the features of `tocsin_dsp.beats.rr` and the labels.

    Parameters
    ----------
    number : int
        Seed of the patient.

    Returns
    -------
    features : ndarray of float64, shape (n, len(tocsin_dsp.beats.rr.FEATURES))
        As measured, not scaled.
    labels : ndarray of int64, shape (n,)
        Index into `LABELS`.
    """
    draws = np.random.default_rng((20, number))
    parts = np.array(list(PARTS.values()))
    script = list(PARTS)[draws.choice(len(PARTS), p=parts / parts.sum())]
    intervals, now = Intervals(), 0.0
    features, labels = [], []
    for rr, label in script(draws):
        rr_s = (
            round(float(np.clip(rr, SHORTEST_S, LONGEST_S)) * ANALYSIS_RATE_HZ) / ANALYSIS_RATE_HZ
        )
        features.append(intervals.push(rr_s))
        labels.append(LABELS.index(label))
        now += rr_s
        if now >= MINUTES * 60:
            break
    return np.array(features), np.array(labels, np.int64)
