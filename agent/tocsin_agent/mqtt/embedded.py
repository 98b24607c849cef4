"""An MQTT broker for the demo: iotcore's, on the loopback only.

It keeps nothing across a restart and wants no password. For patients, run a real broker
(`config/broker/mosquitto.conf`).
"""

from __future__ import annotations

import logging
import socket
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Self

import msgspec

from tocsin_agent.errors import DeliveryError, DeliveryFault, MissingExtraError
from tocsin_agent.mqtt.settings import MqttSettings

if TYPE_CHECKING:
    from iotcore import Broker

log = logging.getLogger(__name__)

LOOPBACK = "127.0.0.1"
MAX_PAYLOAD_BYTES = 1_048_576
"""Largest payload; iotcore's default of 20,480 bytes is too small for a strip of two leads."""
_TRIES = 3
_START_TIMEOUT_S = 15.0

_TOML = """\
id = 0

[router]
id = 0
max_connections = 64
max_outgoing_packet_count = 200
max_segment_size = 10485760
max_segment_count = 4
"""
_LISTENER = """
[v{major}.1]
name = "v{major}"
listen = "{host}:{port}"
next_connection_delay_ms = 1
    [v{major}.1.connections]
    connection_timeout_ms = 60000
    max_payload_size = {max_payload}
    max_inflight_count = 100
    dynamic_filters = true
"""


class EmbeddedBroker:
    """A broker in a child process that ends with this one; a context manager.

    Parameters
    ----------
    port_v5, port_v4 : int
        Ports for MQTT 5 and 3.1.1; 0 for any free one.

    Raises
    ------
    MissingExtraError
        On entering, if iotcore is not installed.
    DeliveryError
        On entering, if a given port is in use or the broker does not start.
    """

    host = LOOPBACK

    def __init__(self, port_v5: int = 0, port_v4: int = 0) -> None:
        self.port_v5, self.port_v4 = port_v5, port_v4
        self._wanted = (port_v5, port_v4)
        self._exits = ExitStack()

    def settings(self, version: str = "5") -> MqttSettings:
        """Return the settings with which a client connects to it.

        Additions are in the document: a message with user properties that reaches a client of MQTT
        3.1.1 ends iotcore's listener for that version.
        """
        port = self.port_v5 if version == "5" else self.port_v4
        return msgspec.convert(
            {"host": self.host, "port": port, "version": version, "additions": "document"},
            MqttSettings,
        )

    def __enter__(self) -> Self:
        broker = self._start()
        self._exits.callback(broker.stop)
        log.info("embedded broker: %s:%d (MQTT 5), %d (3.1.1)", self.host, *self.ports)
        return self

    def __exit__(self, *_: object) -> None:
        self._exits.close()

    @property
    def ports(self) -> tuple[int, int]:
        """The ports for MQTT 5 and 3.1.1."""
        return self.port_v5, self.port_v4

    def _start(self) -> Broker:
        try:
            from iotcore import Broker  # noqa: PLC0415  # an extra
        except ImportError as exc:
            raise MissingExtraError(
                "demo", "the embedded broker is not installed: pip install 'tocsin[demo]'"
            ) from exc
        folder = Path(self._exits.enter_context(tempfile.TemporaryDirectory(prefix="tocsin-")))
        # A free port may be taken by another process before the broker binds it.
        for left in reversed(range(_TRIES)):
            self.port_v5, self.port_v4 = _choose_ports(*self._wanted)
            config = folder / "broker.toml"
            config.write_text(self._toml(), encoding="utf-8")
            broker = Broker(config_path=str(config))
            try:
                broker.start(timeout=_START_TIMEOUT_S)
            except (OSError, RuntimeError) as exc:
                if left and 0 in self._wanted:
                    continue
                self._exits.close()
                raise DeliveryError(
                    DeliveryFault.BROKER_UNREACHABLE,
                    f"the embedded broker does not start on {self.host}, ports {self.ports} "
                    f"({exc}): choose other ports",
                ) from exc
            return broker
        raise AssertionError("unreachable")

    def _toml(self) -> str:
        listeners = (
            _LISTENER.format(major=major, host=self.host, port=port, max_payload=MAX_PAYLOAD_BYTES)
            for major, port in ((4, self.port_v4), (5, self.port_v5))
        )
        return _TOML + "".join(listeners)


def _choose_ports(*wanted: int) -> tuple[int, ...]:
    """Replace each 0 by a free port; all are different."""
    with ExitStack() as probes:
        ports = []
        for port in wanted:
            if not port:
                probe = probes.enter_context(socket.socket())
                probe.bind((LOOPBACK, 0))
                port = int(probe.getsockname()[1])  # noqa: PLW2901
            ports.append(port)
        return tuple(ports)
