"""Fusion of the beats of several leads."""

from __future__ import annotations

import numpy as np
import pytest

from tocsin_dsp.beats.beats import SHAPE, Asked, Core, RelatedBeat
from tocsin_dsp.beats.rr import FEATURES as RHYTHM
from tocsin_dsp.conditioning.quality import HOP, Hop, LeadState
from tocsin_dsp.leads.fusion import APART, BACK, CERTAIN, WAIT, FusedBeat, Fusion

RR = 200
LAG = 91
REGULAR = [1000 + k * RR for k in range(10)]
LAST = REGULAR[-1]


def beat(
    r: int,
    lead: int = 0,
    like: float = 1.0,
    strength: float = 1.0,
    lag: int = LAG,
    *,
    share: float = 1.0,
) -> FusedBeat:
    """Return a beat with the fields that fusion uses."""
    shapes, core = np.zeros((2, SHAPE)), Core(1.0, 0.0, 0.06, 0.06)
    rhythm = (0.0,) * len(RHYTHM)
    context = (None, 1.0, True, shapes, core, core, rhythm)
    return FusedBeat(
        lead, RelatedBeat(r, r + lag, strength, *context, like, share, 1.0, 1.0, Asked())
    )


def hop(stop: int, *states: LeadState) -> Hop:
    return Hop(stop, states, tuple(1.0 for _ in states))


def play(fusion: Fusion, beats: list[FusedBeat], until: int, used: int = 0) -> list[FusedBeat]:
    """Add beats in order of decision, then advance to the end; return the final beats."""
    final: list[FusedBeat] = []
    for given in sorted(beats, key=lambda b: (b.beat.decided, b.lead)):
        final += fusion.pass_time(given.beat.decided)
        final += fusion.add_beat(given, used)
    return final + fusion.pass_time(until)


def final_beats(
    first: list[FusedBeat], *others: list[FusedBeat], leads: int = 2, until: int = 1 << 20
) -> list[tuple[int, int]]:
    """Return R peak and lead of the final beats after ten regular beats in all leads."""
    regular = [beat(r, lead) for r in REGULAR for lead in range(leads)]
    every = [*regular, *first, *(b for beats in others for b in beats)]
    final = play(Fusion(leads), every, until)
    assert [b.beat.decided for b in final] == sorted(b.beat.decided for b in final)
    assert [b.beat.r_index for b in final[: len(REGULAR)]] == REGULAR
    return [(b.beat.r_index, b.lead) for b in final[len(REGULAR) :]]


def test_the_beats_of_one_lead_are_unchanged() -> None:
    atypical = [beat(r, like=-0.4, strength=0.2) for r in (LAST + 100, LAST + 160, LAST + 900)]
    regular = [beat(r) for r in REGULAR]
    assert play(Fusion(1), regular + atypical, 1 << 20) == regular + atypical


def test_a_beat_is_reported_with_the_other_leads_that_show_it() -> None:
    early, late, atypical = LAST + RR, LAST + 2 * RR, LAST + 3 * RR
    first = [beat(early), beat(late), beat(atypical, like=-0.4)]
    second = [beat(early - 4, 1), beat(late + 4, 1), beat(atypical + 4, 1, like=-0.4)]
    regular = [beat(r, lead) for r in REGULAR for lead in range(2)]
    final = play(Fusion(2), [*regular, *first, *second], 1 << 20)[len(REGULAR) :]
    others = [[other.r_index for other in b.others] for b in final]
    assert others == [[early - 4], [], [atypical + 4]]  # only an atypical beat waits
    assert [b.beat.decided - b.beat.r_index for b in final] == [LAG, LAG, LAG + 4]


def test_a_beat_of_another_lead_is_reported_with_one_beat_only() -> None:
    first = [beat(LAST + RR), beat(LAST + RR + 52)]
    second = [beat(LAST + RR + 20, 1)]
    regular = [beat(r, lead) for r in REGULAR for lead in range(2)]
    final = play(Fusion(2), [*regular, *first, *second], 1 << 20)[len(REGULAR) :]
    assert [b.beat.r_index for b in final] == [b.beat.r_index for b in first]
    assert [len(b.others) for b in final] == [0, 0]  # decided after the first, nearer to it


def test_a_beat_is_reported_with_at_most_three_other_leads() -> None:
    regular = [beat(r, lead) for r in REGULAR for lead in range(12)]
    final = play(
        Fusion(12), regular + [beat(LAST + RR - lead, lead) for lead in range(12)], 1 << 20
    )
    assert [b.r_index for b in final[-1].others] == [LAST + RR - lead for lead in (1, 2, 3)]


def test_a_bad_lead_is_not_reported_with_a_beat() -> None:
    fusion = Fusion(2)
    play(fusion, [beat(r, lead) for r in REGULAR for lead in range(2)], LAST + LAG)
    fusion.observe_quality(hop(LAST + LAG + HOP, LeadState.GOOD, LeadState.NOISY), 0)
    final = play(fusion, [beat(LAST + RR), beat(LAST + RR, 1)], 1 << 20)
    assert [b.others for b in final] == [()]


def test_a_lead_that_never_agreed_corrects_nothing() -> None:
    """In complete heart block a lead may show P waves as plainly as another its slow QRS."""
    slow = [beat(LAST + 500 * k) for k in range(1, 20)]
    p_waves = [beat(LAST + 130 + 187 * k, 1) for k in range(50)]
    final = final_beats(slow, p_waves)
    of_p_waves = [r for r, lead in final if lead == 1]
    assert len(of_p_waves) <= 4  # until the agreement has been lost
    assert [r for r, lead in final if lead == 0] == [b.beat.r_index for b in slow]


def test_a_recovered_beat_is_reported_no_sooner_than_it_is_known() -> None:
    """The other lead becomes good again after the time at which its beat would be recovered."""
    fusion = Fusion(2)
    play(fusion, [beat(r, lead) for r in REGULAR for lead in range(2)], LAST + LAG)
    fusion.observe_quality(hop(LAST + LAG, LeadState.GOOD, LeadState.NOISY), 0)
    assert play(fusion, [beat(LAST + RR, 1)], LAST + RR + CERTAIN + 300) == []
    good_at = LAST + RR + CERTAIN + 310
    fusion.observe_quality(hop(good_at, LeadState.GOOD, LeadState.GOOD), 0)
    (final,) = fusion.pass_time(good_at + 1)
    assert (final.lead, final.beat.r_index, final.beat.decided) == (1, LAST + RR, good_at)


def test_a_lead_that_no_longer_agrees_cannot_prove_another_silent() -> None:
    fusion = Fusion(2)
    play(fusion, [beat(r, lead) for r in REGULAR for lead in range(2)], LAST + LAG)
    assert fusion.proves(1, beat(LAST + RR, 1).beat, 0)
    assert not fusion.proves(1, beat(LAST + RR, 1, like=0.2).beat, 0)
    slow = [beat(LAST + 500 * k) for k in range(1, 6)]
    p_waves = [beat(LAST + 130 + 187 * k, 1) for k in range(14)]
    play(fusion, slow + p_waves, LAST + 2600 + LAG)
    assert not fusion.proves(1, p_waves[-1].beat, 0)


def test_a_beat_in_all_leads_is_reported_once_from_the_lead_in_use() -> None:
    assert final_beats([beat(LAST + RR)], [beat(LAST + RR + 20, 1)]) == [(LAST + RR, 0)]


def test_an_atypical_beat_of_one_lead_alone_is_reported_after_waiting() -> None:
    assert final_beats([beat(LAST + 120, like=-0.4)], until=LAST + 120 + WAIT - 1) == []
    assert final_beats([beat(LAST + 120, like=-0.4)], until=LAST + 120 + WAIT) == [(LAST + 120, 0)]


def test_an_atypical_beat_is_reported_once_another_lead_confirms_it() -> None:
    confirmed = beat(LAST + 130, 1, like=-0.4)
    final = final_beats([beat(LAST + 120, like=-0.4)], [confirmed], until=confirmed.beat.decided)
    assert final == [(LAST + 120, 0)]


def test_a_p_wave_beside_a_plain_beat_of_another_lead_is_dropped() -> None:
    p_wave, plain = beat(LAST + 155, like=-0.4), beat(LAST + RR, 1)
    assert final_beats([p_wave, beat(LAST + RR + 10)], [plain]) == [(LAST + RR + 10, 0)]


def test_a_plain_beat_decided_at_the_same_sample_still_contradicts() -> None:
    p_wave, first, second = beat(LAST + 150, like=-0.4), beat(LAST + RR), beat(LAST + RR, 1)
    assert final_beats([p_wave, first], [second]) == [(LAST + RR, 0)]


def test_the_beat_after_one_that_waits_is_reported_after_it() -> None:
    atypical, after = beat(LAST + 120, like=-0.4), beat(LAST + 170)
    until = LAST + 120 + WAIT
    assert after.beat.decided < until
    assert final_beats([atypical, after], until=until) == [(LAST + 120, 0), (LAST + 170, 0)]


@pytest.mark.parametrize(
    "other",
    [
        beat(LAST + RR, 1, like=0.4),  # atypical too
        beat(LAST + RR, 1, strength=0.3),  # faint
        beat(LAST + RR, 1, lag=262),  # found with support
        beat(LAST + 155 + APART + 1, 1),  # there is room for both
    ],
)
def test_only_a_plain_beat_close_by_contradicts(other: FusedBeat) -> None:
    assert (LAST + 155, 0) in final_beats([beat(LAST + 155, like=-0.4)], [other])


def test_a_typical_beat_is_never_contradicted() -> None:
    assert final_beats([beat(LAST + 155, like=0.8)], [beat(LAST + RR, 1)])[0] == (LAST + 155, 0)


def test_the_beat_that_ends_a_silence_does_not_wait() -> None:
    late = LAST + 600
    assert final_beats([beat(late, like=-0.4)], until=late + LAG) == [(late, 0)]


def test_a_missed_beat_is_recovered_before_the_next() -> None:
    after = LAST + 2 * RR
    final = final_beats([beat(after)], [beat(LAST + RR, 1), beat(after, 1)], until=after + LAG)
    assert final == [(LAST + RR, 1), (after, 0)]


def test_a_missed_beat_is_recovered_in_time_where_none_follows() -> None:
    due = LAST + int(1.2 * RR) + CERTAIN
    assert final_beats([], [beat(LAST + RR, 1)], until=due - 1) == []
    assert final_beats([], [beat(LAST + RR, 1)], until=due) == [(LAST + RR, 1)]


def test_the_time_of_a_recovered_beat_does_not_depend_on_the_steps_of_time() -> None:
    given = [beat(r, lead) for r in REGULAR for lead in (0, 1)] + [beat(LAST + RR, 1)]
    end = LAST + 4 * RR
    slowly, quickly = Fusion(2), Fusion(2)
    one = play(slowly, given, 0)
    for now in range(LAST + RR, end):
        one += slowly.pass_time(now)
    other = play(quickly, given, end)
    decided = [(b.beat.r_index, b.beat.decided, b.recovered) for b in other]
    assert decided == [(b.beat.r_index, b.beat.decided, b.recovered) for b in one]
    assert decided[-1] == (LAST + RR, LAST + int(1.2 * RR) + CERTAIN, True)


def test_a_beat_that_is_not_plain_is_not_recovered() -> None:
    final = final_beats([beat(LAST + 2 * RR)], [beat(LAST + RR, 1, like=0.4)])
    assert final == [(LAST + 2 * RR, 0)]


def test_nothing_is_recovered_where_the_rhythm_has_no_gap() -> None:
    final = final_beats([beat(LAST + RR)], [beat(LAST + RR // 2, 1), beat(LAST + RR, 1)])
    assert final == [(LAST + RR, 0)]


def test_a_noisy_lead_corrects_nothing() -> None:
    fusion = Fusion(2)
    play(fusion, [beat(r, lead) for r in REGULAR for lead in (0, 1)], 0)
    fusion.observe_quality(hop(LAST // HOP * HOP + HOP, LeadState.GOOD, LeadState.NOISY), 0)
    final = play(fusion, [beat(LAST + RR, 1), beat(LAST + 2 * RR)], 1 << 20)
    assert [(b.beat.r_index, b.lead) for b in final] == [(LAST + 2 * RR, 0)]


def test_half_of_several_leads_must_show_a_recovered_beat() -> None:
    def result(*shown_by: int) -> list[tuple[int, int]]:
        missed = [beat(LAST + RR, lead) for lead in shown_by]
        return final_beats([beat(LAST + 2 * RR)], missed, leads=5)

    assert result(3) == [(LAST + 2 * RR, 0)]
    assert result(2, 3) == [(LAST + RR, 2), (LAST + 2 * RR, 0)]


def test_a_change_of_lead_reports_its_plain_beats_since_the_last_one() -> None:
    fusion = Fusion(2)
    play(fusion, [beat(r, lead) for r in REGULAR for lead in (0, 1)], 0)
    stop = LAST + 500
    fusion.observe_quality(
        hop(stop, LeadState.NOISY, LeadState.NOISY), 0
    )  # so that nothing is recovered
    play(fusion, [beat(LAST + RR, 1), beat(LAST + 2 * RR, 1)], 0)
    final = fusion.observe_quality(hop(stop + HOP, LeadState.FLAT, LeadState.GOOD), 1)
    expected = [(LAST + RR, stop + HOP), (LAST + 2 * RR, stop + HOP)]
    assert [(b.beat.r_index, b.beat.decided) for b in final] == expected
    assert not any(b.recovered for b in final)


def test_a_beat_missed_long_ago_is_not_recovered() -> None:
    fusion = Fusion(2)
    play(fusion, [beat(r, lead) for r in REGULAR for lead in (0, 1)], 0)
    fusion.observe_quality(hop(LAST + RR, LeadState.NOISY, LeadState.NOISY), 0)
    play(fusion, [beat(LAST + RR, 1)], 0)
    final = fusion.observe_quality(hop(LAST + RR + BACK + 1, LeadState.FLAT, LeadState.GOOD), 1)
    assert final == []


def test_nothing_is_reported_across_a_gap_in_the_samples() -> None:
    fusion = Fusion(2)
    play(fusion, [beat(r, lead) for r in REGULAR for lead in (0, 1)], 0)
    play(fusion, [beat(LAST + RR, 1), beat(LAST + 120, like=-0.4)], 0)
    fusion.skip()
    assert fusion.pass_time(1 << 20) == []


def silent_since(fusion: Fusion, seconds: float, *states: LeadState, used: int = 0) -> list[bool]:
    """Play half seconds after ten regular beats of both leads; return when one lead is alone."""
    play(fusion, [beat(r, lead) for r in REGULAR for lead in range(2)], LAST + LAG)
    alone = []
    for k in range(int(2 * seconds)):
        at = LAST + LAG + k * HOP
        noise = [beat(r, used, like=0.1, share=0.03) for r in range(at, at + HOP, 63)]
        play(fusion, noise, at + HOP, used)
        fusion.observe_quality(hop(at + HOP, *states), used)
        alone.append(fusion.alone_since(at + HOP) == LAST)
    return alone


def test_a_lead_with_atypical_beats_beside_a_silent_one_is_alone() -> None:
    good = (LeadState.GOOD, LeadState.GOOD)
    assert silent_since(Fusion(2), 20.0, *good) == [False] * 3 + [True] * 37
    assert not any(silent_since(Fusion(2), 20.0, LeadState.GOOD, LeadState.NOISY))


@pytest.mark.parametrize(
    "given",
    [
        beat(LAST + 1500, share=0.03),
        beat(LAST + 1500, like=-0.9, share=0.2),
        beat(LAST + 1500, 1, like=0.1, share=0.03),
    ],
)
def test_a_typical_beat_or_any_of_the_other_lead_ends_it(given: FusedBeat) -> None:
    fusion = Fusion(2)
    assert silent_since(fusion, 5.0, LeadState.GOOD, LeadState.GOOD)[-1]
    play(fusion, [given], LAST + 1500 + LAG)
    assert fusion.alone_since(LAST + 1600) is None


def test_a_lead_that_never_showed_the_same_beats_proves_nothing() -> None:
    fusion = Fusion(2)
    play(fusion, [beat(LAST - 100 - k * 137, 1) for k in range(12)], LAST)
    noise = [beat(LAST + 60 * k, like=0.1, share=0.03) for k in range(40)]
    play(fusion, noise, LAST + 3000)
    fusion.observe_quality(hop(LAST + 3000, LeadState.GOOD, LeadState.GOOD), 0)
    assert fusion.alone_since(LAST + 3000) is None
