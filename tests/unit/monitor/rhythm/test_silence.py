"""Pause and asystole."""

from __future__ import annotations

import pytest

from support.rhythms import (
    DECIDED,
    FLAT,
    GONE,
    GOOD,
    NOISY,
    RAILED,
    RATE,
    beats,
    hops,
    judge,
    judge_beats,
    judge_trust,
    of,
)
from tocsin_agent.monitor.rhythm.finding import Finding
from tocsin_agent.monitor.rhythm.history import DECIDED_WITHIN
from tocsin_dsp.conditioning.quality import HOP, Extent, Hop


@pytest.mark.parametrize(("rr", "raised"), [(624, False), (625, False), (626, True)])
def test_pause_is_an_interval_above_two_and_a_half_seconds(rr: int, raised: bool) -> None:
    assert bool(of(judge_beats([200, 200, rr]), "pause")) is raised


def test_a_pause_that_lasts_is_reported_before_its_end() -> None:
    last = RATE + 400
    found = judge(*beats([200, 200]), *hops(10), until=10 * RATE)
    (pause,) = of(found, "pause")
    assert (pause.onset, pause.at) == (last, last + 625 + DECIDED_WITHIN)
    assert pause.measured["rr_s"] == 2.5


def test_a_pause_is_reported_once() -> None:
    assert len(of(judge(*beats([200, 200, 800]), *hops(6)), "pause")) == 1


def test_asystole_is_reported_the_moment_that_no_beat_can_still_come() -> None:
    last = RATE + 400
    due = last + 1000 + DECIDED_WITHIN
    given = beats([200, 200])
    assert not of(judge(*given, *hops(5), until=due - 1), "asystole")
    (found,) = of(judge(*given, *hops(5), until=due), "asystole")
    assert (found.onset, found.at) == (last, due)
    assert found.measured == {"without_qrs_s": 4.0}
    assert found.limits == {"asystole_s": 4.0}


def test_a_beat_at_the_last_moment_is_no_asystole() -> None:
    found = judge(*beats([200, 200, 1000]), *hops(8), until=2000)
    assert not of(found, "asystole")


def test_asystole_lasts_until_a_beat_comes() -> None:
    found = of(judge(*beats([200, 200, 3000]), *hops(18), until=18 * RATE), "asystole")
    assert {f.onset for f in found} == {RATE + 400}
    assert found[-1].at <= RATE + 3400 + DECIDED
    assert len(found) > 10


def test_a_heart_silent_from_the_start_is_asystole_after_eight_seconds() -> None:
    found = of(judge(*hops(10), until=10 * RATE), "asystole")
    assert found[0].at == 2000 + DECIDED_WITHIN


def drawn(seconds: float, *extents: Extent, start: int = 0) -> list[Hop]:
    """Give half seconds of good leads with these values."""
    given = hops(seconds, *[GOOD] * len(extents), start=start)
    return [hop._replace(extents=extents) for hop in given]


QRS = Extent(1.0, -0.2, 0.0, 0.02, 0.3)
LINE = Extent(0.05, -0.05, 0.0, 0.004, 0.01)


def silent_after_beats(*extents: Extent) -> list[Finding]:
    """Judge ten beats at 75/min with a usual QRS, then twelve seconds of these values."""
    usual = drawn(10.0, *[QRS] * len(extents))
    leads = tuple("ABC"[: len(extents)])
    last = drawn(12.0, *extents, start=2500)
    return judge(*beats([200] * 10), *usual, *last, until=22 * RATE, leads=leads)


def test_asystole_asks_for_a_signal_without_anything_like_a_qrs() -> None:
    assert of(silent_after_beats(LINE), "asystole")
    assert not of(silent_after_beats(QRS), "asystole")
    assert not of(silent_after_beats(LINE, QRS), "asystole")


def test_the_baseline_at_the_start_of_a_stream_must_rest() -> None:
    settling = Extent(0.3, 0.0, 0.0, 0.004, 0.01)
    assert of(judge(*drawn(12.0, LINE), until=12 * RATE), "asystole")
    assert not of(judge(*drawn(12.0, settling), until=12 * RATE), "asystole")


def test_a_lead_that_goes_nearly_flat_beside_one_that_is_off_shows_no_asystole() -> None:
    nearly_flat, off = Extent(0.006, -0.006, 0.0, 0.001, 0.001), Extent()

    def found(left: Extent) -> list[Finding]:
        usual = drawn(10.0, QRS, QRS)
        lost = [h._replace(extents=(left, off)) for h in hops(12.0, GOOD, GONE, start=2500)]
        given = judge(*beats([200] * 10), *usual, *lost, until=22 * RATE, leads=("I", "II"))
        return of(given, "asystole")

    assert not found(nearly_flat)
    assert found(LINE)


def test_silence_without_a_signal_is_not_asystole() -> None:
    for state in (FLAT, RAILED, GONE):
        off = hops(20, state, start=500)
        found = judge(*beats([200]), *hops(2), *off, until=22 * RATE)
        assert not of(found, "asystole")
        assert not of(found, "pause")


def test_asystole_is_reported_while_another_lead_still_shows_the_line() -> None:
    off = hops(20, GONE, GOOD, start=500)
    found = judge(*beats([200]), *hops(2, GOOD, GOOD), *off, until=9 * RATE, leads=("II", "V1"))
    assert of(found, "asystole")


def test_beats_that_another_lead_contradicts_do_not_stop_the_clock_of_asystole() -> None:
    """Atypical beats of one lead, while another that saw the same before is silent: no heart."""
    given = beats([100] * 40)
    alone = [hop._replace(alone_since=250) for hop in hops(17.0)]
    found = of(judge(*given, *alone), "asystole")
    assert found[0].onset == 250
    assert 4.0 <= (found[0].at - 250) / RATE <= 5.0
    assert of(judge(*given, *hops(17.0)), "asystole") == []


def test_noise_does_not_stop_the_clock_of_asystole() -> None:
    found = judge(*beats([200]), *hops(10, NOISY), until=10 * RATE)
    assert of(found, "asystole")


@pytest.mark.parametrize(("trust", "raised"), [("..?.", False), ("...?", True), ("????", False)])
@pytest.mark.parametrize("last_rr", [700, 1200])
def test_a_pause_is_reported_only_after_a_trusted_beat(
    trust: str, raised: bool, last_rr: int
) -> None:
    assert bool(of(judge_trust([200, 200, last_rr], "NNNN", trust), "pause")) is raised


def shown_hops(seconds: float) -> list[Hop]:
    """Give a good lead that shows QRS."""
    extent = Extent(0.8, -0.2, 0.0, 0.005, 0.1)
    return [h._replace(extents=(extent,)) for h in hops(seconds)]


def flat_hops(seconds: float, start: int, step_mv: float) -> list[Hop]:
    """Give a flat lead, at rest but for steps of the noise of its amplifier."""
    extent = Extent(0.002, 0.0, 0.0, step_mv, step_mv)
    return [h._replace(extents=(extent,)) for h in hops(seconds, FLAT, start=start)]


@pytest.mark.parametrize(("step_mv", "raised"), [(0.001, True), (0.0, False)])
def test_standstill_on_a_quiet_amplifier_is_asystole_and_an_idle_input_is_not(
    step_mv: float, raised: bool
) -> None:
    quiet = flat_hops(9, 3 * RATE, step_mv)
    found = judge(*beats([200, 200]), *shown_hops(3), *quiet, until=12 * RATE)
    assert bool(of(found, "asystole")) is raised
    assert of(found, "lead_off")[0].at <= (8 if raised else 5) * RATE


def test_a_lead_that_never_showed_a_beat_may_be_idle_however_noisy() -> None:
    assert not of(
        judge(*shown_hops(3), *flat_hops(20, 3 * RATE, 0.001), until=23 * RATE), "asystole"
    )


def test_a_quiet_lead_after_a_railed_one_is_no_standstill() -> None:
    railed = [h._replace(extents=(Extent(5.0, 5.0),)) for h in hops(2, RAILED, start=3 * RATE)]
    quiet = flat_hops(9, 5 * RATE, 0.001)
    found = judge(*beats([200, 200]), *shown_hops(3), *railed, *quiet, until=14 * RATE)
    assert not of(found, "asystole")


def test_slow_beats_on_a_quiet_amplifier_keep_their_intervals() -> None:
    given = beats([475] * 8)  # 32/min, 1.9 s
    quiet = flat_hops(given[-1].decided / RATE, 0, 0.001)
    shown = {-(-b.r_index // HOP) * HOP for b in given}
    seen = [h for h in quiet if h.stop not in shown]
    seen += [h for h in shown_hops(given[-1].decided / RATE) if h.stop in shown]
    found = judge(*given, *seen)
    assert of(found, "extreme_bradycardia")
    assert not of(found, "lead_off")
