"""Conditioning: gaps, repeated samples, jumps of the clock, missing samples."""

from __future__ import annotations

import numpy as np
import pytest

from tocsin_dsp.conditioning.condition import (
    BRIDGE_S,
    LONGEST_GAP_S,
    REPEAT_S,
    Conditioned,
    Conditioner,
)
from tocsin_dsp.signal import FloatArray, SampleBlock, StreamSpec

RATE = 250
SPEC = StreamSpec("test/condition", float(RATE), ("II", "V1"))
N = 20 * RATE


def ramp(n: int = N) -> FloatArray:
    """Return two slow ramps, which pass the filter unchanged, so that a value states its index."""
    t = np.arange(n) / 1000.0
    return np.column_stack((t, -t))


def run(*pieces: tuple[int, FloatArray]) -> list[Conditioned]:
    stage = Conditioner(SPEC)
    return [stage.push(SampleBlock(SPEC, start, x)) for start, x in pieces]


def rows(pieces: list[Conditioned]) -> FloatArray:
    return np.concatenate([p.samples for p in pieces])


WHOLE = rows(run((0, ramp())))


def test_the_first_block_starts_the_stream_wherever_it_is() -> None:
    for start in (0, 12_345, 10**12, -500):
        (piece,) = run((start, ramp()))
        assert piece.restarted
        assert piece.start == start
        known = np.isfinite(piece.samples[:, 0])
        assert np.allclose(piece.samples[known], WHOLE[: len(piece.samples)][known])


def test_a_gap_is_missing_in_all_leads_and_indices_continue() -> None:
    x, gap = ramp(), slice(1000, 1000 + 5 * RATE)
    pieces = run((0, x[: gap.start]), (gap.stop, x[gap.stop :]))
    y = rows(pieces)
    assert not pieces[1].restarted
    assert len(y) == len(WHOLE)
    assert np.isnan(y[1000 + 30 : gap.stop - 5]).all()
    after = gap.stop + 30
    np.testing.assert_array_equal(y[after:], WHOLE[after:])


@pytest.mark.parametrize(("extra", "restarts"), [(0, False), (1, True)])
def test_only_a_gap_longer_than_the_longest_restarts(extra: int, *, restarts: bool) -> None:
    far = 1000 + int(LONGEST_GAP_S * RATE) + extra
    pieces = run((0, ramp(1000)), (far, ramp(1000)))
    assert pieces[1].restarted is restarts
    assert pieces[1].start == (far if restarts else pieces[0].stop)
    assert pieces[1].stop == far + 1000 - Conditioner(SPEC).delay


def test_repeated_samples_are_dropped() -> None:
    x = ramp()
    pieces = run((0, x[:1000]), (500, x[500:1000]), (700, x[700:1300]), (1300, x[1300:]))
    np.testing.assert_array_equal(rows(pieces), WHOLE)
    assert all(p.jumped_by == 0 for p in pieces)


@pytest.mark.parametrize(("early", "jumps"), [(0, False), (1, True)])
def test_a_block_that_starts_too_early_is_a_jump_of_the_clock(early: int, *, jumps: bool) -> None:
    x, back = ramp(), int(REPEAT_S * RATE) + early
    stage = Conditioner(SPEC)
    first = stage.push(SampleBlock(SPEC, 0, x[:2000]))
    second = stage.push(SampleBlock(SPEC, 2000 - back, x[2000:3000]))
    assert second.jumped_by == (back if jumps else 0)
    if jumps:
        np.testing.assert_array_equal(rows([first, second]), WHOLE[: second.stop])
        assert stage.to_source(2500) == 2500 - back


def test_after_a_jump_the_new_clock_continues() -> None:
    x = ramp()
    pieces = run((10**6, x[:2000]), (0, x[2000:3000]), (1000, x[3000:]))
    assert [p.jumped_by for p in pieces] == [0, 10**6 + 2000, 0]
    assert len(rows(pieces)) == len(WHOLE)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("blocks", [1, 7])
def test_a_short_run_of_missing_samples_is_bridged_and_a_longer_one_is_not(
    value: float, blocks: int
) -> None:
    bridge = int(BRIDGE_S * RATE)
    for length, bridged in ((1, True), (bridge, True), (bridge + 1, False)):
        x = ramp()
        x[2000 : 2000 + length, 0] = value
        stage, at, pieces = Conditioner(SPEC), 0, []
        for part in np.array_split(x, blocks):
            pieces.append(stage.push(SampleBlock(SPEC, at, part)))
            at += len(part)
        y = rows(pieces)
        assert np.isfinite(y[100:, 0]).all() == bridged
        assert np.isfinite(y[100:, 1]).all()
        if bridged:
            assert np.abs(y[100:, 0] - WHOLE[100 : len(y), 0]).max() < 0.02


def test_leading_missing_samples_stay_missing() -> None:
    x = ramp()
    x[:1000] = np.nan
    y = rows(run((0, x)))
    assert np.isnan(y[:980]).all()
    assert np.isfinite(y[1040:]).all()


def test_an_empty_block_changes_nothing() -> None:
    x = ramp()
    pieces = run((0, x[:0]), (0, x[:1000]), (1000, x[:0]), (1000, x[1000:]))
    np.testing.assert_array_equal(rows(pieces), WHOLE)


def test_the_stated_delay_is_the_real_one() -> None:
    stage = Conditioner(SPEC)
    piece = stage.push(SampleBlock(SPEC, 0, ramp()))
    assert stage.to_source(piece.stop) + stage.delay == N
