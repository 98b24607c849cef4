"""Commits alerts to a store, also when the disk or the outbox is full, and after a restart."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime

import msgspec

from tocsin_agent.delivery.faults import Fault
from tocsin_agent.delivery.store import NOTICES, AlertStore, Pressure
from tocsin_agent.errors import DeliveryError
from tocsin_agent.log_fields import with_fields
from tocsin_agent.messages.alert import Alert, Phase
from tocsin_agent.messages.trend import Trend

log = logging.getLogger(__name__)

SAMPLES_AGAIN = "source_lost"
"""The one condition that the begin of a stream ends for certain."""

_RETRY_S = 1.0
_MEASURE_S = 2.0
_LAST_WAIT_S = 5.0
_LOOK_S = 0.1


class Committer:
    """Commits alerts in order; what the store refuses is held in memory and tried again.

    An alarm does not wait for a full disk: the publisher sends held alerts as soon as the broker
    can be reached. Committing them is tried again every second, and once more at `close`. Beyond
    the limit of the store, the oldest of the lowest priority are given up; the log names each.

    Reason for its size: the agent stores, measures and ends alerts through it alone.

    Parameters
    ----------
    store : AlertStore
        Where alerts are committed.
    wake : callable
        Called after each commit: the publisher's `wake`.
    monotonic : callable
        Returns seconds on a clock that is never set; for tests.
    last_wait_s : float
        How long `close` waits for the broker to acknowledge what the disk will not take.
    """

    def __init__(
        self,
        store: AlertStore,
        wake: Callable[[], None],
        *,
        monotonic: Callable[[], float] = time.monotonic,
        last_wait_s: float = _LAST_WAIT_S,
    ) -> None:
        self._store, self._wake, self._monotonic = store, wake, monotonic
        self._last_looks = round(last_wait_s / _LOOK_S)
        self._retry_at_s = 0.0
        self._measure_at_s = 0.0
        self._pressure: Pressure | None = None

    @property
    def held(self) -> int:
        """How many alerts memory holds because the store could not take them."""
        return len(self._store.held())

    def commit(self, alerts: Sequence[Alert]) -> None:
        """Commit alerts; on return each is on disk, or held in memory, or logged as lost."""
        if self._store.held():
            self._hold(alerts)
            self.retry()
        elif alerts:
            self._try(alerts)

    def keep(self, trends: Sequence[Trend]) -> None:
        """Keep trends, where the store keeps any; they are sent when no alert waits."""
        if trends and self._store.trends is not None:
            self._store.trends.append(trends)
            self._wake()

    def retry(self) -> None:
        """Try again to commit what is held, if a second has passed."""
        held = self._store.held()
        if held and self._monotonic() >= self._retry_at_s:
            self._try(held)

    def close(self) -> None:
        """Try a last time, and wait some seconds for the broker to take what the disk refuses.

        Raises
        ------
        DeliveryError
            If alerts are lost: neither the store nor the broker took them.
        """
        held = self._store.held()
        if not held:
            return
        try:
            self._store.append(held)
        except DeliveryError:
            for _ in range(self._last_looks):
                if not self._store.unsent():
                    break
                time.sleep(_LOOK_S)
            unsent = self._store.unsent()
            lost = [alert for alert in held if alert.key in unsent]
            if lost:
                _log_lost(lost)
                raise
            log.warning(
                "%d alerts were delivered, but the outbox could not record it: another run may "
                "send them again, with the same keys",
                len(held),
            )
        self._wake()

    def end_orphans(self, stream_id: str, now: datetime) -> None:
        """End the episodes that an earlier run left open and that no monitor can end any more.

        Those of the same recording stay open: reading it again ends them at their real end.
        """
        orphans = [
            ended_as_unknown(alert, now)
            for alert in self._store.open_documents()
            if alert.stream != stream_id or alert.code in NOTICES
        ]
        if orphans:
            log.info("%d episodes of an earlier run are ended", len(orphans))
        self.commit(orphans)

    def left_open(self) -> list[Alert]:
        """Return the latest alert of each episode that earlier runs or streams left open."""
        return self._store.open_documents()

    def pressure(self) -> Pressure | None:
        """Return how full the store is, measured every 2 s at most; None before it can be read."""
        now_s = self._monotonic()
        if now_s >= self._measure_at_s:
            self._measure_at_s = now_s + _MEASURE_S
            try:
                self._pressure = self._store.pressure()
            except DeliveryError as error:
                log.warning("the outbox cannot be read: %s", error)
        return self._pressure

    def faults(self) -> list[Fault]:
        """Return what does not work in storing alerts."""
        return self._store.faults()

    def losses_raised(self) -> None:
        """Note that the losses among `faults` have been raised."""
        try:
            self._store.losses_raised()
        except DeliveryError as error:
            log.warning("a loss is raised again after the next start: %s", error)

    def _try(self, alerts: Sequence[Alert]) -> None:
        held_before = bool(self._store.held())
        try:
            self._store.append(alerts)
        except DeliveryError as error:
            if not held_before:
                log.error("%s; alerts are held in memory until it can", error)  # noqa: TRY400
            self._retry_at_s = self._monotonic() + _RETRY_S
            self._hold(alerts)
            return
        if held_before:
            log.warning("the outbox takes alerts again: %d committed", len(alerts))
        self._wake()

    def _hold(self, alerts: Sequence[Alert]) -> None:
        _log_lost(self._store.hold(alerts))
        self._wake()


def _log_lost(lost: Iterable[Alert]) -> None:
    for alert in lost:
        log.critical(
            "LOST: %s %s/%d: %s",
            alert.code,
            alert.alert_id,
            alert.sequence,
            alert.text,
            extra=with_fields(
                alert_id=alert.alert_id, code=alert.code, priority=alert.priority, event="lost"
            ),
        )


def ended_as_unknown(alert: Alert, now: datetime) -> Alert:
    """Return the end of an episode of which it is not known whether it lasts, but for a source."""
    text = f"Monitoring was restarted; whether this lasts is not known: {alert.text}"
    ended = "not known whether it lasts"
    if alert.code == SAMPLES_AGAIN:
        text, ended = "Samples arrive again.", "samples arrive again"
    evidence = msgspec.structs.replace(
        alert.evidence, measured=alert.evidence.measured | {"ended": ended}
    )
    return msgspec.structs.replace(
        alert,
        sequence=alert.sequence + 1,
        phase=Phase.END,
        detected_at=now,
        heart_rate_bpm=None,
        evidence=evidence,
        text=text,
        strip=None,
        published_at=None,
        presence=None,
    )
