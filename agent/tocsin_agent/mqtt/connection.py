"""One connection to an MQTT broker, driven by the thread that owns it.

`Connection` wraps a paho client without its thread and without its own queue and reconnection: a link
is opened, stepped, and thrown away when it breaks. Whoever owns it decides what is sent again, so
nothing lives in two queues.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import selectors
import socket
import ssl
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from tocsin_agent.errors import DeliveryError, DeliveryFault
from tocsin_agent.mqtt.settings import PASSWORD_VARIABLE, MqttSettings

log = logging.getLogger(__name__)

_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_STEP_MAX_S = 1.0  # paho's keepalive is looked after at least this often
_SESSION_EXPIRY_S = 7 * 24 * 3600


class Message(NamedTuple):
    """What arrived, or what the broker shall publish as a will."""

    topic: str
    payload: bytes
    retain: bool = False
    mid: int = 0


class Ack(NamedTuple):
    """The broker's answer to a publish; `refusal` is empty where it took the message."""

    mid: int
    refusal: str


@dataclass(slots=True)
class Events:
    """What happened in one step of a link."""

    messages: list[Message] = field(default_factory=list)
    acks: list[Ack] = field(default_factory=list)
    subscribed: list[int] = field(default_factory=list)


class Connection:
    """One connection, from `open` to `close` or to the first error.

    Used by one thread; only `wake` may be called from another.

    Parameters
    ----------
    settings : MqttSettings
        How to reach the broker.
    client_id : str
        Used unless the settings name one.
    will : Message, optional
        Published by the broker when the connection dies.
    keep_session : bool
        True to find the subscriptions, and what was missed, on the next connection.
    """

    def __init__(
        self,
        settings: MqttSettings,
        client_id: str,
        *,
        will: Message | None = None,
        keep_session: bool = False,
    ) -> None:
        self.settings = settings
        self.client_id = settings.client_id or client_id
        self.receive_maximum = 65_535
        self.max_packet_bytes = 268_435_455
        self.session_present = False
        self._will = will
        self._keep_session = keep_session
        self._events = Events()
        self._connected = False
        self._fault: DeliveryError | None = None
        self._client: paho.Client | None = None
        self._selector = selectors.DefaultSelector()
        self._wake_in, self._wake_out = socket.socketpair()
        self._wake_in.setblocking(False)
        self._wake_out.setblocking(False)

    @property
    def where(self) -> str:
        """Host and port, for messages."""
        return f"{self.settings.host}:{self.settings.port}"

    @property
    def alive(self) -> bool:
        """False once the connection is known to be lost."""
        return self._connected and self._fault is None

    # -- connecting ---------------------------------------------------------------------------

    def open(self) -> None:
        """Connect, and wait until the broker has accepted.

        Raises
        ------
        DeliveryError
            TLS, BROKER_REFUSED or BROKER_UNREACHABLE, with what to do about it.
        """
        try:
            self._connect()
        except BaseException:
            self.abort()
            raise

    def _connect(self) -> None:
        v5 = self.settings.version == "5"
        client = paho.Client(
            CallbackAPIVersion.VERSION2,
            client_id=self.client_id,
            clean_session=None if v5 else not self._keep_session,
            protocol=MQTTProtocolVersion.MQTTv5 if v5 else MQTTProtocolVersion.MQTTv311,
            reconnect_on_failure=False,
            manual_ack=True,
        )
        self._client = client
        client.connect_timeout = self.settings.connect_timeout_s
        client.max_inflight_messages = 0  # the owner keeps the window
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_message = self._on_message
        client.on_publish = self._on_publish
        client.on_subscribe = self._on_subscribe
        if self._will is not None:
            client.will_set(self._will.topic, self._will.payload, qos=1, retain=self._will.retain)
        self._authenticate(client)
        properties = None
        if v5:
            properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
            properties.SessionExpiryInterval = _SESSION_EXPIRY_S if self._keep_session else 0
        try:
            client.connect(
                self.settings.host,
                self.settings.port,
                keepalive=self.settings.keepalive_s,
                clean_start=not self._keep_session if v5 else paho.MQTT_CLEAN_START_FIRST_ONLY,
                properties=properties,
            )
        except (OSError, ValueError) as exc:
            raise self._explain(exc) from exc
        sock = client.socket()
        if sock is None:
            raise self._lost("closed while connecting")
        self._selector.register(sock, selectors.EVENT_READ)
        self._selector.register(self._wake_in, selectors.EVENT_READ)
        deadline = time.monotonic() + self.settings.ack_timeout_s
        while not self._connected:
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                raise DeliveryError(
                    DeliveryFault.BROKER_UNREACHABLE,
                    f"{self.where} accepts connections but does not answer as an MQTT broker: "
                    "check mqtt.port, and mqtt.tls if that port expects TLS",
                )
            self._turn(left_s)

    def _authenticate(self, client: paho.Client) -> None:
        settings = self.settings
        if settings.username is not None:
            client.username_pw_set(settings.username, _password(settings))
        if settings.tls is None:
            if settings.username is not None and settings.host not in _LOOPBACK:
                log.warning("the password for %s travels unencrypted: set mqtt.tls", self.where)
            return
        try:
            context = ssl.create_default_context(cafile=settings.tls.ca_file)
            if settings.tls.cert_file:
                context.load_cert_chain(settings.tls.cert_file, settings.tls.key_file)
        except (OSError, ssl.SSLError) as exc:
            raise DeliveryError(
                DeliveryFault.TLS,
                f"the TLS files cannot be used ({exc}): check mqtt.tls.ca_file, cert_file and "
                "key_file",
            ) from exc
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.sslsocket_class = _TidySslSocket
        client.tls_set_context(context)

    def _explain(self, exc: OSError | ValueError) -> DeliveryError:
        where = self.where
        if isinstance(exc, ssl.SSLCertVerificationError):
            return DeliveryError(
                DeliveryFault.TLS,
                f"the certificate of {where} is not trusted ({exc.verify_message}): check "
                "mqtt.tls.ca_file, mqtt.host and this device's clock",
            )
        if isinstance(exc, ssl.SSLError):
            return DeliveryError(
                DeliveryFault.TLS,
                f"no TLS with {where} ({exc.reason or exc}): check mqtt.port and mqtt.tls",
            )
        if isinstance(exc, socket.gaierror):
            advice = "the name is not known: check mqtt.host and the name service"
        elif isinstance(exc, ConnectionRefusedError):
            advice = "nothing listens there: start the broker, or check mqtt.host and mqtt.port"
        elif isinstance(exc, TimeoutError):
            advice = "no answer: check the uplink and the firewall"
        elif isinstance(exc, OSError) and exc.errno in (errno.ENETUNREACH, errno.EHOSTUNREACH):
            advice = "no route: check the uplink"
        else:
            advice = f"{exc}: check mqtt.host, mqtt.port and the uplink"
        return DeliveryError(
            DeliveryFault.BROKER_UNREACHABLE, f"broker {where} is unreachable, {advice}"
        )

    # -- talking ------------------------------------------------------------------------------

    def publish(
        self, topic: str, payload: bytes, *, qos: Literal[0, 1] = 1, retain: bool = False
    ) -> int:
        """Hand a message to the connection and return its id, which an `Ack` will name.

        Raises
        ------
        DeliveryError
            If the connection broke; the message may or may not have left.
        """
        info = self._require().publish(topic, payload, qos=qos, retain=retain)
        self._check(info.rc)
        return info.mid

    def subscribe(self, filters: list[str]) -> int:
        """Subscribe at QoS 1; `Events.subscribed` will name the id that is returned."""
        client = self._require()
        if self.settings.version == "5":
            options = SubscribeOptions(qos=1, retainAsPublished=True)
            rc, mid = client.subscribe([(name, options) for name in filters])
        else:
            rc, mid = client.subscribe([(name, 1) for name in filters])
        self._check(rc)
        return mid or 0

    def acknowledge(self, message: Message) -> None:
        """Tell the broker that a message is safe and need not come again."""
        if message.mid:
            self._check(self._require().ack(message.mid, 1))

    def step(self, timeout_s: float) -> Events:
        """Wait for traffic, for `wake` or for the time to pass, and return what happened.

        Raises
        ------
        DeliveryError
            BROKER_UNREACHABLE once the connection is lost. Acknowledgements that came before are
            returned first.
        """
        if self._fault is None:
            self._turn(timeout_s)
        events, self._events = self._events, Events()
        if self._fault is not None and not (events.acks or events.messages):
            raise self._fault
        return events

    def wake(self) -> None:
        """End the present or next `step` early; may be called from any thread, at any time."""
        with contextlib.suppress(OSError):
            self._wake_out.send(b"!")

    def close(self) -> None:
        """Say goodbye, so that the broker does not publish the will."""
        if self._client is not None and self._connected:
            self._client.disconnect()
        self.abort()

    def abort(self) -> None:
        """Drop the connection without a word: the broker will publish the will."""
        self._connected = False
        self._selector.close()
        self._wake_in.close()
        self._wake_out.close()
        if self._client is not None:
            self._client.on_disconnect = None
            sock = self._client.socket()
            if sock is not None:
                sock.close()
            self._client = None

    def _turn(self, timeout_s: float) -> None:
        client = self._require()
        sock = client.socket()
        if sock is None:
            raise self._fault or self._lost("closed")
        wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if client.want_write() else 0)
        self._selector.modify(sock, wanted)
        if isinstance(sock, ssl.SSLSocket) and sock.pending():
            timeout_s = 0.0
        ready = self._selector.select(max(0.0, min(timeout_s, _STEP_MAX_S)))
        for key, mask in ready:
            if key.fileobj is self._wake_in:
                with contextlib.suppress(BlockingIOError):
                    self._wake_in.recv(4096)
            elif mask & selectors.EVENT_WRITE:
                self._check(client.loop_write())
        # TLS may hold decrypted packets that the selector cannot see: read until none is left.
        self._check(client.loop_read())
        while self._fault is None and isinstance(sock, ssl.SSLSocket) and sock.pending():
            self._check(client.loop_read())
        self._check(client.loop_misc())
        if self._fault is not None and not self._connected:
            raise self._fault

    def _require(self) -> paho.Client:
        if self._client is None:
            raise self._fault or self._lost("closed")
        return self._client

    def _check(self, rc: MQTTErrorCode) -> None:
        if rc != MQTTErrorCode.MQTT_ERR_SUCCESS and self._fault is None:
            self._fault = self._lost(paho.error_string(rc))

    def _lost(self, why: str) -> DeliveryError:
        said = f"the connection to {self.where} was lost ({why})"
        if not self._connected:
            said = (
                f"{self.where} hung up before MQTT began ({why}): check mqtt.port, mqtt.version, "
                "and mqtt.tls if that port expects TLS"
            )
        return DeliveryError(DeliveryFault.BROKER_UNREACHABLE, said)

    # -- paho's callbacks, all in the owner's thread ------------------------------------------

    def _on_connect(
        self,
        _client: paho.Client,
        _userdata: object,
        flags: paho.ConnectFlags,
        reason: ReasonCode,
        properties: Properties | None,
    ) -> None:
        if reason.is_failure:
            user = f"user {self.settings.username!r}" if self.settings.username else "no user name"
            self._fault = DeliveryError(
                DeliveryFault.BROKER_REFUSED,
                f"broker {self.where} refuses client {self.client_id!r} with {user} ({reason}): "
                f"check mqtt.username, mqtt.password_file or {PASSWORD_VARIABLE}, mqtt.version, "
                "and the broker's access list",
            )
            return
        self._connected = True
        self.session_present = flags.session_present
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
        if self._fault is None:
            why = f"the broker says: {reason}" if flags.is_disconnect_packet_from_server else reason
            if "taken over" in str(reason):
                why = f"{why}; another client uses the id {self.client_id!r}: make ids unique"
            self._fault = self._lost(str(why))

    def _on_message(
        self, _client: paho.Client, _userdata: object, message: paho.MQTTMessage
    ) -> None:
        try:
            topic = message.topic
        except UnicodeDecodeError:
            topic = ""
        mid = message.mid if message.qos else 0
        self._events.messages.append(Message(topic, bytes(message.payload), message.retain, mid))

    def _on_publish(
        self,
        _client: paho.Client,
        _userdata: object,
        mid: int,
        reason: ReasonCode,
        _properties: Properties | None,
    ) -> None:
        self._events.acks.append(Ack(mid, str(reason) if reason.is_failure else ""))

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
                "broker %s refuses a subscription (%s): check the broker's access list for "
                "client %r",
                self.where,
                ", ".join(refused),
                self.client_id,
            )
        self._events.subscribed.append(mid)


class _TidySslSocket(ssl.SSLSocket):
    """Closes itself when the handshake fails: paho drops such a socket unclosed."""

    def do_handshake(self, block: bool = False) -> None:  # as inherited
        try:
            super().do_handshake(block)
        except BaseException:
            self.close()
            raise


def _password(settings: MqttSettings) -> str | None:
    if settings.password_file is None:
        return os.environ.get(PASSWORD_VARIABLE)
    try:
        return Path(settings.password_file).read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as exc:
        raise DeliveryError(
            DeliveryFault.BROKER_REFUSED,
            f"the password file {settings.password_file} cannot be read ({exc}): check "
            "mqtt.password_file and its rights",
        ) from exc


def publish_retained(connection: Connection, topic: str, payload: bytes) -> None:
    """Publish a retained message and wait until the broker has acknowledged it.

    Raises
    ------
    DeliveryError
        If the broker refuses it, does not answer in time, or the connection is lost.
    """
    mid = connection.publish(topic, payload, retain=True)
    timeout_s = connection.settings.ack_timeout_s
    deadline = time.monotonic() + timeout_s
    while (left_s := deadline - time.monotonic()) > 0:
        for ack in connection.step(left_s).acks:
            if ack.mid == mid and ack.refusal:
                raise DeliveryError(
                    DeliveryFault.BROKER_REFUSED,
                    f"broker {connection.where} refuses {topic} ({ack.refusal}): check its access "
                    "list",
                )
            if ack.mid == mid:
                return
    raise DeliveryError(
        DeliveryFault.BROKER_UNREACHABLE,
        f"broker {connection.where} did not acknowledge within {timeout_s:g} s",
    )
