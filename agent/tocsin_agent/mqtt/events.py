"""What happens on a connection: messages, acknowledgements, faults, as paho reports them."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from paho.mqtt.enums import MQTTErrorCode
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from tocsin_agent.errors import DeliveryError, DeliveryFault
from tocsin_agent.mqtt.advice import lost
from tocsin_agent.mqtt.library import paho
from tocsin_agent.mqtt.settings import PASSWORD_VARIABLE, MqttSettings

log = logging.getLogger(__name__)

_NO_SUBSCRIBER = 0x10  # MQTT 5, 3.4.2.1: accepted, but no matching subscribers
_LACKING = {"Retain not supported": "retain", "QoS not supported": "qos"}
_NOT_READY = {"server unavailable", "server busy", "connection rate exceeded"}
"""Answers to a connection after which the same one may be accepted a moment later."""


class Message(NamedTuple):
    """A message that arrived, or that the broker shall publish as a will.

    `user` are its user properties (MQTT 5).
    """

    topic: str
    payload: bytes
    retain: bool = False
    mid: int = 0
    user: Mapping[str, str] = {}


class Ack(NamedTuple):
    """The broker's answer to a publish; `refusal` is empty if it accepted the message.

    `no_subscriber` is true if the broker said that nobody is subscribed (MQTT 5, reason code 16).
    `topic` is that of the message.
    """

    mid: int
    refusal: str
    no_subscriber: bool = False
    topic: str = ""


@dataclass(slots=True)
class Events:
    """What happened in one step of a connection; `woken` if `wake` was called."""

    messages: list[Message] = field(default_factory=list)
    acks: list[Ack] = field(default_factory=list)
    subscribed: list[int] = field(default_factory=list)
    woken: bool = False


class EventCollector:
    """Collects the events of one paho client; its callbacks run in the thread that drives it.

    Parameters
    ----------
    settings : MqttSettings
        Of the connection; named in errors.
    client_id : str
        Of the connection; named in errors.

    Attributes
    ----------
    connected : bool
        True once the broker has accepted the connection.
    fault : DeliveryError or None
        Why the connection ended.
    lacks : set of str
        What the broker does not offer: `retain`, `qos` (1 and 2).
    sent : dict
        Topics of the messages that the broker has not acknowledged, by id.
    receive_maximum, max_packet_bytes : int
        Limits that the broker stated: unacknowledged messages, and bytes of a packet.
    """

    def __init__(self, settings: MqttSettings, client_id: str) -> None:
        self.connected = False
        self.fault: DeliveryError | None = None
        self.sent: dict[int, str] = {}
        self.lacks: set[str] = set()
        self.receive_maximum = 65_535
        self.max_packet_bytes = 268_435_455
        self._settings, self._client_id = settings, client_id
        self._events = Events()

    def attach(self, client: paho.Client) -> None:
        """Have the client report here."""
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_message = self._on_message
        client.on_publish = self._on_publish
        client.on_subscribe = self._on_subscribe

    @property
    def pending(self) -> bool:
        """True where something has happened that was not taken yet."""
        return bool(self._events.acks or self._events.messages)

    def take(self) -> Events:
        """Return what has been collected, and begin anew."""
        events, self._events = self._events, Events()
        return events

    def check(self, rc: MQTTErrorCode) -> None:
        """Record the fault that a call of paho returned, unless one is recorded already."""
        if rc != MQTTErrorCode.MQTT_ERR_SUCCESS and self.fault is None:
            self.fault = self.lost(paho.error_string(rc))

    def lost(self, why: str) -> DeliveryError:
        """Return the error that the connection was lost."""
        return lost(why, self._settings.host, self._settings.port, accepted=self.connected)

    def _on_connect(
        self,
        _client: paho.Client,
        _userdata: object,
        _flags: paho.ConnectFlags,
        reason: ReasonCode,
        properties: Properties | None,
    ) -> None:
        settings = self._settings
        if str(reason).lower() in _NOT_READY:
            self.fault = DeliveryError(
                DeliveryFault.BROKER_UNREACHABLE,
                f"broker {settings.host}:{settings.port} is not ready yet ({reason})",
            )
            return
        if str(reason) in _LACKING:
            self.lacks.add(_LACKING[str(reason)])
        if getattr(properties, "RetainAvailable", 1) == 0:
            self.lacks.add("retain")
        if getattr(properties, "MaximumQoS", 2) == 0:
            self.lacks.add("qos")
        if reason.is_failure:
            user = f"user {settings.username!r}" if settings.username else "no user name"
            self.fault = DeliveryError(
                DeliveryFault.BROKER_REFUSED,
                f"broker {settings.host}:{settings.port} refuses client {self._client_id!r} with "
                f"{user} ({reason}): check mqtt.username, mqtt.password_file or "
                f"{PASSWORD_VARIABLE}, mqtt.version, and the broker's access list",
            )
            return
        self.connected = True
        self.receive_maximum = getattr(properties, "ReceiveMaximum", self.receive_maximum)
        self.max_packet_bytes = getattr(properties, "MaximumPacketSize", self.max_packet_bytes)

    def _on_disconnect(
        self,
        _client: paho.Client,
        _userdata: object,
        flags: paho.DisconnectFlags,
        reason: ReasonCode,
        _properties: Properties | None,
    ) -> None:
        if self.fault is None:
            why = str(reason)
            if flags.is_disconnect_packet_from_server:
                why = f"the broker reports: {reason}"
            if "taken over" in str(reason):
                self.fault = DeliveryError(
                    DeliveryFault.CLIENT_ID_TAKEN,
                    f"the connection to {self._settings.host}:{self._settings.port} was lost "
                    f"({why}); another client uses the id {self._client_id!r}: make ids unique",
                )
                return
            self.fault = self.lost(why)

    def _on_message(
        self, _client: paho.Client, _userdata: object, message: paho.MQTTMessage
    ) -> None:
        try:
            topic = message.topic
        except UnicodeDecodeError:
            topic = ""
        mid = message.mid if message.qos else 0
        user = dict(getattr(message.properties, "UserProperty", ()))
        self._events.messages.append(
            Message(topic, bytes(message.payload), message.retain, mid, user)
        )

    def _on_publish(
        self,
        client: paho.Client,
        _userdata: object,
        mid: int,
        reason: ReasonCode,
        _properties: Properties | None,
    ) -> None:
        refusal = str(reason) if reason.is_failure else ""
        too_large: set[int] = getattr(client, "too_large", set())
        if mid in too_large:
            too_large.discard(mid)
            refusal = "Packet too large"
        topic = self.sent.pop(mid, "")
        self._events.acks.append(Ack(mid, refusal, reason.value == _NO_SUBSCRIBER, topic))

    def _on_subscribe(
        self,
        _client: paho.Client,
        _userdata: object,
        mid: int,
        reasons: list[ReasonCode],
        _properties: Properties | None,
    ) -> None:
        refused = [str(reason) for reason in reasons if reason.is_failure]
        if refused:
            log.error(
                "broker %s:%d refuses a subscription (%s): check the broker's access list for "
                "client %r",
                self._settings.host,
                self._settings.port,
                ", ".join(refused),
                self._client_id,
            )
        self._events.subscribed.append(mid)
