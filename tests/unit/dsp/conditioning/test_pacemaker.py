"""A pacemaker that continues although the heart no longer responds (decision 21)."""

from __future__ import annotations

import numpy as np
import pytest

from support.devices import frames_of, hello_for
from support.patients import CALM, Monitored, asystole, make_script, run_monitor, samples_of
from tocsin_agent.sources.devices.protocol.session import Session
from tocsin_agent.sources.scripted.script import Segment
from tocsin_dsp.signal import SampleBlock
from tocsin_models import Models

RATE = 250
CLEAN = (2.0,)
SMEARED = (2.0, -0.8, 0.2)  # a pulse after the filter of a front end


def monitored(
    models: Models,
    *segments: Segment,
    leads: tuple[str, ...] = ("II", "V1"),
    pulse_mv: tuple[float, ...] = CLEAN,
) -> Monitored:
    """Return the result of a script sent by a device with 71 marked pulses a minute."""
    _, samples = samples_of(make_script(*segments, leads=leads, rate_hz=RATE))
    pulses = range(100, len(samples) - len(pulse_mv), 212)
    for step, mv in enumerate(pulse_mv):
        samples[np.array(pulses) + step] += mv
    session = Session()
    frames = frames_of(hello_for(leads), samples, pulses=pulses)
    pieces = [piece for data in frames for piece in session.feed(data, 0.0)]
    return run_monitor([SampleBlock(p.spec, p.start_index, p.samples_mv) for p in pieces], models)


@pytest.mark.parametrize("leads", [("II", "V1"), ("II",)])
@pytest.mark.parametrize("pulse_mv", [CLEAN, SMEARED])
def test_asystole_is_raised_while_marked_pulses_continue(
    models: Models, leads: tuple[str, ...], pulse_mv: tuple[float, ...]
) -> None:
    result = monitored(models, CALM, asystole(30.0), leads=leads, pulse_mv=pulse_mv)
    (alert,) = result.of("asystole")
    assert 19.0 < alert.onset_index / RATE < 20.0
    assert 4.0 < (alert.detected_index - alert.onset_index) / RATE <= 5.0


def test_a_beating_heart_with_marked_pulses_raises_nothing(models: Models) -> None:
    result = monitored(models, Segment(seconds=60.0))
    assert not result.codes
    assert len(result.beats) == pytest.approx(60, abs=15)
