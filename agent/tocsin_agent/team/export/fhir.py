"""Alerts and trends as FHIR R4 resources: Flag, Observation, Device, Provenance.

Source: HL7 FHIR 4.0.1, https://hl7.org/fhir/R4/. An id is made of what it names: the same alert
gives the same resources, and a server that gets one twice has it once. Table: `docs/exchange.md`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, TypeAlias

import numpy as np

from tocsin_agent import __version__
from tocsin_agent.messages.alert import (
    Alert,
    ClockState,
    Kind,
    Phase,
    Priority,
    Strip,
    begins_at,
)
from tocsin_agent.messages.printable import clean
from tocsin_agent.messages.trend import Trend
from tocsin_agent.team.export.answer import Answer
from tocsin_agent.team.export.codes import (
    ALARMS,
    ALERT_IDS,
    ANSWERS,
    DEVICES,
    ELEC_POTL,
    HEART_RATE,
    HEART_RATE_LOINC,
    LEADS,
    LOINC,
    MDC,
    MODELS,
    PATIENTS,
    REFERENCE_IDS,
    RHYTHM_LOINC,
    SNOMED,
    STAFF,
    TRENDS,
    UCUM,
)
from tocsin_agent.team.export.trace import MISSING, end_was_seen

Resource: TypeAlias = dict[str, Any]
VERSION = "4.0.1"
CLOCK_NOT_SET = "The clock of the device had not been set: the times are wrong."

_FLAG_PRIORITY = {Priority.HIGH: "PH", Priority.MEDIUM: "PM", Priority.LOW: "PL"}
_MOST_TEXT = 1000
_CATEGORY = "http://terminology.hl7.org/CodeSystem/observation-category"
_PARTICIPANT = "http://terminology.hl7.org/CodeSystem/provenance-participant-type"
_TEST_DATA = {"system": "http://terminology.hl7.org/CodeSystem/v3-ActReason", "code": "HTEST"}


def alert_resources(
    alert: Alert, patients: str = PATIENTS, *, latest: bool = True
) -> list[Resource]:
    """Return the resources of a document of an alert.

    Parameters
    ----------
    alert : Alert
    patients : str
        System (a URI) of the pseudonyms of patients.
    latest : bool
        False where a later document of this alert is known: what describes the alert as a whole
        (Flag and rhythm) is left as that one says.
    """
    resources = [device_resource(alert.site, alert.device)]
    about: list[Resource] = []
    if latest:
        about = [_flag(alert, patients)]
        if alert.codes.mdc is not None or alert.codes.snomed_ct is not None:
            about.append(_rhythm(alert, patients))
    about += measured(alert, patients, period_field=True)
    if about:
        resources += [*about, _provenance(alert, about)]
    return resources


def measured(alert: Alert, patients: str, *, period_field: bool) -> list[Resource]:
    """Return heart rate and strip of a document, as far as it has them.

    Parameters
    ----------
    alert : Alert
    patients : str
        System (a URI) of the pseudonyms of patients.
    period_field : bool
        True for R4, whose SampledData has `period`; from R5 on it is `interval`.
    """
    found = []
    if alert.heart_rate_bpm is not None:
        rate = _observation(f"{alert.alert_id}-{alert.sequence}-hr", alert, patients)
        rate["category"] = [concept((_CATEGORY, "vital-signs", "Vital Signs"))]
        rate["code"] = _heart_rate_code()
        rate["effectiveDateTime"] = instant(alert.detected_at)
        rate["valueQuantity"] = per_minute(alert.heart_rate_bpm)
        found.append(rate)
    if alert.strip is not None:
        found.append(_ecg(alert, alert.strip, patients, period_field=period_field))
    return found


def trend_resources(trend: Trend, patients: str = PATIENTS) -> list[Resource]:
    """Return a minute as one Observation: the heart rate, and the other fields as components."""
    rate = trend.heart_rate_bpm
    observation: Resource = {
        "resourceType": "Observation",
        "id": f"trend-{_short(trend.site, trend.device, trend.stream, trend.from_index)}",
        **_meta(synthetic=trend.synthetic),
        "status": "final",
        "category": [concept((_CATEGORY, "vital-signs", "Vital Signs"))],
        "code": _heart_rate_code(),
        "subject": subject(trend, patients),
        "effectivePeriod": {"start": instant(trend.from_at), "end": instant(trend.to_at)},
        "device": device_reference(trend.site, trend.device),
    }
    if rate is not None:
        observation["valueQuantity"] = per_minute(rate.mean)
    else:
        observation["dataAbsentReason"] = concept(
            ("http://terminology.hl7.org/CodeSystem/data-absent-reason", "unknown", "Unknown")
        )
    components = [
        {"code": concept((TRENDS, name, name)), "valueQuantity": _quantity(value, unit)}
        for name, value, unit in _trend_values(trend)
    ]
    if components:
        observation["component"] = components
    return [device_resource(trend.site, trend.device), observation]


def answer_resources(answer: Answer, *, whole: str = "Flag") -> list[Resource]:
    """Return who answered an alert, how and when, as Provenance of the alert as a whole.

    Parameters
    ----------
    answer : Answer
    whole : str
        Type of the resource that is the alert: `Flag` in R4, `DeviceAlert` in R6.
    """
    alert, said = answer.alert, answer.response
    action = said.action.value if said.action is not None else "answer"
    return [
        {
            "resourceType": "Provenance",
            "id": f"{alert.alert_id}-{_short(said.id)[:16]}-answer",
            **_meta(synthetic=alert.synthetic),
            "target": [{"reference": f"{whole}/{alert.alert_id}"}],
            "occurredDateTime": instant(said.at),
            "recorded": instant(said.at),
            "activity": concept((ANSWERS, action, None)),
            "agent": [
                {
                    "type": concept((_PARTICIPANT, "performer", "Performer")),
                    "who": {
                        "type": "Practitioner",
                        "identifier": {"system": STAFF, "value": text_of(said.who or "")},
                    },
                }
            ],
        }
    ]


def transaction(resources: Sequence[Resource]) -> Resource:
    """Return a Bundle that creates or replaces each resource under its own id, all or none."""
    return {
        "resourceType": "Bundle",
        "type": "transaction",
        "entry": [
            {
                "fullUrl": f"urn:uuid:{_uuid(resource)}",
                "resource": resource,
                "request": {"method": "PUT", "url": f"{resource['resourceType']}/{resource['id']}"},
            }
            for resource in resources
        ],
    }


def device_resource(site: str, device: str) -> Resource:
    """Return the gateway that raised an alert."""
    return {
        "resourceType": "Device",
        "id": device_id(site, device),
        "identifier": [{"system": DEVICES, "value": f"{site}/{device}"}],
        "status": "active",
        "deviceName": [{"name": text_of(f"{site}/{device}"), "type": "user-friendly-name"}],
    }


def device_id(site: str, device: str) -> str:
    """Return the id of a device: names of sites and devices may hold what an id cannot."""
    return f"device-{_short(site, device)}"


def device_reference(site: str, device: str) -> Resource:
    """Return a reference to `device_resource`."""
    return {"reference": f"Device/{device_id(site, device)}"}


def subject(about: Alert | Trend, patients: str) -> Resource:
    """Return whom a document is about: a pseudonym, else the place, each by its identifier."""
    if about.patient:
        return {
            "type": "Patient",
            "identifier": {"system": patients, "value": text_of(about.patient)},
        }
    place: Resource = {
        "type": "Location",
        "identifier": {"system": DEVICES, "value": f"{about.site}/{about.device}"},
    }
    if about.location:
        place["display"] = text_of(about.location)
    return place


def condition_code(alert: Alert) -> Resource:
    """Return the condition in every code system that the alert states."""
    codings = [coding(ALARMS, alert.code, None)]
    if alert.codes.snomed_ct is not None:
        codings.insert(0, coding(SNOMED, alert.codes.snomed_ct, None))
    if alert.codes.mdc is not None:
        codings.insert(0, _mdc(alert.codes.mdc))
    return {"coding": codings, "text": text_of(alert.text)}


def occurrence(alert: Alert) -> Resource:
    """Return when the condition began, and when it ended if that was seen."""
    period = {"start": instant(alert.onset_at)}
    if alert.phase is Phase.END and end_was_seen(alert):
        period["end"] = instant(alert.detected_at)
    return period


def concept(*codings: tuple[str, str, str | None]) -> Resource:
    """Return a CodeableConcept of (system, code, display)."""
    return {"coding": [coding(*one) for one in codings]}


def coding(system: str, code: str, display: str | None) -> Resource:
    """Return a Coding."""
    return {"system": system, "code": code} | ({"display": display} if display else {})


def per_minute(value: float) -> Resource:
    """Return a rate."""
    return _quantity(value, "/min")


def instant(moment: datetime) -> str:
    """Return UTC to the millisecond."""
    moment = moment.astimezone(UTC) + timedelta(microseconds=500)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def text_of(text: str) -> str:
    """Return text from outside as a FHIR string."""
    return clean(text, _MOST_TEXT).strip() or "-"


def _flag(alert: Alert, patients: str) -> Resource:
    flag: Resource = {
        "resourceType": "Flag",
        "id": alert.alert_id,
        **_meta(synthetic=alert.synthetic),
        "extension": [
            {
                "url": "http://hl7.org/fhir/StructureDefinition/flag-priority",
                "valueCodeableConcept": concept(
                    (
                        "http://hl7.org/fhir/flag-priority-code",
                        _FLAG_PRIORITY[alert.priority],
                        f"{alert.priority.capitalize()} priority",
                    )
                ),
            }
        ],
        "identifier": [{"system": ALERT_IDS, "value": alert.alert_id}],
        "status": "inactive" if alert.phase is Phase.END else "active",
        "code": condition_code(alert),
        "subject": subject(alert, patients),
        "period": occurrence(alert),
        "author": device_reference(alert.site, alert.device),
    }
    if alert.kind is Kind.PHYSIOLOGICAL:
        flag["category"] = [
            concept(("http://terminology.hl7.org/CodeSystem/flag-category", "clinical", "Clinical"))
        ]
    return flag


def _rhythm(alert: Alert, patients: str) -> Resource:
    rhythm = _observation(f"{alert.alert_id}-rhythm", alert, patients)
    rhythm["status"] = "final" if alert.phase is Phase.END else "preliminary"
    rhythm["code"] = concept((LOINC, RHYTHM_LOINC, "Heart rate rhythm"))
    rhythm["effectivePeriod"] = occurrence(alert)
    rhythm["valueCodeableConcept"] = condition_code(alert)
    return rhythm


def _ecg(alert: Alert, strip: Strip, patients: str, *, period_field: bool) -> Resource:
    samples = strip.decode()
    counts = np.nan_to_num(np.rint(samples * strip.gain_per_mv), nan=MISSING).astype(np.int64)
    begin = begins_at(alert, strip, len(samples))
    end = begin + timedelta(seconds=len(samples) / strip.rate_hz)
    step: Resource = {"period": 1000.0 / strip.rate_hz}
    if not period_field:
        step = {"interval": 1000.0 / strip.rate_hz, "intervalUnit": "ms"}
    ecg = _observation(f"{alert.alert_id}-{alert.sequence}-ecg", alert, patients)
    ecg["category"] = [concept((_CATEGORY, "procedure", "Procedure"))]
    ecg["code"] = {"coding": [_mdc(ELEC_POTL)]}
    ecg["effectivePeriod"] = {"start": instant(begin), "end": instant(end)}
    ecg["component"] = [
        {
            "code": _lead_code(lead),
            "valueSampledData": {
                "origin": {"value": 0, "unit": "mV", "system": UCUM, "code": "mV"},
                **step,
                "factor": 1.0 / strip.gain_per_mv,
                "dimensions": 1,
                "data": " ".join("E" if c == MISSING else str(c) for c in column.tolist()),
            },
        }
        for lead, column in zip(strip.leads, counts.T, strict=True)
    ]
    return ecg


def _lead_code(lead: str) -> Resource:
    """Return the potential of a lead; a lead without a code is named."""
    if lead not in LEADS:
        return {"coding": [_mdc(ELEC_POTL)], "text": text_of(lead)}
    code = coding(MDC, str(ELEC_POTL + LEADS[lead]), f"MDC_ECG_ELEC_POTL_{lead.upper()}")
    return {"coding": [code], "text": lead}


def _observation(identity: str, alert: Alert, patients: str) -> Resource:
    note = {"note": [{"text": CLOCK_NOT_SET}]} if alert.clock is ClockState.UNSYNCHRONISED else {}
    return {
        "resourceType": "Observation",
        "id": identity,
        **_meta(synthetic=alert.synthetic),
        "status": "final",
        "subject": subject(alert, patients),
        "device": device_reference(alert.site, alert.device),
        **note,
    }


def _provenance(alert: Alert, targets: Sequence[Resource]) -> Resource:
    return provenance(alert, [f"{one['resourceType']}/{one['id']}" for one in targets])


def provenance(alert: Alert, targets: Sequence[str]) -> Resource:
    """Return who made resources, when, and by which model and software."""
    made: Resource = {
        "resourceType": "Provenance",
        "id": f"{alert.alert_id}-{alert.sequence}-by",
        "target": [{"reference": target} for target in targets],
        "occurredDateTime": instant(alert.detected_at),
        "recorded": instant(alert.published_at or alert.detected_at),
        "agent": [
            {
                "type": concept((_PARTICIPANT, "assembler", "Assembler")),
                "who": device_reference(alert.site, alert.device)
                | {"display": f"tocsin, exported by tocsin {__version__}"},
            }
        ],
    }
    if alert.evidence.model:
        made["entity"] = [
            {
                "role": "source",
                "what": {
                    "identifier": {"system": MODELS, "value": text_of(alert.evidence.model)},
                    "display": text_of(alert.evidence.rule),
                },
            }
        ]
    return made


def _trend_values(trend: Trend) -> list[tuple[str, float, str]]:
    rate, run, spread = trend.heart_rate_bpm, trend.longest_run, trend.variability
    values: list[tuple[str, float | None, str]] = [
        ("heart_rate_bpm.min", rate.min if rate else None, "/min"),
        ("heart_rate_bpm.max", rate.max if rate else None, "/min"),
        ("signal_s", trend.signal_s, "s"),
        ("beats", trend.beats, "{beat}"),
        ("ventricular_beats", trend.ventricular_beats, "{beat}"),
        ("supraventricular_beats", trend.supraventricular_beats, "{beat}"),
        ("ventricular_per_hour", trend.ventricular_per_hour, "/h"),
        ("supraventricular_per_hour", trend.supraventricular_per_hour, "/h"),
        ("longest_run.beats", run.beats if run else None, "{beat}"),
        ("longest_run.rate_bpm", run.rate_bpm if run else None, "/min"),
        ("pauses", trend.pauses, "{pause}"),
        ("longest_rr_s", trend.longest_rr_s, "s"),
        ("atrial_fibrillation_s", trend.atrial_fibrillation_s, "s"),
        ("atrial_fibrillation_percent", trend.atrial_fibrillation_percent, "%"),
        ("variability.sdnn_ms", spread.sdnn_ms if spread else None, "ms"),
        ("variability.rmssd_ms", spread.rmssd_ms if spread else None, "ms"),
    ]
    return [(name, value, unit) for name, value, unit in values if value is not None]


def _heart_rate_code() -> Resource:
    return {"coding": [coding(LOINC, HEART_RATE_LOINC, "Heart rate"), _mdc(HEART_RATE)]}


def _mdc(code: int) -> Resource:
    return coding(MDC, str(code), REFERENCE_IDS.get(code))


def _quantity(value: float, unit: str) -> Resource:
    return {"value": value, "unit": unit, "system": UCUM, "code": unit}


def _meta(*, synthetic: bool) -> Resource:
    return {"meta": {"security": [dict(_TEST_DATA)]}} if synthetic else {}


def _short(*parts: object) -> str:
    key = "\x1f".join(str(part) for part in parts)
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def _uuid(resource: Resource) -> str:
    digest = _short(resource["resourceType"], resource["id"])
    return "-".join(digest[a:b] for a, b in ((0, 8), (8, 12), (12, 16), (16, 20), (20, 32)))
