"""Several leads: one is in use, another while it is lost, then the first one again."""

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


def observe_with(*events: Event, segment: Segment | None = None) -> tuple[list[Observation], int]:
    script = make_script(
        segment or Segment(seconds=60.0), events=events, rate_hz=250.0, leads=("II", "V1", "V5")
    )
    observed = observe(*samples_of(script))
    return observed, len(SyntheticSource(script).truth().beats)


def beats(observed: list[Observation]) -> list[LeadBeat]:
    return [o for o in observed if isinstance(o, LeadBeat)]


def used_at(observed: list[Observation], seconds: float) -> int:
    hops = [o for o in observed if isinstance(o, Hop) and o.stop <= seconds * RATE]
    return hops[-1].used


def lost(kind: Disturbance, *leads: str, at_s: float = 20.0, seconds: float = 10.0) -> Event:
    return Event(kind=kind, at_s=at_s, seconds=seconds, leads=leads, amplitude_mv=3.0)


def test_the_first_lead_is_used_while_it_is_good() -> None:
    observed, true = observe_with()
    assert {b.lead for b in beats(observed)} == {0}
    assert len(beats(observed)) >= true - 1


def test_a_beat_in_several_leads_is_reported_with_all_of_them() -> None:
    spec, samples = samples_of(
        make_script(Segment(seconds=30.0), rate_hz=250.0, leads=("II", "V1"))
    )
    alike = observe(spec, np.column_stack((samples[:, 0], samples[:, 0])))
    assert {len(b.others) for b in beats(alike)} == {1}
    assert {b.others[0].r_index - b.view.r_index for b in beats(alike)} == {0}


@pytest.mark.parametrize(
    "kind", [Disturbance.LEAD_FLAT, Disturbance.LEAD_MISSING, Disturbance.LEAD_RAIL]
)
def test_a_lost_lead_is_left_at_once_and_used_again_later(kind: Disturbance) -> None:
    observed, true = observe_with(lost(kind, "II"))
    assert used_at(observed, 19.0) == 0
    assert used_at(observed, 21.5) != 0
    back = 30.0 + (RETURN_AFTER + 2) * HOP / RATE
    assert used_at(observed, 30.0 + 1.0) != 0
    assert used_at(observed, back + 4.0) == 0
    step = kind is Disturbance.LEAD_RAIL  # the step to the rail may be detected as a beat
    assert true - 3 <= len(beats(observed)) <= true + step


def test_a_beat_is_reported_once_across_a_change_of_lead() -> None:
    observed, _ = observe_with(lost(Disturbance.LEAD_FLAT, "II"))
    r = np.array([b.view.r_index for b in beats(observed)])
    assert np.diff(r).min() > 0.4 * RATE


def test_with_two_leads_lost_the_third_is_used() -> None:
    observed, _ = observe_with(lost(Disturbance.LEAD_MISSING, "II", "V1"))
    assert used_at(observed, 25.0) == 2


def test_with_all_leads_lost_there_are_no_beats_until_they_return() -> None:
    observed, _ = observe_with(lost(Disturbance.LEAD_MISSING))
    r = [b.view.r_index for b in beats(observed)]
    assert not [x for x in r if 20.2 * RATE < x < 29.8 * RATE]
    assert len([x for x in r if x > 31 * RATE]) > 30


def test_asystole_has_no_beats_in_any_lead() -> None:
    observed, _ = observe_with(segment=asystole(60.0))
    assert beats(observed) == []


def test_a_lead_that_falls_silent_is_left_for_one_with_beats() -> None:
    script = make_script(Segment(seconds=60.0), rate_hz=250.0, leads=("II", "V5"))
    spec, samples = samples_of(script)
    quiet = np.random.default_rng(1).normal(0.0, 0.01, len(samples))
    samples[20 * RATE : 40 * RATE, 0] = quiet[20 * RATE : 40 * RATE]
    observed = observe(spec, samples)
    assert used_at(observed, 24.0) == 1
    inside = [b for b in beats(observed) if 25 * RATE < b.view.r_index < 39 * RATE]
    assert len(inside) >= 16


def test_observations_are_in_the_order_of_decision() -> None:
    observed, _ = observe_with(lost(Disturbance.MUSCLE, "II"))
    order = [o.stop if isinstance(o, Hop) else o.view.decided for o in observed]
    assert order == sorted(order)


@pytest.mark.parametrize("width_s", [0.05, 0.06, 0.07, 0.08, 0.1, 0.12])
@pytest.mark.parametrize(("height_mv", "counted"), [(0.15, False), (0.25, True)])
def test_a_wave_of_0_15_mv_is_not_counted(width_s: float, height_mv: float, counted: bool) -> None:
    t = np.arange(30 * RATE) / RATE % 0.75
    x = height_mv * np.clip(1 - np.abs(t - 0.3) / (width_s / 2), 0.0, None)
    x += np.random.default_rng(1).normal(0.0, 0.002, len(x))
    spec = StreamSpec("faint", float(RATE), ("II",))
    found = beats(observe(spec, x[:, None]))
    assert bool(found) is counted
