"""Makes the paho client of a connection: protocol version, will, password and TLS."""

from __future__ import annotations

import logging
import ssl
from typing import Literal

from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from tocsin_agent.errors import DeliveryError, DeliveryFault
from tocsin_agent.mqtt.advice import explain
from tocsin_agent.mqtt.library import paho
from tocsin_agent.mqtt.password import read_password
from tocsin_agent.mqtt.settings import MqttSettings, TlsSettings

log = logging.getLogger(__name__)

_TOO_LARGE, _IMPLEMENTATION_SPECIFIC = 0x95, 0x83
_SESSION_EXPIRY_S = 7 * 24 * 3600


class TolerantClient(paho.Client):
    """Reads an acknowledgement whose reason MQTT 5 does not allow there, as mosquitto 2.0 sends it.

    It answers a message beyond its `message_size_limit` with 0x95, packet too large, which paho
    takes for a broken connection. It is a refusal of that one message.

    Attributes
    ----------
    too_large : set of int
        The messages that were refused so, by id.
    """

    too_large: set[int]

    def _handle_pubackcomp(self, cmd: Literal["PUBACK", "PUBCOMP"]) -> MQTTErrorCode:
        packet = bytearray(self._in_packet["packet"])
        if cmd == "PUBACK" and len(packet) > 2 and packet[2] == _TOO_LARGE:
            packet[2] = _IMPLEMENTATION_SPECIFIC
            self.too_large.add(int.from_bytes(packet[:2], "big"))
            self._in_packet["packet"] = packet
        return super()._handle_pubackcomp(cmd)


def make_client(settings: MqttSettings, client_id: str, *, keep_session: bool) -> paho.Client:
    """Make a client that has no thread, no queue and no reconnection of its own.

    Raises
    ------
    DeliveryError
        BROKER_REFUSED if the password file, TLS if a certificate file cannot be read.
    """
    v5 = settings.version == "5"
    client = TolerantClient(
        CallbackAPIVersion.VERSION2,
        client_id=client_id,
        clean_session=None if v5 else not keep_session,
        protocol=MQTTProtocolVersion.MQTTv5 if v5 else MQTTProtocolVersion.MQTTv311,
        reconnect_on_failure=False,
        manual_ack=True,
    )
    client.too_large = set()
    client.connect_timeout = settings.connect_timeout_s
    client.max_inflight_messages = 0  # no limit here: the owner of the connection has one
    if settings.username is not None:
        client.username_pw_set(settings.username, _password(settings))
        if settings.tls is None and not settings.local:
            log.warning(
                "the password for %s:%d is sent unencrypted (mqtt.allow_plaintext): set mqtt.tls",
                settings.host,
                settings.port,
            )
    if settings.tls is not None:
        client.tls_set_context(tls_context(settings.tls))
    return client


def connect(client: paho.Client, settings: MqttSettings, *, keep_session: bool) -> None:
    """Open the socket and send CONNECT.

    Raises
    ------
    DeliveryError
        TLS or BROKER_UNREACHABLE, with what to do about it.
    """
    clean_start: bool | Literal[3] = paho.MQTT_CLEAN_START_FIRST_ONLY
    properties = None
    if settings.version == "5":
        clean_start = not keep_session
        properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        properties.SessionExpiryInterval = _SESSION_EXPIRY_S if keep_session else 0
    try:
        client.connect(
            settings.host,
            settings.port,
            keepalive=settings.keepalive_s,
            clean_start=clean_start,
            properties=properties,
        )
    except (OSError, ValueError) as exc:
        raise explain(exc, settings.host, settings.port) from exc


def tls_context(tls: TlsSettings) -> ssl.SSLContext:
    """Return the context of a connection.

    Raises
    ------
    DeliveryError
        TLS if a certificate or a key cannot be read, or they do not belong together.
    """
    try:
        context = ssl.create_default_context(cafile=tls.ca_file)
        if tls.cert_file:
            context.load_cert_chain(tls.cert_file, tls.key_file)
    except (OSError, ssl.SSLError) as exc:
        raise DeliveryError(
            DeliveryFault.TLS,
            f"the TLS files cannot be used ({exc}): check mqtt.tls.ca_file, cert_file and key_file",
        ) from exc
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.sslsocket_class = _ClosingSslSocket
    return context


class _ClosingSslSocket(ssl.SSLSocket):
    """Closes itself when the handshake fails, which paho does not do."""

    def do_handshake(self, block: bool = False) -> None:  # as inherited
        try:
            super().do_handshake(block)
        except BaseException:
            self.close()
            raise


def _password(settings: MqttSettings) -> str | None:
    try:
        return read_password(settings.password_file)
    except (OSError, ValueError) as exc:
        why = getattr(exc, "strerror", None) or exc
        raise DeliveryError(
            DeliveryFault.BROKER_REFUSED,
            f"the password file {settings.password_file} cannot be used ({why}): check "
            "mqtt.password_file and its permissions",
        ) from exc
