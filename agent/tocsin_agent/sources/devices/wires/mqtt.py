"""MQTT: whole frames, in messages on one topic."""

from __future__ import annotations

import contextlib
import secrets
import time
from datetime import UTC, datetime

from tocsin_agent.errors import DeliveryError, DeliveryFault, SourceError, SourceFault
from tocsin_agent.mqtt.connection import Connection
from tocsin_agent.mqtt.settings import MqttSettings
from tocsin_agent.sources.devices.wires.base import Wire
from tocsin_agent.wall_clock import is_set

_DOWN = "/down"


class MqttWire(Wire):
    """Subscribes to the topic of one device, and answers on `topic/down`.

    Parameters
    ----------
    settings : MqttSettings
        How to reach the broker.
    topic : str
        Without wildcards. With `$share/GROUP/TOPIC` a second gateway can take over; only one may be
        connected at a time, because the broker distributes the packets between the members.
    """

    ordered = False

    def __init__(self, settings: MqttSettings, topic: str) -> None:
        plain = topic
        if topic.startswith("$share/"):
            _, group, plain = (topic + "//").split("/", 2)
            plain = plain.removesuffix("//")
            if not group:
                raise ValueError("a shared topic is $share/GROUP/TOPIC")
        if not plain or set(plain) & set("+#"):
            raise ValueError(f"{plain!r}: give the topic of one device, without + or #")
        self.settings, self.topic, self._down = settings, topic, plain + _DOWN
        self._connection: Connection | None = None
        self._begun = False

    def open(self) -> None:
        """Connect to the broker and subscribe."""
        self.close()
        self._begun = False
        self._connection = connection = Connection(
            self.settings, f"tocsin-link-{secrets.token_hex(4)}"
        )
        try:
            connection.open()
            granted = self._subscribe(connection)
        except DeliveryError as error:
            self.close()
            raise fault_of(error) from error
        if not granted:
            self.close()
            raise SourceError(
                SourceFault.UNREACHABLE,
                f"{connection.where} does not answer the subscription to {self.topic}",
            )

    def read(self, timeout_s: float) -> bytes:
        """Return the messages that arrived, each followed by a zero byte."""
        connection = self._connection
        if connection is None:
            raise SourceError(SourceFault.LOST, "the link is not open")
        try:
            messages = connection.step(timeout_s).messages
            for message in messages:
                connection.acknowledge(message)
        except DeliveryError as error:
            raise SourceError(SourceFault.LOST, str(error)) from error
        # What the broker keeps is old: the last packet of a device that may be gone.
        if self.settings.version != "5":  # with MQTT 5 the broker is asked not to send it
            messages = [message for message in messages if not message.retain]
        begin = b"" if self._begun or not messages else b"\0"
        self._begun = self._begun or bool(messages)
        return begin + b"".join(message.payload + b"\0" for message in messages)

    def write(self, data: bytes) -> None:
        """Publish an answer."""
        if self._connection is None or not data:
            return
        with contextlib.suppress(DeliveryError):  # the next `read` raises it
            self._connection.publish(self._down, data, qos=0)

    def why_silent(self) -> str | None:
        """Return that the broker is there, and the device is not."""
        return f"no packet arrives on the topic {self.topic} of {self.settings.host}"

    def _subscribe(self, connection: Connection) -> bool:
        """Subscribe and wait until the broker grants it; False if it does not."""
        wanted = connection.subscribe([self.topic], retained=False)
        until_s = time.monotonic() + self.settings.ack_timeout_s
        while time.monotonic() < until_s:
            if wanted in connection.step(0.1).subscribed:
                return True
        return False

    def close(self) -> None:
        """Disconnect from the broker."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()


_KEYS = {
    "mqtt.username, mqtt.password_file or ": "the user in source.uri, ",
    "mqtt.version": "`version` in source.uri",
    "mqtt.tls.ca_file": "`ca` in source.uri",
    "mqtt.host": "the host in source.uri",
    "mqtt.port": "its port",
    "mqtt.tls": "its scheme, mqtt or mqtts",
}
"""What the advice for the broker of the alerts names, in terms of the source."""


def fault_of(error: DeliveryError) -> SourceError:
    """Return why the broker that carries the ECG cannot be used, as the fault of a source."""
    advice = str(error)
    for key, instead in _KEYS.items():
        advice = advice.replace(key, instead)
    if error.reason is DeliveryFault.TLS:
        if not is_set(datetime.now(UTC)):
            text = f"the clock of this gateway is not set, it needs the date for TLS; {advice}"
            return SourceError(SourceFault.CLOCK_NOT_SET, text)
        return SourceError(SourceFault.CERTIFICATE, advice)
    if error.reason is DeliveryFault.BROKER_REFUSED:
        return SourceError(SourceFault.REFUSED, advice)
    return SourceError(SourceFault.UNREACHABLE, advice)
