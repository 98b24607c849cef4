"""Whether the broker passes on what it acknowledges: MQTT 3.1.1 has no way to say that it does not.

A broker that speaks 3.1.1 acknowledges a message that its access list or a limit made it drop. The
device subscribes to its own alerts: one that comes back was passed on. Pure.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import NamedTuple

from tocsin_agent.delivery.faults import DELIVERY_FAILED, Fault
from tocsin_agent.delivery.in_flight import Sent
from tocsin_agent.messages.alert import Key
from tocsin_agent.mqtt.events import Ack

DROPPED = "acknowledged, and not passed on"
"""The reason where an alert does not come back."""
_CANARY_S = 3.0
_MAX_ARRIVED = 4096


class _Acknowledged(NamedTuple):
    sent: Sent
    ack: Ack
    until_s: float


class Echo:
    """The alerts of one connection that came back, and those that should.

    Parameters
    ----------
    canary : tuple of str and bytes
        Topic and payload of a message that is published after the subscription. If it does not come
        back, the device may not read its own topics, and acknowledgements count as before.
    now_s : float
        Monotonic.
    patience_s : float
        Longest time between an acknowledgement and the return of the message.
    """

    def __init__(self, canary: tuple[str, bytes], now_s: float, patience_s: float) -> None:
        self._canary, self._patience_s = canary, patience_s
        self._until_s = now_s + _CANARY_S
        self._works: bool | None = None
        self._digests: dict[int, int] = {}  # of what was sent, by message id
        self._arrived: OrderedDict[int, None] = OrderedDict()
        self._waiting: dict[int, _Acknowledged] = {}

    def settled(self, now_s: float) -> bool:
        """Return whether it is known if messages come back."""
        if self._works is None and now_s >= self._until_s:
            self._works = False
        return self._works is not None

    @property
    def keys(self) -> set[Key]:
        """What the broker has acknowledged and has not come back yet."""
        return {waiting.sent.key for waiting in self._waiting.values()}

    def published(self, mid: int, topic: str, payload: bytes) -> None:
        """Note that an alert is sent."""
        self._digests[mid] = hash((topic, payload))

    def arrived(self, topic: str, payload: bytes) -> None:
        """Note that one of the device's own messages came back."""
        if (topic, payload) == self._canary:
            self._works = True
        self._arrived[hash((topic, payload))] = None
        while len(self._arrived) > _MAX_ARRIVED:
            self._arrived.popitem(last=False)

    def acknowledged(self, sent: Sent, ack: Ack, now_s: float) -> bool:
        """Note an acknowledgement; True if it counts by itself."""
        if not self._works:
            return True
        digest = self._digests.pop(ack.mid, 0)
        self._waiting[digest] = _Acknowledged(sent, ack, now_s + self._patience_s)
        return False

    def take(self, now_s: float) -> tuple[list[tuple[Sent, Ack]], list[Sent]]:
        """Return what has come back since the last call, and what will not any more."""
        back, dropped = [], []
        for digest, waiting in list(self._waiting.items()):
            if digest in self._arrived:
                del self._arrived[digest]
                back.append((waiting.sent, waiting.ack))
            elif now_s >= waiting.until_s:
                dropped.append(waiting.sent)
            else:
                continue
            del self._waiting[digest]
        return back, dropped

    def faults(self) -> list[Fault]:
        """Return that nobody knows what the broker drops."""
        if self._works is not False:
            return []
        return [
            Fault(
                DELIVERY_FAILED,
                "mqtt_3",
                "with MQTT 3.1.1 the broker does not say what it drops",
                "set mqtt.version to 5, or allow the device to read its own topics",
            )
        ]
