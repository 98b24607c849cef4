"""Makes what a board receives: what is active at a device."""

from __future__ import annotations

from support.factories import NOON
from tocsin_agent.messages.active import Active, ActiveAlert, AlertState, MonitorState
from tocsin_agent.messages.alert import Kind, Priority
from tocsin_agent.messages.topics import Address, Branch
from tocsin_agent.team.feed import ActiveSeen

ALERT_ID = "3fa2c1" + "0" * 26


def active_alert(**more: object) -> ActiveAlert:
    """Give an open ventricular tachycardia that nobody has accepted."""
    fields: dict[str, object] = {
        "alert_id": ALERT_ID,
        "sequence": 1,
        "code": "ventricular_tachycardia",
        "kind": Kind.PHYSIOLOGICAL,
        "priority": Priority.HIGH,
        "state": AlertState.UNACKNOWLEDGED,
        "since": NOON,
        "text": "Ventricular tachycardia: 6 ventricular beats in a row at 162/min.",
        "level": "team",
    }
    return ActiveAlert(**(fields | more))  # type: ignore[arg-type]


def active_document(device: str, *alerts: ActiveAlert, **more: object) -> Active:
    """Give what is active at a device of ward 3."""
    fields: dict[str, object] = {
        "site": "ward3",
        "device": device,
        "at": NOON,
        "monitor": MonitorState.MONITORING,
        "location": f"ward 3, {device.replace('bed', 'bed ')}",
        "alerts": alerts,
    }
    return Active(**(fields | more))  # type: ignore[arg-type]


def active_of(
    device: str, *alerts: ActiveAlert, retained: bool = False, **more: object
) -> ActiveSeen:
    """Give the item of such a message."""
    address = Address(Branch.ACTIVE, "ward3", device, "")
    return ActiveSeen(active_document(device, *alerts, **more), address, "t", retained)
