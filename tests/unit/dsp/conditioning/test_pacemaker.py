"""A pacemaker that goes on when the heart no longer answers (decision 21)."""

from __future__ import annotations

import numpy as np
import pytest

from support.devices import frames_of, hello_for
from support.patients import CALM, Told, asystole, listen, make_script, samples_of
from tocsin_agent.sources.devices.protocol.session import Session
from tocsin_agent.sources.scripted.script import Segment
from tocsin_dsp.signal import SampleBlock
from tocsin_models import Models, load_models

RATE = 250
CLEAN = (2.0,)
SMEARED = (2.0, -0.8, 0.2)  # what the filter of a front end makes of a pulse


@pytest.fixture(scope="module")
def models() -> Models:
    return load_models()


def heard(
    models: Models,
    *segments: Segment,
    leads: tuple[str, ...] = ("II", "V1"),
    pulse_mv: tuple[float, ...] = CLEAN,
) -> Told:
    """Let a device send a script with 71 pulses a minute, each marked."""
    _, samples = samples_of(make_script(*segments, leads=leads, rate_hz=RATE))
    pulses = range(100, len(samples) - len(pulse_mv), 212)
    for step, mv in enumerate(pulse_mv):
        samples[np.array(pulses) + step] += mv
    session = Session()
    frames = frames_of(hello_for(leads), samples, pulses=pulses)
    pieces = [piece for data in frames for piece in session.feed(data, 0.0)]
    return listen([SampleBlock(p.spec, p.start_index, p.samples_mv) for p in pieces], models)


@pytest.mark.parametrize("leads", [("II", "V1"), ("II",)])
@pytest.mark.parametrize("pulse_mv", [CLEAN, SMEARED])
def test_asystole_rings_though_marked_pulses_go_on(
    models: Models, leads: tuple[str, ...], pulse_mv: tuple[float, ...]
) -> None:
    told = heard(models, CALM, asystole(30.0), leads=leads, pulse_mv=pulse_mv)
    (rang,) = told.of("asystole")
    assert 19.0 < rang.onset_index / RATE < 20.0
    assert 4.0 < (rang.detected_index - rang.onset_index) / RATE <= 5.0


def test_a_heart_that_beats_beside_marked_pulses_rings_nothing(models: Models) -> None:
    told = heard(models, Segment(seconds=60.0))
    assert not told.codes
    assert len(told.beats) == pytest.approx(60, abs=15)
