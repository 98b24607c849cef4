"""What the MQTT wire makes of the faults of the broker that carries the ECG."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from tocsin_agent.errors import DeliveryError, DeliveryFault, SourceFault
from tocsin_agent.sources.devices.wires import mqtt


@pytest.mark.parametrize(
    ("fault", "year", "reason", "words"),
    [
        (DeliveryFault.BROKER_REFUSED, 2026, SourceFault.REFUSED, "not yet"),
        (DeliveryFault.BROKER_UNREACHABLE, 1970, SourceFault.UNREACHABLE, "not yet"),
        (DeliveryFault.TLS, 2026, SourceFault.CERTIFICATE, "not yet"),
        (DeliveryFault.TLS, 1970, SourceFault.CLOCK_NOT_SET, "the clock of this gateway"),
    ],
)
def test_each_fault_of_the_broker_is_named(
    fault: DeliveryFault,
    year: int,
    reason: SourceFault,
    words: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Clock(datetime):
        @classmethod
        def now(cls, tz: object = None) -> datetime:  # type: ignore[override]  # noqa: ARG003
            return datetime(year, 1, 1, tzinfo=UTC)

    monkeypatch.setattr(mqtt, "datetime", Clock)
    error = mqtt.fault_of(DeliveryError(fault, "not yet valid"))
    assert error.reason is reason
    assert words in str(error)
