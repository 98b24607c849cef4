"""Several leads: one is believed, another when it is lost, and the first one again."""

from __future__ import annotations

import numpy as np
import pytest

from support.patients import asystole, make_script, samples_of
from tocsin_agent.sources.scripted.script import Disturbance, Event, Segment
from tocsin_agent.sources.scripted.synthetic import SyntheticSource
from tocsin_dsp.conditioning.condition import Conditioner
from tocsin_dsp.conditioning.quality import HOP, Hop, QualityMeter
from tocsin_dsp.conditioning.resample import ANALYSIS_RATE_HZ
from tocsin_dsp.leads.choice import RETURN_AFTER
from tocsin_dsp.leads.leads import LeadBeat, LeadSet, Observation
from tocsin_dsp.signal import FloatArray, SampleBlock, StreamSpec

RATE = ANALYSIS_RATE_HZ


def observe(spec: StreamSpec, samples: FloatArray) -> list[Observation]:
    stage, meter, leads = (
        Conditioner(spec),
        QualityMeter(len(spec.leads), spec.range_mv),
        LeadSet(len(spec.leads)),
    )
    piece = stage.push(SampleBlock(spec, 0, samples))
    return leads.push(piece, meter.push(piece.samples))


def seen_with(*events: Event, segment: Segment | None = None) -> tuple[list[Observation], int]:
    script = make_script(
        segment or Segment(seconds=60.0), events=events, rate_hz=250.0, leads=("II", "V1", "V5")
    )
    seen = observe(*samples_of(script))
    return seen, len(SyntheticSource(script).truth().beats)


def beats(seen: list[Observation]) -> list[LeadBeat]:
    return [o for o in seen if isinstance(o, LeadBeat)]


def used_at(seen: list[Observation], seconds: float) -> int:
    hops = [o for o in seen if isinstance(o, Hop) and o.stop <= seconds * RATE]
    return hops[-1].used


def lost(kind: Disturbance, *leads: str, at_s: float = 20.0, seconds: float = 10.0) -> Event:
    return Event(kind=kind, at_s=at_s, seconds=seconds, leads=leads, amplitude_mv=3.0)


def test_the_first_lead_is_used_while_it_is_good() -> None:
    seen, true = seen_with()
    assert {b.lead for b in beats(seen)} == {0}
    assert len(beats(seen)) >= true - 1


def test_a_beat_that_leads_see_at_once_goes_with_all_of_them() -> None:
    spec, samples = samples_of(
        make_script(Segment(seconds=30.0), rate_hz=250.0, leads=("II", "V1"))
    )
    alike = observe(spec, np.column_stack((samples[:, 0], samples[:, 0])))
    assert {len(b.others) for b in beats(alike)} == {1}
    assert {b.others[0].r_index - b.view.r_index for b in beats(alike)} == {0}


@pytest.mark.parametrize(
    "kind", [Disturbance.LEAD_FLAT, Disturbance.LEAD_MISSING, Disturbance.LEAD_RAIL]
)
def test_a_lost_lead_is_left_at_once_and_taken_again_later(kind: Disturbance) -> None:
    seen, true = seen_with(lost(kind, "II"))
    assert used_at(seen, 19.0) == 0
    assert used_at(seen, 21.5) != 0
    back = 30.0 + (RETURN_AFTER + 2) * HOP / RATE
    assert used_at(seen, 30.0 + 1.0) != 0
    assert used_at(seen, back + 4.0) == 0
    bang = kind is Disturbance.LEAD_RAIL  # the step to the rail may pass for a beat
    assert true - 3 <= len(beats(seen)) <= true + bang


def test_a_beat_is_told_once_across_a_change_of_lead() -> None:
    seen, _ = seen_with(lost(Disturbance.LEAD_FLAT, "II"))
    r = np.array([b.view.r_index for b in beats(seen)])
    assert np.diff(r).min() > 0.4 * RATE


def test_with_two_leads_lost_the_third_is_used() -> None:
    seen, _ = seen_with(lost(Disturbance.LEAD_MISSING, "II", "V1"))
    assert used_at(seen, 25.0) == 2


def test_with_all_leads_lost_there_are_no_beats_and_then_again() -> None:
    seen, _ = seen_with(lost(Disturbance.LEAD_MISSING))
    r = [b.view.r_index for b in beats(seen)]
    assert not [x for x in r if 20.2 * RATE < x < 29.8 * RATE]
    assert len([x for x in r if x > 31 * RATE]) > 30


def test_a_heart_that_stands_still_makes_no_beats_in_any_lead() -> None:
    seen, _ = seen_with(segment=asystole(60.0))
    assert beats(seen) == []


def test_a_lead_that_falls_silent_is_left_for_one_with_beats() -> None:
    script = make_script(Segment(seconds=60.0), rate_hz=250.0, leads=("II", "V5"))
    spec, samples = samples_of(script)
    quiet = np.random.default_rng(1).normal(0.0, 0.01, len(samples))
    samples[20 * RATE : 40 * RATE, 0] = quiet[20 * RATE : 40 * RATE]
    seen = observe(spec, samples)
    assert used_at(seen, 24.0) == 1
    inside = [b for b in beats(seen) if 25 * RATE < b.view.r_index < 39 * RATE]
    assert len(inside) >= 16


def test_observations_come_in_the_order_of_decision() -> None:
    seen, _ = seen_with(lost(Disturbance.MUSCLE, "II"))
    order = [o.stop if isinstance(o, Hop) else o.view.decided for o in seen]
    assert order == sorted(order)
