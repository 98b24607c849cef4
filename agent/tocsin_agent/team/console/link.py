"""The connection to the broker, in a thread: what arrives is handed to the loop, then kept.

A message is acknowledged to the broker when it is kept on disk, so that a server that is killed
gets it again.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from queue import Empty, SimpleQueue
from typing import NamedTuple

from tocsin_agent.errors import DeliveryError
from tocsin_agent.messages.topics import board_filters, trend_filter
from tocsin_agent.signing.envelope import Signer
from tocsin_agent.team.console.store import Happened, Kept, Store
from tocsin_agent.team.feed import AlertSeen, Item, TrendSeen
from tocsin_agent.team.receiver import Receiver

log = logging.getLogger(__name__)

_POLL_S = 0.25


class Outgoing(NamedTuple):
    """A message to send; `done` is called in the link's thread with why it was not sent, or ''."""

    topic: str
    payload: bytes
    retain: bool
    signer: Signer | None
    done: Callable[[str], None]


class Link:
    """Runs a receiver in a thread.

    Parameters
    ----------
    receiver : Receiver
        Used by the thread alone.
    store : Store
        Where alerts and minutes are kept.
    hand_over : callable
        Called in the thread with what arrived.
    watched : callable
        Returns whether a page is open: without one, no alert is confirmed to its device.
    kept : callable
        Called in the thread when something new can be read from the store: with site, device and
        alert each, the alert empty for a minute of trends.
    """

    def __init__(
        self,
        receiver: Receiver,
        store: Store,
        hand_over: Callable[[list[Item]], None],
        watched: Callable[[], bool] = lambda: True,
        kept: Callable[[set[tuple[str, str, str]]], None] = lambda _: None,
    ) -> None:
        self._watched, self._kept = watched, kept
        self._receiver, self._store, self._hand_over = receiver, store, hand_over
        self._outgoing: SimpleQueue[Outgoing] = SimpleQueue()
        self._happened: SimpleQueue[Happened] = SimpleQueue()
        self._followed: set[str] = set()
        self._wanted: set[str] = set()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="console-link", daemon=True)

    def start(self) -> None:
        """Begin to receive."""
        self._thread.start()

    def stop(self) -> None:
        """Send what waits, and disconnect."""
        self._stop.set()
        self._receiver.wake()
        self._thread.join(10.0)

    def send(self, outgoing: Outgoing) -> None:
        """Send a message soon; any thread."""
        self._outgoing.put(outgoing)
        self._receiver.wake()

    def record(self, happened: Happened) -> None:
        """Keep what happened soon; any thread."""
        self._happened.put(happened)
        self._receiver.wake()

    def follow(self, filters: set[str]) -> None:
        """Receive the waveforms of these topics, and no others, from now on; any thread."""
        self._wanted = set(filters)
        self._receiver.wake()

    def _run(self) -> None:
        with self._receiver as receiver:
            while not self._stop.is_set():
                receiver.confirming = self._watched()
                items = receiver.poll(_POLL_S)
                if items:
                    self._hand_over(items)
                self._keep(items)
                self._send_all(receiver)
            self._send_all(receiver)
            self._keep([])

    def _send_all(self, receiver: Receiver) -> None:
        wanted = self._wanted
        if wanted != self._followed:
            try:
                receiver.follow(wanted)
                self._followed = wanted
            except DeliveryError as exc:
                log.debug("waveforms: %s", exc)
        try:
            while True:
                one = self._outgoing.get_nowait()
                try:
                    receiver.send(one.topic, one.payload, retain=one.retain, signer=one.signer)
                except DeliveryError as exc:
                    one.done(str(exc))
                else:
                    one.done("")
        except Empty:
            return

    def _keep(self, items: list[Item]) -> None:
        now = datetime.now(UTC)
        kept, events, trends = list[Kept](), list[Happened](), []
        for item in items:
            if isinstance(item, TrendSeen):
                trends.append(item.trend)
            elif isinstance(item, AlertSeen):
                unproven = ""
                if item.origin is not None and not item.origin.genuine:
                    unproven = item.origin.reason or "not signed"
                alert = item.alert
                kept.append(Kept(alert, now, item.audience.value, unproven))
                event = "repeat" if item.repeated else alert.phase.value
                level = alert.escalation.to or item.audience.value
                where = (alert.site, alert.device, alert.alert_id)
                events.append(Happened(now, *where, event, None, level))
        events += self._recorded()
        self._store.keep(kept, events, trends)
        changed = {(one.site, one.device, one.alert_id) for one in events if one.site}
        changed |= {(trend.site, trend.device, "") for trend in trends}
        if changed:
            self._kept(changed)

    def _recorded(self) -> list[Happened]:
        found = list[Happened]()
        with suppress(Empty):
            while True:
                found.append(self._happened.get_nowait())
        return found


def filters_of(site: str | None) -> list[str]:
    """Return what the console subscribes to: all alerts and answers, what is open, the minutes."""
    name = site or "+"
    return [*board_filters(name), trend_filter(name)]
