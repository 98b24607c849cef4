"""Each alarm rule at its limit, just below it and just above, on beats made by hand."""

from __future__ import annotations

from itertools import accumulate

import pytest

from tocsin_agent.messages.alert import Priority
from tocsin_agent.monitor.rhythm.finding import Finding
from tocsin_agent.monitor.rhythm.limits import Limits
from tocsin_agent.monitor.rhythm.rhythm import DECIDED_WITHIN, Rhythm
from tocsin_agent.monitor.timeline import Beat
from tocsin_dsp.conditioning.quality import HOP, Hop, LeadState
from tocsin_dsp.conditioning.resample import ANALYSIS_RATE_HZ

RATE = ANALYSIS_RATE_HZ
DECIDED = 91  # samples after R: the usual beat
GOOD, NOISY, LOOSE, FLAT, RAILED, GONE = LeadState

Item = Beat | Hop


def beats(rr: list[int], labels: str | None = None, at: int = RATE) -> list[Beat]:
    """Beats at these intervals, in samples; the first at `at`."""
    labels = labels or "N" * (len(rr) + 1)
    places = accumulate([at, *rr])
    return [Beat(r, r + DECIDED, label, 0.9, "II") for r, label in zip(places, labels, strict=True)]


def hops(seconds: float, *states: LeadState, start: int = 0) -> list[Hop]:
    given = states or (GOOD,)
    values = tuple(1.0 if s is GOOD else 0.3 if s is NOISY else 0.0 for s in given)
    stops = range(start + HOP, start + round(seconds * RATE) + 1, HOP)
    return [Hop(stop, given, values) for stop in stops]


def judge(
    *items: Item, until: int = 0, limits: Limits | None = None, leads: tuple[str, ...] = ("II",)
) -> list[Finding]:
    """Take items in stream time, then let time pass."""
    rhythm = Rhythm(leads, limits or Limits())
    found: list[Finding] = []
    timed = [(i.stop, 0, i) if isinstance(i, Hop) else (i.decided, 1, i) for i in items]
    for now, _, item in sorted(timed, key=lambda t: t[:2]):
        found += rhythm.pass_time(now)
        found += rhythm.take(item)
    return found + rhythm.pass_time(until)


def of(found: list[Finding], code: str) -> list[Finding]:
    return [f for f in found if f.code == code]


def heard(rr: list[int], labels: str | None = None, limits: Limits | None = None) -> list[Finding]:
    """Beats in a clear signal that ends with the last of them."""
    given = beats(rr, labels)
    return judge(*given, *hops(given[-1].decided / RATE), limits=limits)


# -- pause and asystole ----------------------------------------------------------------------


@pytest.mark.parametrize(("rr", "rings"), [(624, False), (625, False), (626, True)])
def test_pause_is_an_interval_above_two_and_a_half_seconds(rr: int, rings: bool) -> None:
    assert bool(of(heard([200, 200, rr]), "pause")) is rings


def test_a_pause_that_goes_on_is_told_before_its_end() -> None:
    last = RATE + 400
    found = judge(*beats([200, 200]), *hops(10), until=10 * RATE)
    (pause,) = of(found, "pause")
    assert (pause.onset, pause.at) == (last, last + 625 + DECIDED_WITHIN)
    assert pause.measured["rr_s"] == 2.5


def test_a_pause_is_told_once() -> None:
    assert len(of(judge(*beats([200, 200, 800]), *hops(6)), "pause")) == 1


def test_asystole_is_told_the_moment_that_no_beat_can_still_come() -> None:
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


def test_asystole_is_seen_on_until_a_beat_comes() -> None:
    found = of(judge(*beats([200, 200, 3000]), *hops(18), until=18 * RATE), "asystole")
    assert {f.onset for f in found} == {RATE + 400}
    assert found[-1].at <= RATE + 3400 + DECIDED
    assert len(found) > 10


def test_a_heart_silent_from_the_start_is_asystole() -> None:
    found = of(judge(*hops(6), until=6 * RATE), "asystole")
    assert found[0].at == 1000 + DECIDED_WITHIN


def test_silence_without_a_signal_is_not_asystole() -> None:
    for state in (FLAT, RAILED, GONE):
        off = hops(20, state, start=500)
        found = judge(*beats([200]), *hops(2), *off, until=22 * RATE)
        assert not of(found, "asystole")
        assert not of(found, "pause")


def test_asystole_is_told_while_another_lead_still_shows_the_line() -> None:
    off = hops(20, GONE, GOOD, start=500)
    found = judge(*beats([200]), *hops(2, GOOD, GOOD), *off, until=9 * RATE, leads=("II", "V1"))
    assert of(found, "asystole")


def test_beats_that_another_lead_contradicts_do_not_stop_the_clock_of_asystole() -> None:
    """Strange beats of one lead, while another that saw the same before is silent: no heart."""
    given = beats([100] * 40)
    alone = [hop._replace(alone_since=250) for hop in hops(17.0)]
    found = of(judge(*given, *alone), "asystole")
    assert found[0].onset == 250
    assert 4.0 <= (found[0].at - 250) / RATE <= 5.0
    assert of(judge(*given, *hops(17.0)), "asystole") == []


def test_noise_does_not_stop_the_clock_of_asystole() -> None:
    found = judge(*beats([200]), *hops(10, NOISY), until=10 * RATE)
    assert of(found, "asystole")


# -- rate ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("rr", "rings"), [(374, False), (375, False), (376, True)])
def test_bradycardia_is_below_forty(rr: int, rings: bool) -> None:
    assert bool(of(heard([rr] * 4), "extreme_bradycardia")) is rings


def test_bradycardia_takes_five_beats() -> None:
    assert not of(heard([450] * 3), "extreme_bradycardia")
    (found,) = of(heard([450] * 4), "extreme_bradycardia")
    assert (found.onset, found.at) == (RATE, RATE + 1800 + DECIDED)
    assert found.measured["rate_bpm"] == pytest.approx(33.3)


@pytest.mark.parametrize(("rr", "rings"), [(108, False), (107, True)])
def test_tachycardia_is_above_140(rr: int, rings: bool) -> None:
    assert bool(of(heard([rr] * 16), "extreme_tachycardia")) is rings


def test_exactly_140_is_not_above() -> None:
    exact = Limits(tachycardia_bpm=150.0)
    assert not of(heard([100] * 30, limits=exact), "extreme_tachycardia")
    assert of(heard([99] * 16, limits=exact), "extreme_tachycardia")


def test_tachycardia_takes_seventeen_beats() -> None:
    assert not of(heard([90] * 15), "extreme_tachycardia")
    assert of(heard([90] * 16), "extreme_tachycardia")


def test_one_long_interval_does_not_make_bradycardia() -> None:
    assert not of(heard([200, 200, 200, 1200, 200]), "extreme_bradycardia")


def test_rates_do_not_span_a_loss_of_signal() -> None:
    before, after = beats([450, 450]), beats([450, 450], at=2300)
    signal = [*hops(6), *hops(2, GONE, start=1500), *hops(12, start=2000)]
    assert not of(judge(*before, *signal, *after), "extreme_bradycardia")


# -- ventricular beats -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("labels", "codes"),
    [
        ("NNVNNVNN", set()),
        ("NNVVNN", {"couplet"}),
        ("NNVVVNN", {"ventricular_run"}),
        ("NNVVVVNN", {"ventricular_run"}),
        ("NNVVVVVNN", {"ventricular_run", "ventricular_tachycardia"}),
        ("NVNVNVN", set()),
        ("NVNVNVNV", {"bigeminy"}),
        ("NVNVNVNNV", set()),
        ("NNVQVNN", set()),
        ("VVVN", {"ventricular_run"}),
    ],
)
def test_ventricular_patterns(labels: str, codes: set[str]) -> None:
    found = heard([120] * (len(labels) - 1), labels)
    assert {f.code for f in found} == codes


@pytest.mark.parametrize(("rr", "rings"), [(151, False), (150, False), (149, True)])
def test_ventricular_tachycardia_is_above_a_hundred(rr: int, rings: bool) -> None:
    found = heard([200, 200, *[rr] * 4], "NNVVVVV")
    assert bool(of(found, "ventricular_tachycardia")) is rings
    assert of(found, "ventricular_run")


def test_a_tachycardia_is_told_at_its_fifth_beat_with_the_run_as_evidence() -> None:
    found = heard([200, 200, *[100] * 5], "NNVVVVVV")
    first = of(found, "ventricular_tachycardia")[0]
    assert (first.onset, first.at) == (RATE + 400, RATE + 800 + DECIDED)
    assert first.measured == {"beats": 5.0, "rate_bpm": 150.0}
    assert first.probability == pytest.approx(0.9)


@pytest.mark.parametrize(("rr_after", "goes_on_s"), [(100, 30), (110, 30), (125, 2), (200, 0)])
def test_a_ventricular_tachycardia_goes_on_while_its_rate_does(
    rr_after: int, goes_on_s: int
) -> None:
    labels = "NN" + "V" * 10 + "N" * 120
    seen = of(heard([200, 200, *[100] * 9, *[rr_after] * 120], labels), "ventricular_tachycardia")
    last_ventricular = RATE + 400 + 900 + DECIDED
    assert (seen[-1].at - last_ventricular) / RATE == pytest.approx(goes_on_s, abs=1.0)
    assert {f.onset for f in seen} == {RATE + 400}


def test_runs_do_not_span_a_loss_of_signal() -> None:
    first = beats([100, 100], "NVV")
    second = beats([100, 100], "VVV", at=2300)
    seen = judge(
        *first, *hops(2.5), *hops(3.5, GONE, start=625), *hops(10, start=1500), *second
    )  # fmt: skip
    assert not of(seen, "ventricular_tachycardia")
    assert not of(seen, "couplet")


@pytest.mark.parametrize(("count", "rings"), [(9, False), (10, True)])
def test_ten_ventricular_beats_a_minute_are_frequent(count: int, rings: bool) -> None:
    found = heard([250] * (4 * count), "NNNV" * count + "N")
    assert bool(of(found, "frequent_ventricular")) is rings


@pytest.mark.parametrize(("rr", "rings"), [(1666, True), (1667, False)])
def test_frequent_is_within_a_minute(rr: int, rings: bool) -> None:
    """Ten beats, nine intervals: 14,994 samples are less than a minute, 15,003 are more."""
    found = heard([rr] * 9, "V" * 10)
    assert bool(of(found, "frequent_ventricular")) is rings


# -- heart rate ------------------------------------------------------------------------------


def rate_after(*items: Item, at: int) -> float | None:
    rhythm = Rhythm(("II",), Limits())
    for item in items:
        now = item.stop if isinstance(item, Hop) else item.decided
        rhythm.pass_time(now)
        rhythm.take(item)
    return rhythm.heart_rate_bpm(at)


def in_time(*items: Item) -> list[Item]:
    return sorted(items, key=lambda i: i.stop if isinstance(i, Hop) else i.decided)


def test_the_rate_is_that_of_the_last_eight_intervals() -> None:
    given = in_time(*beats([300] * 10 + [150] * 8), *hops(20))
    assert rate_after(*given, at=RATE + 4300) == 100.0


def test_no_rate_is_told_before_two_beats_or_after_the_heart_stood_still() -> None:
    given = in_time(*beats([200]), *hops(2))
    assert rate_after(*in_time(*beats([]), *hops(2)), at=2 * RATE) is None
    assert rate_after(*given, at=2 * RATE) == 75.0
    assert rate_after(*given, at=450 + 1000 + DECIDED_WITHIN - 1) == 75.0
    assert rate_after(*given, at=450 + 1000 + DECIDED_WITHIN) is None


def test_a_rate_from_before_a_loss_of_signal_is_not_told_after_it() -> None:
    given = in_time(
        *beats([300] * 8), *hops(12), *hops(6, GONE, start=3000), *hops(6, start=4500),
        *beats([100] * 3, at=4700),
    )  # fmt: skip
    assert rate_after(*given, at=5100) == 150.0


# -- leads -----------------------------------------------------------------------------------


@pytest.mark.parametrize("state", [LOOSE, FLAT, GONE])
def test_a_lead_is_off_after_one_and_a_half_seconds(state: LeadState) -> None:
    assert not of(judge(*hops(1, state)), "lead_off")
    (found,) = of(judge(*hops(1.5, state)), "lead_off")
    assert (found.onset, found.at, found.subject) == (0, 375, "II")
    assert found.measured["leads_left"] == 0.0
    assert found.priority is Priority.MEDIUM


def test_a_railed_lead_is_saturated_not_off() -> None:
    found = judge(*hops(3, RAILED, GOOD), leads=("II", "V1"))
    assert {f.code for f in found} == {"saturation"}
    assert found[0].measured["leads_left"] == 1.0
    assert found[0].priority is None


def test_a_lead_that_comes_and_goes_begins_anew() -> None:
    off = [*hops(1, GONE), *hops(0.5, GOOD, start=250), *hops(1, GONE, start=375)]
    assert not of(judge(*off), "lead_off")


@pytest.mark.parametrize(("seconds", "rings"), [(4.5, False), (5.0, True)])
def test_noise_on_every_lead_for_five_seconds_is_unusable(seconds: float, rings: bool) -> None:
    found = judge(*hops(seconds, NOISY, GONE), leads=("II", "V1"))
    assert bool(of(found, "signal_unusable")) is rings


def test_one_good_lead_is_usable() -> None:
    assert not of(judge(*hops(20, NOISY, GOOD), leads=("II", "V1")), "signal_unusable")


def test_all_leads_off_is_not_called_noise() -> None:
    assert not of(judge(*hops(20, GONE, FLAT), leads=("II", "V1")), "signal_unusable")


# -- beats that may be noise -----------------------------------------------------------------


def doubted(rr: list[int], labels: str, doubt: str) -> list[Finding]:
    """Beats of which those marked `?` are not trusted, in a clear signal."""
    given = [b._replace(trusted=d != "?") for b, d in zip(beats(rr, labels), doubt, strict=True)]
    return judge(*given, *hops(given[-1].decided / RATE))


@pytest.mark.parametrize(
    ("labels", "doubt", "codes"),
    [
        ("NNVVNN", "......", {"couplet"}),
        ("NNVVNN", "...?..", set()),
        ("NNVVVVVN", "..?????.", set()),
        ("NNVVVVVN", "..????..", {"ventricular_tachycardia"}),
        ("NVNVNVNV", "???????.", {"bigeminy"}),
        ("NVNVNVNV", ".......?", set()),
    ],
)
def test_nothing_ventricular_begins_on_a_doubted_beat(
    labels: str, doubt: str, codes: set[str]
) -> None:
    assert {f.code for f in doubted([120] * (len(labels) - 1), labels, doubt)} == codes


def test_a_tachycardia_that_began_in_a_clear_signal_goes_on_in_a_bad_one() -> None:
    found = doubted([100] * 20, "V" * 21, "V" * 8 + "?" * 13)
    assert of(found, "ventricular_tachycardia")[-1].measured["beats"] == 21.0


def test_doubted_beats_are_not_counted_as_frequent() -> None:
    assert not of(doubted([250] * 39, "NNNV" * 10, "...?" * 10), "frequent_ventricular")


@pytest.mark.parametrize(("doubt", "rings"), [("." * 9 + "?" * 8, True), ("?" * 17, False)])
def test_extreme_tachycardia_takes_beats_of_which_half_are_trusted(doubt: str, rings: bool) -> None:
    assert bool(of(doubted([90] * 16, "N" * 17, doubt), "extreme_tachycardia")) is rings


def test_a_standstill_and_slowness_ring_whatever_is_doubted() -> None:
    assert of(doubted([450] * 4, "N" * 5, "?????"), "extreme_bradycardia")
    assert of(doubted([200, 200, 1200], "NNNN", "????"), "asystole")


@pytest.mark.parametrize(("doubt", "rings"), [("..?.", False), ("...?", True), ("????", False)])
@pytest.mark.parametrize("last_rr", [700, 1200])
def test_a_pause_is_told_only_after_a_beat_that_is_trusted(
    doubt: str, rings: bool, last_rr: int
) -> None:
    assert bool(of(doubted([200, 200, last_rr], "NNNN", doubt), "pause")) is rings


def test_doubt_goes_on_over_a_pause_that_is_not_told() -> None:
    found = doubted([200, 200, 700, 200, 200], "N" * 6, "?" * 6)
    assert not of(found, "pause")
    assert of(found, "signal_unusable")


@pytest.mark.parametrize(("count", "rings"), [(6, False), (7, True)])
def test_doubt_for_long_is_told_as_a_signal_that_cannot_be_used(count: int, rings: bool) -> None:
    found = of(doubted([200] * (count - 1), "N" * count, "?" * count), "signal_unusable")
    assert bool(found) is rings
    assert {f.onset for f in found} <= {RATE}


def test_asystole_ends_the_doubt() -> None:
    given = [b._replace(trusted=False) for b in beats([200] * 10)]
    found = judge(*given, *hops(30), until=30 * RATE)
    assert of(found, "asystole")
    assert of(found, "signal_unusable")[-1].at <= of(found, "asystole")[0].at


# -- limits ----------------------------------------------------------------------------------


def test_limits_are_those_that_are_set() -> None:
    limits = Limits(pause_s=1.5, vt_beats=4, bigeminy_beats=2, bradycardia_beats=2)
    assert of(heard([200, 376], limits=limits), "pause")
    assert of(heard([100] * 4, "NVVVV", limits), "ventricular_tachycardia")
    assert of(heard([200] * 3, "NVNV", limits), "bigeminy")
    assert of(heard([200, 376], limits=limits), "extreme_bradycardia")


def test_a_restart_forgets_the_beats() -> None:
    rhythm = Rhythm(("II",), Limits())
    for item in in_time(*beats([450] * 3), *hops(7)):
        rhythm.take(item)
    rhythm.restart()
    assert rhythm.heart_rate_bpm(2000) is None
    assert not of(rhythm.take(beats([], at=1800)[0]), "extreme_bradycardia")
