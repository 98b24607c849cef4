"""Whether a cardiologist is present: a live lease says so, and anything else means absent."""

from __future__ import annotations

import logging
from datetime import datetime
from typing import NamedTuple

from tocsin_agent.delivery.settings import PresenceSettings
from tocsin_agent.messages.alert import Audience, PresenceView
from tocsin_agent.messages.lease import Lease, LeaseState, decode_lease
from tocsin_agent.messages.printable import clean

log = logging.getLogger(__name__)

# Of several roles without a live lease, the reason that needs attention most is reported.
_BY_URGENCY = ("malformed", "expired", "released", "none")


class _Entry(NamedTuple):
    """The last message of a role: a lease, or the reason why it counts as none."""

    lease: Lease | None
    reason: str


class PresenceLedger:
    """Decides from the leases that arrived whether the patient is attended. Pure.

    Parameters
    ----------
    settings : PresenceSettings
        Which roles count and what a lease may be.
    """

    def __init__(self, settings: PresenceSettings | None = None) -> None:
        self.settings = settings or PresenceSettings()
        self._entries: dict[str, _Entry] = {}
        self._connected = False

    def connected(self) -> None:
        """Note that all retained leases have arrived: from here on no lease means nobody."""
        self._connected = True

    def disconnected(self) -> None:
        """Note that the broker is out of reach: nothing is known, so nobody counts as present."""
        self._connected = False
        self._entries.clear()

    def feed(self, role: str, payload: bytes) -> None:
        """Process the payload of a role's presence topic; an empty one clears it."""
        if role not in self.settings.roles:
            return
        if not payload:
            self._entries.pop(role, None)
            return
        self._entries[role] = self._read(role, payload)

    def _read(self, role: str, payload: bytes) -> _Entry:
        try:
            lease = decode_lease(payload)
        except (ValueError, OverflowError, RecursionError) as exc:  # msgspec's are ValueErrors
            return _malformed(role, str(exc))
        if lease.role != role:
            return _malformed(role, f"it names the role {lease.role!r}")
        if lease.state is not LeaseState.PRESENT:
            return _Entry(lease, "released")
        length_s = (lease.expires_at - lease.issued_at).total_seconds()
        if not 0 < length_s <= self.settings.max_lease_s:
            return _malformed(
                role, f"it lasts {length_s:g} s, at most {self.settings.max_lease_s:g} s allowed"
            )
        return _Entry(lease, "lease")

    def view(self, now: datetime) -> PresenceView:
        """Decide who receives an alert at this moment.

        Parameters
        ----------
        now : datetime
            Aware UTC.

        Returns
        -------
        PresenceView
            `attended` only under a live lease of a role that counts.
        """
        if not self._connected:
            return PresenceView(attended=False, audience=Audience.TEAM, reason="unknown")
        absent = PresenceView(attended=False, audience=Audience.TEAM, reason="none")
        for role in self.settings.roles:
            entry = self._entries.get(role)
            if entry is None:
                continue
            reason = self._reason(entry, now)
            holder = entry.lease.id if entry.lease is not None else None
            if reason == "lease":
                return PresenceView(True, Audience.BEDSIDE, reason, role, holder)
            if _BY_URGENCY.index(reason) < _BY_URGENCY.index(absent.reason):
                absent = PresenceView(False, Audience.TEAM, reason, role, holder)
        return absent

    def _reason(self, entry: _Entry, now: datetime) -> str:
        if entry.reason != "lease" or entry.lease is None:
            return entry.reason
        # Checked at every use, not on arrival only: the device's clock may be set back.
        if (entry.lease.issued_at - now).total_seconds() > self.settings.max_skew_s:
            return "malformed"
        return "lease" if now < entry.lease.expires_at else "expired"

    def next_expiry(self, now: datetime) -> datetime | None:
        """Return when the first live lease expires, so that the view is taken again then."""
        ends = [
            entry.lease.expires_at
            for entry in self._entries.values()
            if entry.lease is not None and self._reason(entry, now) == "lease"
        ]
        return min(ends, default=None)


def _malformed(role: str, why: str) -> _Entry:
    log.warning("the presence of %s is malformed and counts as absent: %s", role, clean(why, 200))
    return _Entry(None, "malformed")
