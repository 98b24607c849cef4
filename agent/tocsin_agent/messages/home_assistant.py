"""What announces a device to Home Assistant: its MQTT discovery, over the topics that there are.

Home Assistant is no receiver of alarms: it confirms nothing, and nobody has to look at it.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec

from tocsin_agent.messages.topics import Topics

PREFIX = "homeassistant"
_ALERTS = "value_json.alerts | default([], true)"


class Announcement(NamedTuple):
    """A retained message; an empty payload on its topic removes the device."""

    topic: str
    payload: bytes


def announcement(
    site: str, device: str, location: str | None, prefix: str = PREFIX
) -> Announcement:
    """Return the announcement of a device: rate, state, alert, leads and battery.

    Parameters
    ----------
    site, device : str
        As in its topics.
    location : str or None
        The area that is suggested.
    prefix : str
        The discovery prefix of Home Assistant.
    """
    topics = Topics(site, device)
    name = "".join(c if c.isascii() and c.isalnum() else "_" for c in f"tocsin_{site}_{device}")
    about: dict[str, Any] = {
        "identifiers": [f"tocsin/{site}/{device}"],
        "name": f"ECG {site} {device}",
        "manufacturer": "tocsin",
    }
    if location is not None:
        about["suggested_area"] = location
    message = {
        "device": about,
        "origin": {"name": "tocsin"},
        "state_topic": topics.active,
        "availability_topic": topics.status,
        "availability_template": "{{ 'online' if value_json.state == 'online' else 'offline' }}",
        "components": {
            key: {"unique_id": f"{name}_{key}", **entity} for key, entity in _entities(topics)
        },
    }
    return Announcement(f"{prefix}/device/{name}/config", msgspec.json.encode(message))


def _entities(topics: Topics) -> list[tuple[str, dict[str, Any]]]:
    return [
        (
            "heart_rate",
            {
                "platform": "sensor",
                "name": "Heart rate",
                "unit_of_measurement": "bpm",
                "state_class": "measurement",
                "icon": "mdi:heart-pulse",
                "value_template": "{{ value_json.heart_rate_bpm | default(none, true) }}",
            },
        ),
        (
            "state",
            {
                "platform": "sensor",
                "name": "Monitoring",
                "device_class": "enum",
                "options": ["starting", "monitoring", "source_lost", "stopped"],
                "value_template": "{{ value_json.monitor }}",
            },
        ),
        (
            "alert",
            {
                "platform": "sensor",
                "name": "Gravest alert",
                "value_template": (
                    f"{{% set open = {_ALERTS} %}}{{{{ open[0].text[:255] if open else 'none' }}}}"
                ),
                "json_attributes_topic": topics.active,
                "json_attributes_template": "{{ {'alerts': value_json.alerts | default([], true)}"
                " | tojson }}",
            },
        ),
        (
            "high_priority",
            {
                "platform": "binary_sensor",
                "name": "Alert of high priority",
                "device_class": "safety",
                "value_template": _any_alert("priority", "high"),
            },
        ),
        (
            "leads",
            {
                "platform": "sensor",
                "name": "Best lead",
                "unit_of_measurement": "%",
                "value_template": (
                    "{% set q = (value_json.signal_quality | default({'leads': {}}, true)).leads %}"
                    "{{ ((q.values() | max) * 100) | round(0) if q else none }}"
                ),
            },
        ),
        (
            "battery",
            {
                "platform": "binary_sensor",
                "name": "Battery of the ECG device",
                "device_class": "battery",
                "value_template": _any_alert("code", "battery_low"),
            },
        ),
    ]


def _any_alert(field: str, value: str) -> str:
    found = f"({_ALERTS}) | selectattr('{field}', 'eq', '{value}') | list"
    return f"{{{{ 'ON' if {found} else 'OFF' }}}}"
