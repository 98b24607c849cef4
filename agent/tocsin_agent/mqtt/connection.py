"""One connection to an MQTT broker, driven by the thread that owns it.

`Connection` uses a paho client without paho's thread, queue and reconnection. It is opened,
stepped, and thrown away when it breaks. Its owner decides what is sent again, so that no message
waits in two queues.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import socket
import ssl
import time
from collections.abc import Mapping
from typing import Literal

from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

from tocsin_agent.errors import DeliveryError, DeliveryFault
from tocsin_agent.mqtt.advice import no_answer
from tocsin_agent.mqtt.client import connect, make_client
from tocsin_agent.mqtt.events import EventCollector, Events, Message
from tocsin_agent.mqtt.library import paho
from tocsin_agent.mqtt.settings import MqttSettings
from tocsin_agent.signing.envelope import PROPERTY, Signer

_STEP_MAX_S = 1.0  # paho checks the keepalive at least this often
_RESTRICTIONS = {
    "retain": (
        "keeps no retained messages",
        "a screen that connects later sees no status and no open alerts; set retain_available",
    ),
    "qos": (
        "offers no QoS 1",
        "it confirms no alert, and what is lost is not noticed; raise max_qos there",
    ),
}
_END_MAX_S = 0.5  # a broker that ends its side of a connection later is not waited for
_READ_MAX_S = 0.02  # a flood of messages is read for so long at once


class Connection:
    """One connection, from `open` to `close` or to the first error.

    Used by one thread; only `wake` may be called from another.

    Reason for its size: one method for each thing that MQTT does.

    Parameters
    ----------
    settings : MqttSettings
        How to reach the broker.
    client_id : str
        Used unless the settings name one.
    will : Message, optional
        Published by the broker when the connection breaks.
    signer : Signer, optional
        Signs every message that is published, and the will.
    keep_session : bool
        True to find the subscriptions, and what was missed, on the next connection.

    Attributes
    ----------
    where : str
        Host and port, for messages.
    receive_maximum : int
        Unacknowledged messages that the broker accepts; known once open.
    max_packet_bytes : int
        Largest packet that the broker accepts; known once open.
    """

    def __init__(
        self,
        settings: MqttSettings,
        client_id: str,
        *,
        will: Message | None = None,
        keep_session: bool = False,
        signer: Signer | None = None,
    ) -> None:
        self.settings = settings
        self.where = f"{settings.host}:{settings.port}"
        self._client_id = settings.client_id or client_id
        self._will, self._keep_session = will, keep_session
        self._signer = signer if settings.version == "5" else None  # 3.1.1 has no properties
        self._collector = EventCollector(settings, self._client_id)
        self.receive_maximum = self._collector.receive_maximum
        self.max_packet_bytes = self._collector.max_packet_bytes
        self._client: paho.Client | None = None
        self._waiter = _Waiter()
        self._lacks: set[str] = set()

    @property
    def alive(self) -> bool:
        """False once the connection is known to be lost."""
        return self._collector.connected and self._collector.fault is None

    def open(self) -> None:
        """Connect, and wait until the broker has accepted.

        Raises
        ------
        DeliveryError
            TLS, BROKER_REFUSED or BROKER_UNREACHABLE, with what to do about it.
        """
        while True:
            try:
                self._open()
            except DeliveryError:
                lacks = self._collector.lacks - self._lacks
                if not lacks:
                    raise
                # The broker refused the will: without what it lacks it may accept.
                self._lacks |= lacks
                self._collector = EventCollector(self.settings, self._client_id)
                self._waiter = _Waiter()
            else:
                self._lacks |= self._collector.lacks
                return

    @property
    def restrictions(self) -> dict[str, tuple[str, str]]:
        """What the broker does not do, and what that means; by `retain` and `qos`."""
        return {name: _RESTRICTIONS[name] for name in sorted(self._lacks)}

    def _open(self) -> None:
        settings, collector = self.settings, self._collector
        with contextlib.ExitStack() as on_error:
            on_error.callback(self.abort)
            client = make_client(settings, self._client_id, keep_session=self._keep_session)
            self._client = client
            collector.attach(client)
            if self._will is not None:
                will = self._will
                properties = _properties(PacketTypes.WILLMESSAGE, self._signer, will)
                client.will_set(
                    will.topic,
                    will.payload,
                    qos=0 if "qos" in self._lacks else 1,
                    retain=will.retain and "retain" not in self._lacks,
                    properties=properties,
                )
            connect(client, settings, keep_session=self._keep_session)
            deadline = time.monotonic() + settings.ack_timeout_s
            while not collector.connected:
                left_s = deadline - time.monotonic()
                if left_s <= 0:
                    raise no_answer(settings.host, settings.port)
                self._turn(client, left_s)
            on_error.pop_all()
        self.receive_maximum = collector.receive_maximum
        self.max_packet_bytes = collector.max_packet_bytes

    def publish(
        self,
        topic: str,
        payload: bytes,
        *,
        qos: Literal[0, 1] = 1,
        retain: bool = False,
        user: Mapping[str, str] | None = None,
        signer: Signer | None = None,
    ) -> int:
        """Send a message and return its id, which an `Ack` will name.

        Parameters
        ----------
        topic : str
        payload : bytes
        qos : int
        retain : bool
        user : mapping, optional
            User properties; MQTT 3.1.1 has none, and sends the message without them.
        signer : Signer, optional
            Signs this message in place of the connection's own.

        Raises
        ------
        DeliveryError
            If the connection is closed or lost; the message may or may not have been sent.
        """
        message = Message(topic, payload, user=(user or {}) if self.settings.version == "5" else {})
        qos = 0 if "qos" in self._lacks else qos
        retain = retain and "retain" not in self._lacks
        properties = _properties(PacketTypes.PUBLISH, signer or self._signer, message)
        info = self._require().publish(
            topic, payload, qos=qos, retain=retain, properties=properties
        )
        self._collector.check(info.rc)
        if qos:
            self._collector.sent[info.mid] = topic
        return info.mid

    def subscribe(self, filters: list[str], *, retained: bool = True) -> int:
        """Subscribe at QoS 1; `Events.subscribed` will name the id that is returned.

        Parameters
        ----------
        filters : list of str
            Topics, which may have wildcards.
        retained : bool
            False asks the broker for no retained messages; MQTT 3.1.1 cannot ask for that.
        """
        client = self._require()
        if self.settings.version == "5":
            options = SubscribeOptions(
                qos=1,
                retainAsPublished=True,
                retainHandling=(
                    SubscribeOptions.RETAIN_SEND_ON_SUBSCRIBE
                    if retained
                    else SubscribeOptions.RETAIN_DO_NOT_SEND
                ),
            )
            rc, mid = client.subscribe([(name, options) for name in filters])
        else:
            rc, mid = client.subscribe([(name, 1) for name in filters])
        self._collector.check(rc)
        return mid or 0

    def unsubscribe(self, filters: list[str]) -> None:
        """End subscriptions; what the broker has sent already arrives all the same."""
        rc, _ = self._require().unsubscribe(filters)
        self._collector.check(rc)

    def acknowledge(self, message: Message) -> None:
        """Acknowledge a message to the broker, which then does not send it again."""
        if message.mid:
            self._collector.check(self._require().ack(message.mid, 1))

    def step(self, timeout_s: float) -> Events:
        """Wait for traffic, for `wake` or for the timeout, and return what happened.

        Raises
        ------
        DeliveryError
            BROKER_UNREACHABLE once the connection is lost. Acknowledgements and messages that
            arrived before are returned first.
        """
        if self._collector.fault is None:
            # Without QoS 1 a message counts as sent at once, before this step.
            self._turn(self._require(), 0.0 if self._collector.pending else timeout_s)
        events = self._collector.take()
        events.woken = self._waiter.woken
        if self._collector.fault is not None and not (events.acks or events.messages):
            raise self._collector.fault
        return events

    def wake(self) -> None:
        """End the present or the next `step` early; any thread may call it at any time."""
        self._waiter.wake()

    def close(self) -> None:
        """Disconnect, so that the broker does not publish the will."""
        client = self._client
        sock = client.socket() if client is not None and self._collector.connected else None
        if client is not None and sock is not None:
            try:
                same = socket.socket(fileno=os.dup(sock.fileno()))  # paho closes its own at once
            except OSError:  # no file descriptor is left
                client.disconnect()
            else:
                with same:
                    client.disconnect()
                    _end(same)
        self.abort()

    def abort(self) -> None:
        """Close the socket without disconnecting: the broker will publish the will."""
        self._collector.connected = False
        self._waiter.close()
        if self._client is not None:
            self._client.on_disconnect = None
            sock = self._client.socket()
            if sock is not None:
                sock.close()
            self._client = None

    def _turn(self, client: paho.Client, timeout_s: float) -> None:
        collector, sock = self._collector, client.socket()
        if sock is None:
            raise collector.fault or collector.lost("closed")
        ready = self._waiter.wait(sock, min(timeout_s, _STEP_MAX_S), write=client.want_write())
        if ready & selectors.EVENT_WRITE:
            collector.check(client.loop_write())
        until_s = time.monotonic() + _READ_MAX_S
        readable = bool(ready & selectors.EVENT_READ)
        while collector.fault is None and readable:
            collector.check(client.loop_read())
            # TLS may hold decrypted packets that the selector cannot see.
            held = isinstance(sock, ssl.SSLSocket) and sock.pending() > 0
            readable = held or (time.monotonic() < until_s and self._waiter.readable(sock))
        collector.check(client.loop_misc())
        if collector.fault is not None and not collector.connected:
            raise collector.fault

    def _require(self) -> paho.Client:
        if self._client is None:
            raise self._collector.fault or self._collector.lost("closed")
        return self._client


def _end(sock: socket.socket) -> None:
    """End the stream to the broker, and read until the broker has ended its own.

    A socket that is closed while something is unread resets the connection. The broker then may not
    read the DISCONNECT, and publishes the will.
    """
    until_s = time.monotonic() + _END_MAX_S
    with contextlib.suppress(OSError):  # lost, or the time is over
        sock.shutdown(socket.SHUT_WR)
        while (left_s := until_s - time.monotonic()) > 0.0:
            sock.settimeout(left_s)
            if not sock.recv(65536):
                return


class _Waiter:
    """Waits until a socket is ready or another thread calls `wake`."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._wake_in, self._wake_out = socket.socketpair()
        self._wake_in.setblocking(False)
        self._wake_out.setblocking(False)
        self._selector.register(self._wake_in, selectors.EVENT_READ)
        self._sock: paho.SocketLike | None = None
        self._wanted = 0
        self.woken = False

    def readable(self, sock: paho.SocketLike) -> bool:
        """Return whether more can be read from the socket now."""
        return any(
            key.fileobj is sock and mask & selectors.EVENT_READ
            for key, mask in self._selector.select(0.0)
        )

    def wait(self, sock: paho.SocketLike, timeout_s: float, *, write: bool) -> int:
        """Return what the socket is ready for; writing only if `write` asks for that."""
        wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if write else 0)
        if sock is not self._sock:
            self._selector.register(sock, wanted)
        elif wanted != self._wanted:
            self._selector.modify(sock, wanted)
        self._sock, self._wanted = sock, wanted
        ready = 0
        if isinstance(sock, ssl.SSLSocket) and sock.pending():
            ready, timeout_s = selectors.EVENT_READ, 0.0
        self.woken = False
        for key, mask in self._selector.select(max(0.0, timeout_s)):
            if key.fileobj is self._wake_in:
                self.woken = True
                with contextlib.suppress(BlockingIOError):
                    self._wake_in.recv(4096)
            else:
                ready |= mask
        return ready

    def wake(self) -> None:
        """End the present or the next `wait`."""
        with contextlib.suppress(OSError):
            self._wake_out.send(b"!")

    def close(self) -> None:
        self._selector.close()
        self._wake_in.close()
        self._wake_out.close()


def _properties(packet: int, signer: Signer | None, message: Message) -> Properties | None:
    """Return the user properties of a message, with its signature; None without any."""
    user = dict(message.user)
    if signer is not None:
        user[PROPERTY] = signer.sign(message.topic, message.payload, message.user)
    if not user:
        return None
    properties = Properties(packet)  # type: ignore[no-untyped-call]
    properties.UserProperty = list(user.items())
    return properties


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
