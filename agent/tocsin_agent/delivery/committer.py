"""Alerts into the outbox, come what may: a full disk, a full outbox, a restart."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from datetime import datetime
from typing import Protocol

import msgspec

from tocsin_agent.delivery.outbox import PRESSURE_CODE, Pressure
from tocsin_agent.errors import DeliveryError
from tocsin_agent.messages.alert import (
    Alert,
    Evidence,
    Key,
    Kind,
    Phase,
    Priority,
    SignalQuality,
    make_alert_id,
)
from tocsin_agent.monitor.alarms.event import AlertEvent

log = logging.getLogger(__name__)

MAX_HELD = 10_000
_RETRY_S = 1.0
_LAST_WORDS_S = 5.0
_LOOK_S = 0.1


class AlertStore(Protocol):
    """The part of `Outbox` that the agent uses."""

    def append(self, alerts: Sequence[Alert]) -> int: ...  # noqa: D102
    def offer(self, alerts: Sequence[Alert]) -> None: ...  # noqa: D102
    def unsent(self) -> Collection[Key]: ...  # noqa: D102
    def open_documents(self) -> list[Alert]: ...  # noqa: D102
    def pressure(self) -> Pressure: ...  # noqa: D102


class Committer:
    """Commits alerts, in order, and holds in memory what the outbox cannot take.

    What is held goes out all the same, as soon as the broker can be reached: an alarm does not
    wait for a full disk. It is tried again every second, and once more at `close`. At most 10,000
    are held; beyond that the least grave and oldest are given up, each named in the log. Nothing
    is lost without a word.

    Parameters
    ----------
    outbox : AlertStore
        Where they are committed.
    wake : callable
        Told after each commit: the publisher's `wake`.
    max_held : int
        How many alerts memory may hold.
    monotonic : callable
        Seconds that only pass; for tests.
    last_words_s : float
        How long `close` lets the broker acknowledge what the disk will not take.
    """

    def __init__(
        self,
        outbox: AlertStore,
        wake: Callable[[], None],
        *,
        max_held: int = MAX_HELD,
        monotonic: Callable[[], float] = time.monotonic,
        last_words_s: float = _LAST_WORDS_S,
    ) -> None:
        self._outbox, self._wake = outbox, wake
        self._max_held, self._monotonic = max_held, monotonic
        self._last_looks = round(last_words_s / _LOOK_S)
        self._held: list[Alert] = []
        self._retry_at_s = 0.0
        self._pressure: AlertEvent | None = None

    @property
    def held(self) -> int:
        """How many alerts memory holds because the outbox could not take them."""
        return len(self._held)

    def commit(self, alerts: Sequence[Alert]) -> None:
        """Commit; on return they are on disk, or held and logged."""
        if self._held:
            self._hold([*self._held, *alerts])
            self.retry()
        elif alerts:
            self._try(list(alerts))

    def retry(self) -> None:
        """Try again to commit what is held, where that is due."""
        if self._held and self._monotonic() >= self._retry_at_s:
            self._try(self._held)

    def close(self) -> None:
        """Try a last time; what the disk refuses may still reach the broker within some seconds.

        Raises
        ------
        DeliveryError
            If alerts are lost: neither the outbox nor the broker took them.
        """
        if not self._held:
            return
        try:
            self._outbox.append(self._held)
        except DeliveryError:
            for _ in range(self._last_looks):
                if not self._outbox.unsent():
                    break
                time.sleep(_LOOK_S)
            unsent = self._outbox.unsent()
            lost = [alert for alert in self._held if alert.key in unsent]
            if lost:
                _mourn(lost)
                raise
            log.warning(
                "%d alerts were delivered, but the outbox could not note it: another run may "
                "send them again, under the same keys",
                len(self._held),
            )
        self._held = []
        self._wake()

    def end_orphans(self, stream_id: str, now: datetime) -> None:
        """End the episodes that an earlier run left open and that no monitor can end any more.

        Those of the same recording are left: reading it again ends them where they really end.
        """
        orphans = [
            _ended_by_restart(alert, now)
            for alert in self._outbox.open_documents()
            if alert.stream != stream_id or alert.code == PRESSURE_CODE
        ]
        if orphans:
            log.info("%d episodes of an earlier run are ended", len(orphans))
        self.commit(orphans)

    def pressure(self, stream_id: str, position: int) -> AlertEvent | None:
        """Return the `outbox_pressure` event that is due, if any: a technical alarm of its own."""
        try:
            pressure = self._outbox.pressure()
        except DeliveryError as error:
            log.warning("the outbox cannot say how full it is: %s", error)
            return None
        began = self._pressure
        if pressure.pressed and began is None:
            self._pressure = _pressed(stream_id, position, pressure)
            return self._pressure
        if not pressure.pressed and began is not None:
            self._pressure = None
            return msgspec.structs.replace(
                began,
                sequence=2,
                phase=Phase.END,
                detected_index=max(position, began.onset_index),
                text="The outbox has room again.",
            )
        return None

    def _try(self, alerts: list[Alert]) -> None:
        try:
            self._outbox.append(alerts)
        except DeliveryError as error:
            if not self._held:
                log.error("%s; alerts are held in memory until it can", error)  # noqa: TRY400
            self._retry_at_s = self._monotonic() + _RETRY_S
            self._hold(alerts)
            return
        if self._held:
            log.warning("the outbox takes alerts again: %d committed", len(alerts))
        self._held = []
        self._wake()

    def _hold(self, alerts: list[Alert]) -> None:
        excess = len(alerts) - self._max_held
        if excess > 0:
            least = sorted(range(len(alerts)), key=lambda i: (-alerts[i].priority.rank, i))
            gone = set(least[:excess])
            _mourn(alerts[index] for index in sorted(gone))
            alerts = [alert for index, alert in enumerate(alerts) if index not in gone]
        self._held = alerts
        self._outbox.offer(alerts)
        self._wake()


def _mourn(lost: Iterable[Alert]) -> None:
    for alert in lost:
        log.critical("LOST: %s %s/%d: %s", alert.code, alert.alert_id, alert.sequence, alert.text)


def _ended_by_restart(alert: Alert, now: datetime) -> Alert:
    return msgspec.structs.replace(
        alert,
        sequence=alert.sequence + 1,
        phase=Phase.END,
        detected_at=now,
        heart_rate_bpm=None,
        text=f"Monitoring was restarted; whether this lasts is not known: {alert.text}",
        strip=None,
        published_at=None,
        presence=None,
    )


def _pressed(stream_id: str, position: int, pressure: Pressure) -> AlertEvent:
    return AlertEvent(
        alert_id=make_alert_id(stream_id, PRESSURE_CODE, position),
        sequence=1,
        phase=Phase.ONSET,
        kind=Kind.TECHNICAL,
        code=PRESSURE_CODE,
        priority=Priority.MEDIUM,
        onset_index=position,
        detected_index=position,
        heart_rate_bpm=None,
        evidence=Evidence(
            rule="alerts fill the outbox faster than the broker takes them",
            limits={"max_pending": float(pressure.max_pending)},
            measured={"pending": float(pressure.pending), "dropped": float(pressure.dropped)},
        ),
        signal_quality=SignalQuality(leads={}),
        text=f"{pressure.pending} alerts wait for the broker, {pressure.dropped} gave way so far.",
    )
