"""Alerts and trends as FHIR: valid, complete, and the same when they are read back."""

from __future__ import annotations

import json
import re
from datetime import datetime, timedelta

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support.factories import (
    NOON,
    make_alert,
    make_episode,
    make_response,
    make_strip,
    make_trend,
)
from tocsin_agent.messages.alert import (
    Alert,
    ClockState,
    Codes,
    Evidence,
    Kind,
    Phase,
    Priority,
    Strip,
    begins_at,
)
from tocsin_agent.team.export import fhir, fhir_r6
from tocsin_agent.team.export.answer import Answer
from tocsin_agent.team.export.fhir_check import InvalidResourceError, check

TEXTS = st.text(max_size=80)
NAMES = st.text(
    st.characters(exclude_characters="/+#\x7f", exclude_categories=["Cc", "Cs"]),
    min_size=1,
    max_size=64,
)


@st.composite
def alerts(draw: st.DrawFn) -> Alert:
    leads = tuple(
        draw(
            st.lists(
                st.sampled_from(["I", "V6", "aVL", "MLII", "é"]),
                min_size=1,
                max_size=3,
                unique=True,
            )
        )
    )
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    samples = rng.normal(0, 2.0, (draw(st.integers(1, 400)), len(leads)))
    samples[rng.random(samples.shape) < 0.1] = np.nan
    strip = Strip.encode(leads, draw(st.sampled_from([250.0, 360.0, 128.0])), 0, samples)
    alert = make_alert(
        onset_index=draw(st.integers(0, 10**9)),
        sequence=draw(st.integers(1, 50)),
        phase=draw(st.sampled_from(Phase)),
        kind=draw(st.sampled_from(Kind)),
        priority=draw(st.sampled_from(Priority)),
        onset_at=NOON + timedelta(microseconds=draw(st.integers(0, 10**12))),
        strip=draw(st.sampled_from([None, strip])),
        text=draw(TEXTS),
        synthetic=draw(st.booleans()),
    )
    return msgspec.structs.replace(
        alert,
        codes=draw(
            st.sampled_from(
                [Codes(), Codes(mdc=199684, snomed_ct="397829000"), Codes(snomed_ct="25569003")]
            )
        ),
        site=draw(NAMES),
        device=draw(NAMES),
        patient=draw(st.none() | TEXTS),
        location=draw(st.none() | TEXTS),
        heart_rate_bpm=draw(st.none() | st.floats(0, 400)),
    )


def read(resource: fhir.Resource) -> fhir.Resource:
    """Return a resource as it arrives."""
    found: fhir.Resource = json.loads(msgspec.json.encode(resource))
    return found


def moment(text: str) -> datetime:
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", text)
    return datetime.fromisoformat(text)


@settings(max_examples=25, deadline=None)
@given(alerts())
def test_r4_is_valid_and_has_the_codes_times_and_samples_of_the_alert(alert: Alert) -> None:
    resources = [read(one) for one in fhir.alert_resources(alert)]
    for resource in resources:
        check(resource, "R4")
    by_id = {one["id"]: one for one in resources}
    flag = by_id[alert.alert_id]
    assert flag["status"] == ("inactive" if alert.phase is Phase.END else "active")
    assert abs(moment(flag["period"]["start"]) - alert.onset_at) <= timedelta(milliseconds=1)
    assert ("end" in flag["period"]) == (alert.phase is Phase.END)
    codes = {one["system"]: one["code"] for one in flag["code"]["coding"]}
    assert codes.get("http://snomed.info/sct") == alert.codes.snomed_ct
    mdc = codes.get("urn:iso:std:iso:11073:10101")
    assert mdc == (None if alert.codes.mdc is None else str(alert.codes.mdc))
    assert flag["extension"][0]["valueCodeableConcept"]["coding"][0]["code"] in {"PH", "PM", "PL"}
    assert (f"{alert.alert_id}-rhythm" in by_id) == (alert.codes != Codes())
    if alert.heart_rate_bpm is not None:
        rate = by_id[f"{alert.alert_id}-{alert.sequence}-hr"]["valueQuantity"]
        assert rate["value"] == alert.heart_rate_bpm
    if alert.strip is not None:
        same_samples(by_id[f"{alert.alert_id}-{alert.sequence}-ecg"], alert, alert.strip)


def same_samples(ecg: fhir.Resource, alert: Alert, strip: Strip) -> None:
    expected = strip.decode()
    for column, component in enumerate(ecg["component"]):
        data = component["valueSampledData"]
        values = [np.nan if v == "E" else float(v) for v in data["data"].split(" ")]
        found = np.array(values) * data["factor"] + data["origin"]["value"]
        np.testing.assert_allclose(found, expected[:, column], atol=0.5 / strip.gain_per_mv)
        step_ms = data["period"] if "period" in data else data["interval"]
        assert step_ms == pytest.approx(1000.0 / strip.rate_hz)
    begin = moment(ecg["effectivePeriod"]["start"])
    assert abs(begin - begins_at(alert, strip, len(expected))) <= timedelta(milliseconds=1)


@settings(max_examples=15, deadline=None)
@given(alerts())
def test_r6_is_valid_and_has_the_codes_times_and_samples_of_the_alert(alert: Alert) -> None:
    resources = [read(one) for one in fhir_r6.alert_resources(alert)]
    for resource in resources:
        check(resource, "R6")
    by_id = {one["id"]: one for one in resources}
    found = by_id[alert.alert_id]
    assert found["resourceType"] == "DeviceAlert"
    assert found["type"]["coding"][0]["code"] == alert.kind
    assert found["priority"]["coding"][0]["code"] == alert.priority
    assert found["status"] == ("completed" if alert.phase is Phase.END else "in-progress")
    assert abs(moment(found["occurrence"]["start"]) - alert.onset_at) <= timedelta(milliseconds=1)
    named = {one["observation"]["reference"] for one in found.get("derivedFrom", [])}
    assert named == {
        f"Observation/{i}" for i, r in by_id.items() if r["resourceType"] == "Observation"
    }
    if alert.strip is not None:
        same_samples(by_id[f"{alert.alert_id}-{alert.sequence}-ecg"], alert, alert.strip)


@pytest.mark.parametrize(("release", "whole"), [("R4", "Flag"), ("R6", "DeviceAlert")])
def test_who_accepted_an_alert_is_a_provenance_of_it(release: str, whole: str) -> None:
    alert = make_alert()
    answer = Answer(alert, make_response(alert, who="<b>nurse-7</b>"))
    (made,) = map(read, fhir.answer_resources(answer, whole=whole))
    check(made, release)
    assert made["target"] == [{"reference": f"{whole}/{alert.alert_id}"}]
    assert made["agent"][0]["who"]["identifier"]["value"] == "<b>nurse-7</b>"
    assert made["activity"]["coding"][0]["code"] == "accept"
    assert moment(made["occurredDateTime"]) == answer.response.at
    again = Answer(alert, make_response(alert, "a2"))
    assert fhir.answer_resources(again)[0]["id"] != made["id"]
    check(fhir.transaction([made]), release)


def test_a_trend_is_one_observation_with_all_its_figures() -> None:
    _, found = [read(one) for one in fhir.trend_resources(make_trend())]
    check(found, "R4")
    assert found["valueQuantity"]["value"] == 75.0
    assert moment(found["effectivePeriod"]["start"]) == NOON
    values = {
        one["code"]["coding"][0]["code"]: one["valueQuantity"]["value"]
        for one in found["component"]
    }
    assert values["heart_rate_bpm.min"] == 70.0
    assert values["variability.rmssd_ms"] == 30.0
    assert "longest_run.beats" not in values


def test_a_minute_without_a_rate_says_so() -> None:
    trend = msgspec.structs.replace(make_trend(), heart_rate_bpm=None)
    _, found = fhir.trend_resources(trend)
    check(found, "R4")
    assert found["dataAbsentReason"]["coding"][0]["code"] == "unknown"


def test_the_same_alert_gives_the_same_resources_and_another_one_others() -> None:
    first, again = fhir.alert_resources(make_alert()), fhir.alert_resources(make_alert())
    assert first == again
    other = {one["id"] for one in fhir.alert_resources(make_alert(onset_index=1))}
    assert {one["id"] for one in first} & other == {fhir.device_id("ward3", "bed7")}


def test_a_document_that_is_late_does_not_describe_the_whole() -> None:
    onset, end = make_episode(updates=0)
    late = fhir.alert_resources(onset, latest=False)
    assert not [one for one in late if one["resourceType"] == "Flag"]
    assert [one for one in fhir.alert_resources(end) if one["resourceType"] == "Flag"]


def test_an_end_that_nobody_saw_has_no_end() -> None:
    end = make_alert(phase=Phase.END)
    evidence = Evidence("rule", {}, {"ended": "not known whether it lasts"})
    end = msgspec.structs.replace(end, evidence=evidence)
    flag = next(one for one in fhir.alert_resources(end) if one["resourceType"] == "Flag")
    assert "end" not in flag["period"]
    alert = next(
        one for one in fhir_r6.alert_resources(end) if one["resourceType"] == "DeviceAlert"
    )
    assert alert["status"] == "unknown"


def test_no_patient_is_a_place_and_a_pseudonym_is_an_identifier() -> None:
    nobody = msgspec.structs.replace(make_alert(), patient=None)
    subjects = [fhir.subject(one, "urn:x") for one in (nobody, make_alert())]
    assert [one["type"] for one in subjects] == ["Location", "Patient"]
    assert subjects[1]["identifier"] == {"system": "urn:x", "value": "p-0042"}


@pytest.mark.parametrize(
    "change", [{"id": "a/b"}, {"id": "x" * 65}, {"signal": []}, {"status": "active"}, {"label": ""}]
)
def test_a_device_alert_that_is_not_as_published_is_refused(change: fhir.Resource) -> None:
    alert = fhir_r6.alert_resources(make_alert())[1]
    with pytest.raises(InvalidResourceError, match="DeviceAlert"):
        check(alert | change, "R6")


def test_a_flag_that_is_not_valid_is_refused() -> None:
    flag = fhir.alert_resources(make_alert())[1]
    with pytest.raises(InvalidResourceError, match="subject"):
        check({name: value for name, value in flag.items() if name != "subject"}, "R4")


def test_a_transaction_is_valid_as_a_whole() -> None:
    bundle = fhir.transaction(fhir.alert_resources(make_alert(strip=make_strip(leads=2))))
    check(read(bundle), "R4")


def test_times_of_a_clock_that_was_not_set_are_called_wrong() -> None:
    alert = msgspec.structs.replace(make_alert(), clock=ClockState.UNSYNCHRONISED)
    for release, module in (("R4", fhir), ("R6", fhir_r6)):
        found = [o for o in module.alert_resources(alert) if o["resourceType"] == "Observation"]
        assert found
        for observation in found:
            check(observation, release)
            assert observation["note"] == [{"text": fhir.CLOCK_NOT_SET}]
