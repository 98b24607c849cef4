"""What the broker refuses: one log line a reason, growing pauses, and what may be tried. Pure."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field

from tocsin_agent.delivery.faults import DELIVERY_FAILED, Fault
from tocsin_agent.messages.alert import Key, Priority
from tocsin_agent.messages.topics import parse

log = logging.getLogger(__name__)

_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 1.0, 60.0
_REFUSALS_IN_A_ROW = 3
_MAX_KEYS = 1000


@dataclass(slots=True)
class _Topic:
    """A topic on which the last message was refused."""

    reason: str
    in_a_row: int = 0
    until_s: float = 0.0
    trying: bool = False


@dataclass(slots=True)
class _Pause:
    until_s: float
    length_s: float


@dataclass(slots=True)
class Refusals:
    """Refused alerts and topics, kept from one connection to the next.

    One refused alert waits by itself, first a second, then twice as long up to a minute. Three in a
    row on one topic mean the topic: from then on one alert at a time tries it, after such pauses.

    Parameters
    ----------
    largest_bytes : int or None
        Larger payloads are not tried any more, since one was accepted without its strip only.
    """

    largest_bytes: int | None = None
    _topics: dict[str, _Topic] = field(default_factory=dict)
    _keys: dict[Key, _Pause] = field(default_factory=dict)
    _slim: dict[Key, int] = field(default_factory=dict)

    def message(self, topic: str, reason: str, where: str) -> None:
        """Note that the broker refused any message; log it unless that is known already."""
        name = _name(topic)
        known = self._topics.get(name)
        if known is None or known.reason != reason:
            log.error(
                "broker %s refuses messages on %s (%s): check its access list and its limits",
                where,
                name,
                reason,
            )
            self._topics[name] = _Topic(reason)

    def alert(self, key: Key, topic: str, size: int, *, strip: bool, now_s: float) -> None:
        """Note that the broker refused an alert; one without its strip after `message`."""
        if strip:
            # It may be too large for a limit that the broker does not state: tried without strip.
            self._slim[key] = size
            return
        self._slim.pop(key, None)
        last = self._keys.get(key)
        length_s = min(2 * last.length_s, _LONGEST_PAUSE_S) if last else _FIRST_PAUSE_S
        self._keys[key] = _Pause(now_s + length_s, length_s)
        while len(self._keys) > _MAX_KEYS:
            del self._keys[next(iter(self._keys))]
        refused = self._topics[_name(topic)]
        refused.in_a_row += 1
        refused.trying = False
        over = refused.in_a_row - _REFUSALS_IN_A_ROW
        if over >= 0:
            refused.until_s = now_s + min(_FIRST_PAUSE_S * 2.0 ** min(over, 10), _LONGEST_PAUSE_S)

    def accepted(self, topic: str, key: Key | None = None) -> None:
        """Note that the broker accepted a message."""
        if self._topics.pop(_name(topic), None) is not None:
            log.info("the broker accepts messages on %s again", _name(topic))
        if key is None:
            return
        self._keys.pop(key, None)
        size = self._slim.pop(key, None)
        if size is not None and (self.largest_bytes is None or size <= self.largest_bytes):
            # Others of nearly that size would be refused, too.
            self.largest_bytes = size * 7 // 8
            log.warning(
                "the broker refused an alert of %d bytes and took it without its strip: from now "
                "on such a one is sent without",
                size,
            )

    def slim(self, key: Key) -> bool:
        """Return whether an alert was refused with its strip."""
        return key in self._slim

    def trying(self, topic: str) -> None:
        """Note that an alert is sent on a topic."""
        if (refused := self._topics.get(_name(topic))) is not None:
            refused.trying = refused.in_a_row >= _REFUSALS_IN_A_ROW

    @property
    def any_topic(self) -> bool:
        """Whether the broker refuses messages on any topic."""
        return bool(self._topics)

    def blocks(self, topic: str, now_s: float) -> bool:
        """Return whether no alert is to be sent on a topic now."""
        refused = self._topics.get(_name(topic))
        if refused is None or refused.in_a_row < _REFUSALS_IN_A_ROW:
            return False
        return refused.trying or now_s < refused.until_s

    def waiting(self, now_s: float) -> set[Key]:
        """Return the refused alerts that are not to be tried again yet."""
        return {key for key, pause in self._keys.items() if pause.until_s > now_s}

    def keys(self) -> set[Key]:
        """Return every alert that was refused and not accepted since."""
        return self._keys.keys() | self._slim.keys()

    def connected(self) -> None:
        """Begin a connection: what was being tried has no answer any more."""
        for refused in self._topics.values():
            refused.trying = False

    def faults(self) -> list[Fault]:
        """Return which messages the broker refuses."""
        if not self._topics:
            return []
        names = ", ".join(sorted(self._topics))
        reasons = ", ".join(sorted({refused.reason for refused in self._topics.values()}))
        return [
            Fault(
                DELIVERY_FAILED,
                "refused",
                f"the broker refuses messages on {names} ({reasons})",
                "alerts on these topics wait; check its access list and its limits",
            )
        ]


def _name(topic: str) -> str:
    """Return what topics of one kind have in common: responses end with the id of an alert."""
    address = parse(topic)
    if address is None:
        return topic
    priority = address.leaf in set(Priority)
    return f"{address.branch}/{address.leaf}" if priority else str(address.branch)
