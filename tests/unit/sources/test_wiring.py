"""Wiring mistakes on a scripted patient's leads, and on those of real ones."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from tocsin_agent.lab.studies.wiring import cases
from tocsin_agent.sources.files.wfdb_record import WfdbSource
from tocsin_agent.sources.opening import open_source
from tocsin_agent.sources.plausibility import first_seconds, suspicions
from tocsin_agent.sources.wiring import mistakes
from tocsin_dsp.signal import FloatArray, StreamSpec


@pytest.fixture(scope="module")
def limbs() -> tuple[StreamSpec, FloatArray]:
    """Ten seconds of a scripted patient's limb leads and V6."""
    leads = ("I", "II", "III", "V6")
    with open_source("synthetic:sinus", leads=leads) as source:
        return source.spec, first_seconds(source)


def test_right_leads_are_not_called_wrong(limbs: tuple[StreamSpec, FloatArray]) -> None:
    assert mistakes(*limbs) == []


@pytest.mark.parametrize(
    ("change", "what", "lead"),
    [
        (lambda x: x[:, [0, 2, 1, 3]] * [-1, 1, 1, 1], "arms", "I"),
        (lambda x: x * [1, -1, 1, 1], "limb", "II"),
        (lambda x: x[:, [0, 2, 1, 3]], "limb", "II"),
        (lambda x: x * 20, "gain", "I"),
        (lambda x: x / 20, "gain", "I"),
        (lambda x: x * [1, 1, 0, 1], "unplugged", "III"),
        (lambda x: x * [1, 1, np.nan, 1], "unplugged", "III"),
        (lambda x: x * [1, 1, 1, -1], "inverted", "V6"),
    ],
)
def test_each_mistake_is_named(
    limbs: tuple[StreamSpec, FloatArray],
    change: Callable[[FloatArray], FloatArray],
    what: str,
    lead: str,
) -> None:
    spec, samples = limbs
    found = {(mistake.what, mistake.lead) for mistake in mistakes(spec, change(samples.copy()))}
    assert (what, lead) in found


@pytest.mark.parametrize(("factor", "hum_hz"), [(250 / 360, 50.0), (2.0, 60.0)])
def test_hum_beside_its_frequency_names_a_wrong_rate(
    limbs: tuple[StreamSpec, FloatArray], factor: float, hum_hz: float
) -> None:
    spec, samples = limbs
    at_s = np.arange(len(samples)) / spec.rate_hz
    hum = samples[:, :1] + 3.0 * np.sin(2 * np.pi * hum_hz * at_s)[:, None]
    read = StreamSpec("x", spec.rate_hz * factor, ("I",))
    (found,) = [m for m in mistakes(read, hum) if m.what == "hum"]
    assert f"{spec.rate_hz:.0f} Hz" in found.text


@pytest.mark.records
@pytest.mark.parametrize("record", ["ludb/data/2", "ludb/data/10", "mitdb/100", "mitdb/103"])
def test_each_mistake_is_named_on_real_leads_and_none_on_right_ones(record: str) -> None:
    with WfdbSource(record, block_s=1.0) as source:
        spec, samples = source.spec, first_seconds(source)
    made = list(cases(spec, samples))
    assert len({case.mistake for case in made}) >= 7
    for case in made:
        if case.mistake == "gain x 0.1":
            continue  # a large QRS is then as large as a small one
        read = StreamSpec("x", spec.rate_hz * case.rate_factor, case.spec.leads)
        texts = [found.text for found in suspicions(read, case.wrong)]
        assert any(words in text for words in case.words for text in texts), case.mistake
    assert suspicions(spec, samples) == []
