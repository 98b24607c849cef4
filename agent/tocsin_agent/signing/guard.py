"""Whether a message of a person may be applied: signed by a trusted key, of now, and not before."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

from tocsin_agent.messages.topics import Address, Branch
from tocsin_agent.signing.keyring import KeyFile, Verdict, is_will, owner_of
from tocsin_agent.signing.replays import Replays
from tocsin_agent.signing.settings import SigningSettings


class Guard:
    """Judges the messages of people at a device.

    Parameters
    ----------
    keys : KeyFile
        Whose keys are trusted.
    settings : SigningSettings
        How old a signature may be.
    replays : Replays
        What was accepted before.
    """

    def __init__(self, keys: KeyFile, settings: SigningSettings, replays: Replays) -> None:
        self._keys, self._settings, self._replays = keys, settings, replays

    @classmethod
    def from_settings(cls, settings: SigningSettings, outbox: Path | None = None) -> Guard | None:
        """Return the guard that a configuration asks for; None if people need not sign."""
        if settings.people_file is None:
            return None
        replays = Replays.beside(outbox) if outbox is not None else Replays()
        return cls(KeyFile(Path(settings.people_file)), settings, replays)

    def failure(self) -> str:
        """Return why the keys of people cannot be read now; empty if they can."""
        self._keys.current()
        return self._keys.failure

    def refusal(
        self,
        topic: str,
        payload: bytes,
        user: Mapping[str, str],
        address: Address,
        now: datetime,
    ) -> str:
        """Return why a message is refused; empty if it may be applied.

        Parameters
        ----------
        topic : str
        payload : bytes
        user : mapping
            Its user properties, the signature among them.
        address : Address
            The parsed topic.
        now : datetime
            Aware UTC.
        """
        owner = owner_of(address, payload)
        verdict = self._keys.current().verify(topic, payload, user, owner, now)
        if not verdict.reason and verdict.signature is not None and is_will(address, payload):
            self._replays.end(topic, verdict.signature.key)
            return ""
        return verdict.reason or self._untimely(topic, verdict, address, now)

    def _untimely(self, topic: str, verdict: Verdict, address: Address, now: datetime) -> str:
        signature = verdict.signature
        if signature is None:
            return "it is not signed"
        age_s = (now - signature.at).total_seconds()
        if age_s > self._settings.max_age_s:
            return f"it was signed {age_s:.0f} s ago, {self._settings.max_age_s:g} s are allowed"
        if age_s < -self._settings.max_skew_s:
            return f"it was signed {-age_s:.0f} s in the future: check the clocks"
        if self._replays.is_old(topic, signature.key, signature.at_us):
            return f"it is older than one that {verdict.by} sent before"
        # A lease is renewed every few seconds and is void within minutes: no write for each.
        keep = address.branch is not Branch.PRESENCE
        self._replays.note(topic, signature.key, signature.at_us, keep=keep)
        return ""
