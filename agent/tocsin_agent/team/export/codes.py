"""Public codes of what is exported; one that could not be looked up is left out.

Sources, looked up on 2026-11-30: the published value sets of ISO/IEEE 11073-10101 in the
implementation guides of HL7 (PoCD, PHD), DICOM CID 3001 and CID 3038, LOINC. Table and sources:
`docs/exchange.md`.
"""

from __future__ import annotations

MDC = "urn:iso:std:iso:11073:10101"
SNOMED = "http://snomed.info/sct"
LOINC = "http://loinc.org"
UCUM = "http://unitsofmeasure.org"

LEADS = {
    "I": 1, "II": 2, "V1": 3, "V2": 4, "V3": 5, "V4": 6, "V5": 7, "V6": 8,
    "III": 61, "aVR": 62, "aVL": 63, "aVF": 64,
}  # fmt: skip
"""Offset of a lead in ISO/IEEE 11073-10101: `MDC_ECG_LEAD_*` is 2:offset (CID 3001), the potential
`MDC_ECG_ELEC_POTL_*` is `ELEC_POTL` + offset. Others (MLII, a strap) are exported by name."""

ELEC_POTL = 131328
"""MDC_ECG_ELEC_POTL, the ECG itself."""
HEART_RATE = 147842
"""MDC_ECG_HEART_RATE."""
HEART_RATE_LOINC = "8867-4"
RHYTHM_LOINC = "8884-9"
"""Heart rate rhythm."""

REFERENCE_IDS = {
    ELEC_POTL: "MDC_ECG_ELEC_POTL",
    HEART_RATE: "MDC_ECG_HEART_RATE",
    196616: "MDC_EVT_ALARM",
    196680: "MDC_EVT_LEAD_OFF",
    199684: "MDC_EVT_ECG_ASYSTOLE",
    199736: "MDC_EVT_ECG_ATR_FIB",
}
"""Reference ids of MDC codes; others are exported by their number."""

_OWN = "urn:oid:2.25.94680582625443981522787955403721644247"  # a UUID: needs no registration
ALERT_IDS = f"{_OWN}.1"
"""System of the ids of alerts."""
ALARMS = f"{_OWN}.2"
"""System of the names of alarms, as in `docs/alerts.md`."""
DEVICES = f"{_OWN}.3"
"""System of `site/device`."""
PATIENTS = f"{_OWN}.4"
"""System of the pseudonyms of patients, where a site names none of its own."""
TRENDS = f"{_OWN}.5"
"""System of the names of the fields of a trend, as in `docs/trends.md`."""
STAFF = f"{_OWN}.7"
"""System of the pseudonyms of staff."""
ANSWERS = f"{_OWN}.8"
"""System of what a person does about an alert, as in `docs/alerts.md`."""
MODELS = f"{_OWN}.6"
"""System of `name@sha256-prefix` of models."""
