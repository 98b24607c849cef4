"""Who published what a receiver received."""

from __future__ import annotations

from datetime import UTC, datetime

from tocsin_agent.messages.topics import Branch, parse
from tocsin_agent.mqtt.events import Message
from tocsin_agent.signing.keyring import KeyFile, Verdict, is_will, owner_of
from tocsin_agent.signing.replays import Replays

_ALERTS = {Branch.ALERT, Branch.TECHNICAL, Branch.BEDSIDE, Branch.ESCALATION}


class Origins:
    """Verifies who signed each message.

    Parameters
    ----------
    keys : KeyFile or None
        Trusted keys; without them nothing is verified.
    """

    def __init__(self, keys: KeyFile | None) -> None:
        self._keys, self._replays = keys, Replays()

    def of(self, message: Message) -> Verdict | None:
        """Return who signed a message, and why it is not to be believed; None without keys.

        A later message of the same key on a topic makes an earlier one a replay, except for alerts:
        those may arrive in any order, and the feed knows each by its key.
        """
        address = parse(message.topic)
        if self._keys is None or address is None:
            return None
        topic, payload, user = message.topic, message.payload, message.user
        owner = owner_of(address, payload)
        verdict = self._keys.current().verify(topic, payload, user, owner, datetime.now(UTC))
        signature = verdict.signature
        if not verdict.genuine or signature is None or address.branch in _ALERTS:
            return verdict
        if is_will(address, payload):
            self._replays.end(topic, signature.key)
            return verdict
        if self._replays.is_old(topic, signature.key, signature.at_us):
            return verdict._replace(reason="it is older than one that was received before")
        self._replays.note(topic, signature.key, signature.at_us, keep=False)
        return verdict

    def believes(self, message: Message) -> bool:
        """Return whether a message is from whom it should be, or nothing is verified."""
        verdict = self.of(message)
        return verdict is None or verdict.genuine
