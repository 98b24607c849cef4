"""What a person does at the console: answers to alerts, what they say about them, presence."""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from tocsin_agent.errors import DeliveryError, SigningError
from tocsin_agent.messages.acknowledgement import MAX_SILENCE_S, Action
from tocsin_agent.messages.review import Finding, Review, encode_review
from tocsin_agent.messages.topics import Topics, check_level
from tocsin_agent.mqtt.settings import MqttSettings
from tocsin_agent.signing.envelope import Signer
from tocsin_agent.team.answers import answer
from tocsin_agent.team.console.hub import Hub
from tocsin_agent.team.console.link import Link, Outgoing
from tocsin_agent.team.console.protocol import AnswerRequest, Done, PresenceRequest
from tocsin_agent.team.console.settings import AttendanceSettings, PeopleSettings
from tocsin_agent.team.console.store import Happened, Login
from tocsin_agent.team.presence_client import PresenceClient

log = logging.getLogger(__name__)

MAX_ATTENDING = 200
_FINDINGS = {finding.value for finding in Finding}


class Keys:
    """The private keys of people: `USER.pem` of a folder.

    Parameters
    ----------
    folder : Path or None
        Without one nobody signs.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._signers: dict[Path, tuple[int, Signer]] = {}

    def signer(self, user: str) -> Signer | None:
        """Return who signs for a person; None where the person has no key.

        Raises
        ------
        SigningError
            If the key cannot be used.
        """
        file = self.file(user)
        if file is None:
            return None
        stamp = file.stat().st_mtime_ns
        known = self._signers.get(file)
        if known is None or known[0] != stamp:
            known = self._signers[file] = (stamp, Signer.from_file(file))
        return known[1]

    def file(self, user: str) -> Path | None:
        """Return the file of a person's key; None if there is none."""
        if self._folder is None or "/" in user or user.startswith("."):
            return None
        file = self._folder / f"{user}.pem"
        return file if file.is_file() else None


class Answers:
    """Sends what people answer.

    Parameters
    ----------
    hub : Hub
        Reports what became of it.
    link : Link
        Sends it.
    keys : Keys
        Signs it.
    people : PeopleSettings
        In which role it is sent.
    """

    def __init__(self, hub: Hub, link: Link, keys: Keys, people: PeopleSettings) -> None:
        self._hub, self._link, self._keys, self._people = hub, link, keys, people

    def send(self, login: Login, request: AnswerRequest, now: datetime) -> Done:
        """Send an answer, a note, or both; what becomes of it follows as an `answer` message.

        Raises
        ------
        ValueError
            If the request cannot be an answer.
        LookupError
            If there is no such bed.
        ConnectionError
            If there is no connection to the broker, or the person's key cannot be used.
        """
        device = (request.site, request.device)
        if device not in self._hub.picture.devices():
            raise LookupError("there is no such bed")
        if not self._hub.picture.connected:
            raise ConnectionError("there is no connection to the broker: nobody would know")
        if request.silence_s is not None and not 0 < request.silence_s <= MAX_SILENCE_S:
            raise ValueError(f"silence_s: more than 0, at most {MAX_SILENCE_S:g} expected")
        review = self._review(login, request, now)
        signer = self._signer(login.user)
        done = Done(id=review.id if review else "", outcome="recorded")  # no device answers a note
        if request.action != "note":
            made = answer(
                request.site,
                request.device,
                request.alert_id,
                who=login.user,
                role=self._role(login),
                action=Action(request.action),
                at=now,
                silence_s=request.silence_s,
            )
            waiting = self._hub.sent(made, request.site, request.device)
            loop, hub = asyncio.get_running_loop(), self._hub

            def failed(reason: str) -> None:
                if reason:
                    loop.call_soon_threadsafe(hub.outcome, waiting, "failed", reason)

            self._link.send(Outgoing(made.topic, made.payload, True, signer, failed))
            done = Done(id=made.message.id)
        if review is not None:
            topic = Topics(*device).review(request.alert_id)
            self._link.send(Outgoing(topic, encode_review(review), False, signer, _logged))
        self._link.record(
            Happened(
                now,
                request.site,
                request.device,
                request.alert_id,
                f"pressed_{request.action}",
                login.user,
                "  ".join(part for part in (request.reason, request.note) if part),
            )
        )
        return done

    def _review(self, login: Login, request: AnswerRequest, now: datetime) -> Review | None:
        """Return what the person says about the alert; None where it says nothing."""
        if request.reason and request.reason not in _FINDINGS:
            raise ValueError(f"reason: one of {', '.join(sorted(_FINDINGS))} expected")
        if request.reason and request.action not in {"reject", "note"}:
            raise ValueError("a reason belongs to reject or note")
        if request.action == "note" and not (request.note or request.reason):
            raise ValueError("a note without text")
        if len(request.note) > 2000:
            raise ValueError(f"the note has {len(request.note)} characters, 2000 are allowed")
        if not (request.note or request.reason):
            return None
        return Review(
            id=uuid.uuid4().hex,
            alert_id=request.alert_id,
            who=login.user,
            role=self._role(login),
            finding=Finding(request.reason) if request.reason else Finding.NOTE,
            note=request.note,
            at=now,
        )

    def _role(self, login: Login) -> str:
        roles = self._people.answers_as
        return {"cardiologist": roles.cardiologist, "admin": roles.admin}.get(
            login.role, roles.responder
        )

    def _signer(self, user: str) -> Signer | None:
        try:
            return self._keys.signer(user)
        except (SigningError, OSError) as exc:
            raise ConnectionError(f"the key of {user} cannot be used: {exc}") from exc


def _logged(reason: str) -> None:
    if reason:
        log.warning("a review was not sent: %s", reason)


class Attendance:
    """Leases of the people who pressed that they are present; each ends without a press.

    Parameters
    ----------
    mqtt : MqttSettings
        Each lease has a connection of its own: the broker ends it with this server.
    settings : AttendanceSettings
    keys : Keys
    changed : callable
        Called in the loop with site, role, and until when the press is good for; None: it ended.
    """

    def __init__(
        self,
        mqtt: MqttSettings,
        settings: AttendanceSettings,
        keys: Keys,
        changed: Callable[[tuple[str, str], datetime | None], None],
    ) -> None:
        self._mqtt, self._settings, self._keys, self._changed = mqtt, settings, keys, changed
        self._held: dict[tuple[str, str], tuple[str, PresenceClient]] = {}
        self._lock = asyncio.Lock()

    async def press(self, login: Login, request: PresenceRequest) -> Done:
        """Take, renew or release a lease for a person.

        Raises
        ------
        ValueError
            If site or role cannot be one.
        LookupError
            If the person holds no such lease.
        ConnectionError
            If the broker does not take it.
        """
        role = (check_level(request.site, "site"), check_level(request.role, "role"))
        async with self._lock:
            who, client = self._held.get(role, ("", None))
            mine = client is not None and who == login.user
            if request.action == "release":
                if not mine:
                    raise LookupError("you hold no such lease here")
                await self._leave(role)
                return Done(outcome="released")
            if request.action == "renew" and not mine:
                raise LookupError("you hold no such lease here: take it")
            if client is not None and mine:
                client.confirm()
            else:
                if client is not None:
                    await self._leave(role)
                await self._take(login.user, role)
            length = timedelta(minutes=self._settings.confirm_min)
            until = datetime.now(UTC) + length
            self._changed(role, until)
            return Done(outcome="present", until=until)

    async def leave_all(self) -> None:
        """Release every lease: this server ends."""
        async with self._lock:
            for role in list(self._held):
                await self._leave(role)

    async def tick(self) -> None:
        """Let go of what nobody has confirmed in time; called now and then."""
        if self._lock.locked():
            return
        async with self._lock:
            for role, (_, client) in list(self._held.items()):
                if client.switch.left_s(time.monotonic()) <= 0:
                    await self._leave(role)

    async def _take(self, user: str, role: tuple[str, str]) -> None:
        if len(self._held) >= MAX_ATTENDING:
            raise ConnectionError(f"{MAX_ATTENDING} leases are held here already")
        file = self._keys.file(user)
        try:
            signer = Signer.from_file(file) if file is not None else None
            client = PresenceClient(
                self._mqtt,
                site=role[0],
                role=role[1],
                holder=user,
                lease_s=self._settings.lease_s,
                confirm_s=self._settings.confirm_min * 60.0,
                signer=signer,
            )
            await asyncio.to_thread(client.__enter__)
        except (DeliveryError, SigningError) as exc:
            raise ConnectionError(str(exc)) from exc
        self._held[role] = (user, client)

    async def _leave(self, role: tuple[str, str]) -> None:
        _, client = self._held.pop(role)
        with suppress(DeliveryError):
            await asyncio.to_thread(client.__exit__, None, None, None)
        self._changed(role, None)
