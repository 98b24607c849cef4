"""Alerts as FHIR R6 resources: DeviceAlert, Observation, Device, Provenance.

Source: FHIR 6.0.0-snapshot1 of September 2026, in which DeviceAlert is normative. Elements whose
meaning tocsin does not know are left out: `signal` (what sounded where) and `acknowledged`; who
answered an alert is in a Provenance. Of Device only what did not change since R4 is written.
"""

from __future__ import annotations

from tocsin_agent.messages.alert import Alert, Phase
from tocsin_agent.team.export.codes import ALERT_IDS, PATIENTS
from tocsin_agent.team.export.fhir import (
    Resource,
    concept,
    condition_code,
    device_reference,
    device_resource,
    measured,
    occurrence,
    provenance,
    subject,
    text_of,
)
from tocsin_agent.team.export.trace import end_was_seen

VERSION = "6.0.0-snapshot1"
_TYPE = "http://terminology.hl7.org/CodeSystem/devicealert-type"
_PRIORITY = "http://hl7.org/fhir/devicealert-priority"


def alert_resources(
    alert: Alert, patients: str = PATIENTS, *, latest: bool = True
) -> list[Resource]:
    """Return the resources of a document of an alert; parameters as `fhir.alert_resources`."""
    whole = device_resource(alert.site, alert.device)
    device = {name: whole[name] for name in ("resourceType", "id", "identifier")}
    observations = measured(alert, patients, period_field=False)
    about = [_alert(alert, patients, observations)] if latest else []
    about += observations
    if not about:
        return [device]
    targets = [f"{one['resourceType']}/{one['id']}" for one in about]
    return [device, *about, provenance(alert, targets)]


def _alert(alert: Alert, patients: str, observations: list[Resource]) -> Resource:
    priority = alert.priority.value
    found: Resource = {
        "resourceType": "DeviceAlert",
        "id": alert.alert_id,
        "identifier": [{"system": ALERT_IDS, "value": alert.alert_id}],
        "status": _status(alert),
        "type": concept((_TYPE, alert.kind.value, None)),
        "priority": concept((_PRIORITY, priority, f"{priority.capitalize()} Priority")),
        "code": condition_code(alert),
        "subject": subject(alert, patients),
        "occurrence": occurrence(alert),
        "device": device_reference(alert.site, alert.device),
        "label": text_of(alert.text),
    }
    if alert.synthetic:
        security = {
            "system": "http://terminology.hl7.org/CodeSystem/v3-ActReason",
            "code": "HTEST",
        }
        found["meta"] = {"security": [security]}
    if observations:
        found["derivedFrom"] = [
            {"observation": {"reference": f"Observation/{one['id']}"}} for one in observations
        ]
    return found


def _status(alert: Alert) -> str:
    if alert.phase is not Phase.END:
        return "in-progress"
    return "completed" if end_was_seen(alert) else "unknown"
