"""What the MQTT wire makes of the faults of the broker that carries the ECG."""

from __future__ import annotations

import socket
import threading
from datetime import UTC, datetime
from typing import Literal

import pytest

from tocsin_agent.errors import DeliveryError, DeliveryFault, SourceError, SourceFault
from tocsin_agent.mqtt.settings import MqttSettings
from tocsin_agent.sources.devices.wires import mqtt


@pytest.mark.parametrize(
    ("fault", "year", "reason", "words"),
    [
        (DeliveryFault.BROKER_REFUSED, 2026, SourceFault.REFUSED, "not yet"),
        (DeliveryFault.BROKER_REFUSED, 1970, SourceFault.REFUSED, "not yet"),
        (DeliveryFault.BROKER_UNREACHABLE, 1970, SourceFault.UNREACHABLE, "not yet"),
        (DeliveryFault.BROKER_UNREACHABLE, 2026, SourceFault.UNREACHABLE, "not yet"),
        (DeliveryFault.TLS, 2026, SourceFault.CERTIFICATE, "not yet"),
        (DeliveryFault.TLS, 2031, SourceFault.CERTIFICATE, "not yet"),
        (DeliveryFault.TLS, 1970, SourceFault.CLOCK_NOT_SET, "the clock of this gateway"),
        (DeliveryFault.TLS, 2000, SourceFault.CLOCK_NOT_SET, "the clock of this gateway"),
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


def test_the_advice_names_the_keys_of_the_source() -> None:
    refused = (
        "refuses: check mqtt.username, mqtt.password_file or TOCSIN_MQTT_PASSWORD, mqtt.version"
    )
    text = str(mqtt.fault_of(DeliveryError(DeliveryFault.BROKER_REFUSED, refused)))
    assert "mqtt." not in text
    assert "the user in source.uri, TOCSIN_MQTT_PASSWORD" in text


@pytest.mark.parametrize(
    ("version", "answer"),
    [("3.1.1", bytes([0x20, 2, 0, 3])), ("5", bytes([0x20, 3, 0, 0x88, 0]))],
)
def test_a_broker_that_is_not_ready_is_tried_again_and_blames_no_password(
    version: Literal["3.1.1", "5"], answer: bytes
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def starting() -> None:
            peer, _ = server.accept()
            with peer:
                peer.recv(999)
                peer.sendall(answer)
                peer.recv(999)

        thread = threading.Thread(target=starting, daemon=True)
        thread.start()
        settings = MqttSettings(
            host="127.0.0.1", port=server.getsockname()[1], version=version, allow_plaintext=True
        )
        with pytest.raises(SourceError) as caught:
            mqtt.MqttWire(settings, "ecg/bed3").open()
        thread.join(60)
    assert caught.value.reason is SourceFault.UNREACHABLE
    assert "is not ready yet" in str(caught.value)
    assert "username" not in str(caught.value)
