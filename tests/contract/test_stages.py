"""The contract of every streaming stage: block invariance, NaN is harmless, bounded memory."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from operator import itemgetter
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from support.examples import fixed
from tocsin_agent.monitor import PatientMonitor
from tocsin_dsp.beats.beats import BeatObserver, describe
from tocsin_dsp.conditioning.condition import Conditioned, Conditioner
from tocsin_dsp.conditioning.quality import QualityMeter
from tocsin_dsp.conditioning.resample import ANALYSIS_RATE_HZ, Resampler
from tocsin_dsp.detection.candidates import CandidateFinder
from tocsin_dsp.detection.qrs import LeadDetector
from tocsin_dsp.exact import on_sample_grid
from tocsin_dsp.leads.leads import LeadSet
from tocsin_dsp.rhythms.fibrillation import WindowObserver
from tocsin_dsp.signal import SampleBlock, StreamSpec

RATE = ANALYSIS_RATE_HZ
LEADS = 2
SPEC = StreamSpec("test/stages", 250.0, ("II", "V1"), range_mv=(-5.0, 5.0))

Samples = NDArray[np.float64]
Push = Callable[[Samples], list[Any]]


class Stage(NamedTuple):
    """A stage as a function from samples to results; `owner` holds its state."""

    push: Push
    owner: object


def candidates() -> Stage:
    stage = CandidateFinder(LEADS)

    def push(x: Samples) -> list[Any]:
        found = [
            [
                (c.known, lead, c._replace(steps=c.steps.tolist()))
                for one in new.maxima
                if (c := new.measured(one)) is not None
            ]
            + [(known, lead, level) for known, level in new.levels]
            for lead, new in enumerate(stage.push(on_sample_grid(x)))
        ]
        return sorted((item for lead in found for item in lead), key=itemgetter(0, 1))

    return Stage(push, stage)


def resampler() -> Stage:
    stage = Resampler(360.0, LEADS)
    return Stage(lambda x: [tuple(r) for r in stage.push(on_sample_grid(x)).tolist()], stage)


def conditioner() -> Stage:
    stage, at = Conditioner(SPEC), [0]

    def push(x: Samples) -> list[Any]:
        piece = stage.push(SampleBlock(SPEC, at[0], x))
        at[0] += len(x)
        return [(piece.start + i, *row) for i, row in enumerate(piece.samples.tolist())]

    return Stage(push, stage)


def quality() -> Stage:
    stage = QualityMeter(LEADS, SPEC.range_mv)
    return Stage(lambda x: list(stage.push(on_sample_grid(x))), stage)


def detector() -> Stage:
    stage = LeadDetector()
    return Stage(lambda x: list(stage.push(on_sample_grid(x[:, 0]))), stage)


def observer() -> Stage:
    beats, stage = LeadDetector(), BeatObserver()

    def push(x: Samples) -> list[Any]:
        lead = on_sample_grid(x[:, 0])
        views = describe(stage.push(lead, beats.push(lead)))
        return [(v._replace(shapes=v.shapes.tolist(), features=v.features.tolist())) for v in views]

    return Stage(push, (beats, stage))


def lead_set() -> Stage:
    meter, stage, at = QualityMeter(LEADS), LeadSet(LEADS), [0]

    def push(x: Samples) -> list[Any]:
        x = on_sample_grid(x)
        piece = Conditioned(at[0], x, restarted=at[0] == 0 and len(x) > 0)
        at[0] += len(x)
        observed = stage.push(piece, meter.push(x))
        return [pickle.dumps(_plain(o)) for o in observed]

    return Stage(push, (meter, stage))


def windows() -> Stage:
    meter, stage, at = QualityMeter(LEADS), WindowObserver(LEADS), [0]

    def push(x: Samples) -> list[Any]:
        # Waves of 5 Hz added to the beats, so that every second is suspect.
        t = np.arange(at[0], at[0] + len(x)) / RATE
        x = on_sample_grid(x + np.sin(10 * np.pi * t)[:, None])
        piece = Conditioned(at[0], x, restarted=at[0] == 0 and len(x) > 0)
        at[0] += len(x)
        return [pickle.dumps(_plain(o)) for o in stage.push(piece, list(meter.push(x)))]

    return Stage(push, (meter, stage))


def _plain(value: object) -> object:
    """Convert arrays to lists, so that equality means equal bits."""
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, tuple):
        return [type(value).__name__, *map(_plain, value)]
    return repr(value)


def monitor() -> Stage:
    stage, at = PatientMonitor(SPEC), [0]

    def push(x: Samples) -> list[Any]:
        report = stage.push(SampleBlock(SPEC, at[0], x))
        at[0] += len(x)
        return [("beat", b) for b in report.beats] + [("alert", a) for a in report.alerts]

    return Stage(push, stage)


STAGES = [
    candidates,
    resampler,
    conditioner,
    quality,
    detector,
    observer,
    lead_set,
    windows,
    monitor,
]
every_stage = pytest.mark.parametrize("make", STAGES, ids=lambda make: make.__name__)


def ecg(seconds: float, seed: int = 1) -> Samples:
    """Return two leads with beats, noise, baseline wander and a flat second."""
    draws = np.random.default_rng(seed)
    n = round(seconds * RATE)
    t = np.arange(n)
    x = 0.01 * draws.standard_normal((n, LEADS))
    for at in np.cumsum(draws.integers(150, 260, max(int(n / 150), 1))):
        if at < n - 20:
            wave = np.exp(-0.5 * ((t[at : at + 20] - at - 10) / 3.0) ** 2)
            x[at : at + 20] += wave[:, None] * np.array([1.0, -0.6])
    x[:, 0] += 0.2 * np.sin(2 * np.pi * 0.2 * t / RATE)
    x[n // 2 : n // 2 + RATE, 1] = 0.0
    return x


def holes(x: Samples, at: list[tuple[int, int, int]]) -> Samples:
    x = x.copy()
    for start, length, lead in at:
        x[start : start + length, lead] = np.nan
    return x


def flatten(results: list[list[Any]]) -> tuple[list[Any], list[Any]]:
    """Concatenate; the beats and the alerts of a monitor are two streams."""
    merged = [r for part in results for r in part]
    alerts = [r for r in merged if isinstance(r, tuple) and r and r[0] == "alert"]
    return [r for r in merged if r not in alerts] if alerts else merged, alerts


def same(a: object, b: object) -> bool:
    return repr(a) == repr(b)  # NaN equals NaN, and the repr of a float has all its digits


@every_stage
@fixed(12)
@given(
    seed=st.integers(0, 2**32 - 1),
    longest=st.sampled_from([40, 700, 10 * RATE]),
    missing=st.lists(
        st.tuples(st.integers(0, 4900), st.integers(1, 600), st.integers(0, 1)), max_size=3
    ),
)
def test_any_cut_gives_the_same_bits(
    make: Callable[[], Stage], seed: int, longest: int, missing: list[tuple[int, int, int]]
) -> None:
    x = holes(ecg(20.0), missing)
    whole = flatten([make().push(x)])
    lengths = np.exp(np.random.default_rng(seed).uniform(0, np.log(longest), len(x))).astype(int)
    stage, at, parts = make(), 0, []
    for n in lengths:
        parts.append(stage.push(x[at : at + n]))
        at += n
        if at >= len(x):
            break
    assert same(flatten(parts), whole)


@every_stage
def test_one_sample_at_a_time_gives_the_same_bits(make: Callable[[], Stage]) -> None:
    x = holes(ecg(10.0), [(1200, 90, 0), (1800, 5, 1)])
    stage = make()
    assert same(flatten([stage.push(row[None]) for row in x]), flatten([make().push(x)]))


@every_stage
def test_empty_blocks_are_allowed_and_change_nothing(make: Callable[[], Stage]) -> None:
    x, none = ecg(10.0), np.empty((0, LEADS))
    stage = make()
    parts = [stage.push(none), stage.push(x[:900]), stage.push(none), stage.push(x[900:])]
    assert parts[0] == parts[2] == []
    assert same(flatten(parts), flatten([make().push(x)]))


@every_stage
def test_two_instances_agree_and_share_nothing(make: Callable[[], Stage]) -> None:
    x, y = ecg(20.0), ecg(20.0, seed=9)
    alone = make().push(x)
    first, other = make(), make()
    other.push(y)
    assert same(first.push(x), alone)


@every_stage
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e308, -1e308])
def test_no_value_raises_and_none_has_a_lasting_effect(
    make: Callable[[], Stage], value: float
) -> None:
    stage = make()
    x = ecg(30.0)
    for piece in (np.full((RATE, LEADS), value), x, np.full((3, LEADS), value), x):
        stage.push(piece)
    assert stage.push(ecg(10.0))


@every_stage
def test_the_samples_of_the_caller_are_not_changed(make: Callable[[], Stage]) -> None:
    x = holes(ecg(10.0), [(300, 50, 0)])
    before = x.copy()
    x.flags.writeable = False
    make().push(x)
    np.testing.assert_array_equal(x, before)


def held(owner: object, counted: set[int] | None = None) -> int:
    """Return the bytes of the arrays and collections that an object keeps."""
    counted = set() if counted is None else counted
    if id(owner) in counted or isinstance(owner, str | bytes | int | float | type(None)):
        return 0
    counted.add(id(owner))
    if isinstance(owner, np.ndarray):
        base = owner
        while isinstance(base.base, np.ndarray):  # a small view may keep a large array alive
            base = base.base
        return int(base.nbytes)
    if isinstance(owner, dict):
        return 8 * len(owner) + sum(held(v, counted) for v in owner.values())
    if hasattr(owner, "__len__") and hasattr(owner, "__iter__"):
        return 8 * len(owner) + sum(held(v, counted) for v in owner)
    names = [*getattr(owner, "__dict__", ()), *getattr(owner, "__slots__", ())]
    return sum(held(getattr(owner, name, None), counted) for name in names)


@every_stage
def test_memory_does_not_grow_from_half_an_hour_to_an_hour(make: Callable[[], Stage]) -> None:
    stage, minute, size = make(), ecg(60.0), {}
    for k in range(1, 61):
        for piece in np.array_split(minute, 30):
            stage.push(piece)
        size[k] = held(stage.owner)
    full = max(size[k] for k in range(34, 41))  # by then 2,048 RR intervals are kept
    assert max(size[k] for k in range(50, 61)) <= 1.05 * full + 4096
    assert full < 4_000_000
