"""All browsers of a console: what each is sent, what each watches, what became of answers.

Everything here runs in the event loop. A browser that does not keep up gets the whole state anew in
place of what it missed, and no waveform meanwhile.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import OrderedDict, deque
from collections.abc import Callable
from datetime import UTC, datetime
from typing import NamedTuple

import msgspec

from tocsin_agent import __version__
from tocsin_agent.messages.printable import clean
from tocsin_agent.messages.review import Finding
from tocsin_agent.messages.topics import Topics
from tocsin_agent.messages.waveform import Waveform
from tocsin_agent.team.answers import Answer
from tocsin_agent.team.board.ward import UNANSWERED_S, Device
from tocsin_agent.team.console.picture import Changes, News, Picture
from tocsin_agent.team.console.protocol import (
    AlertMessage,
    AnswerMessage,
    Beats,
    BedGone,
    BedMessage,
    Beds,
    Broker,
    Hello,
    HistoryMessage,
    PresenceMessage,
    Session,
    SessionEnded,
    Tick,
    ToBrowser,
    Wave,
)
from tocsin_agent.team.console.store import Happened, Login
from tocsin_agent.team.feed import ConnectionSeen, Item, ResponseSeen, WaveSeen
from tocsin_agent.team.language import DEFAULT, available, load_language

MAX_QUEUED = 400
MAX_QUEUED_BYTES = 4_000_000
MAX_WATCHED = 64
"""Beds that one browser watches at a time."""
MAX_BROWSERS = 200
_MAX_ANSWERS = 500
_BEATS_REMEMBERED = 32

REJECT_REASONS = tuple(
    finding.value for finding in Finding if finding not in {Finding.NOTE, Finding.TRUE_ALARM}
)

_ENCODER = msgspec.json.Encoder()


class Waiting(NamedTuple):
    """An answer that was sent and that its device has not answered."""

    answer: Answer
    site: str
    device: str
    sent_at: datetime
    late: bool = False


class Browser:
    """One WebSocket: what waits to be sent, and what it watches.

    Parameters
    ----------
    login : Login
    language : str
        Of its texts.
    session : Session, optional
        The login as the page sees it.
    """

    def __init__(self, login: Login, language: str, session: Session | None = None) -> None:
        self.login, self.language = login, language
        self.session = session or login.shown()
        self.watched: dict[Device, frozenset[str]] = {}
        self.whole = True  # send the whole state next
        self.ended = ""
        self._queue: deque[str] = deque()
        self._bytes = 0
        self._ready = asyncio.Event()

    @property
    def behind(self) -> bool:
        """True while much waits: no waveform is queued meanwhile."""
        return len(self._queue) > MAX_QUEUED // 4

    def put(self, text: str) -> None:
        """Queue a message; too many are replaced by the whole state."""
        if self.whole:
            return  # the whole state, which is sent next, is newer
        self._queue.append(text)
        self._bytes += len(text)
        if len(self._queue) > MAX_QUEUED or self._bytes > MAX_QUEUED_BYTES:
            self.renew()
        self._ready.set()

    def renew(self) -> None:
        """Send the whole state in place of what waits."""
        self._queue.clear()
        self._bytes = 0
        self.whole = True
        self._ready.set()

    def end(self, reason: str) -> None:
        """Say why the connection ends, and end it."""
        self.ended = reason
        self._ready.set()

    async def take(self) -> str | None:
        """Wait for the next message; None if the whole state or the end is due."""
        while True:
            if self.ended or self.whole:
                return None
            if self._queue:
                text = self._queue.popleft()
                self._bytes -= len(text)
                return text
            self._ready.clear()
            await self._ready.wait()


class Hub:
    """Takes what arrives at the broker, and sends it to all browsers.

    Reason for its size: every kind of message to a browser is made here.

    Parameters
    ----------
    title : str
    follow : callable
        Called with the topics of all watched waveforms when they change.
    valid : callable
        Returns whether a login has not ended.
    record : callable
        Called with what people did to alerts, as their devices state it.
    call : callable
        Called with all that happens to alerts, for people whose page is closed.
    push_key : str, optional
        The public key of web push.
    now : callable, optional
        Returns aware UTC.
    """

    def __init__(
        self,
        title: str,
        *,
        follow: Callable[[set[str]], None] = lambda _: None,
        valid: Callable[[Login], bool] = lambda _: True,
        record: Callable[[Happened], None] = lambda _: None,
        call: Callable[[News], None] = lambda _: None,
        push_key: str | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.picture = Picture(now())
        self.browsers: set[Browser] = set()
        self.boot = secrets.token_hex(8)
        self._title, self._now = title, now
        self._follow, self._valid, self._record, self._call = follow, valid, record, call
        self._push_key = push_key
        self._followed: set[str] = set()
        self._waiting: OrderedDict[str, Waiting] = OrderedDict()
        self._beats: dict[Device, deque[tuple[str, int]]] = {}

    def take(self, items: list[Item]) -> None:
        """Take what arrived: news first, then each bed that changed, once."""
        now, beds = self._now(), set[Device]()
        for item in items:
            match item:
                case WaveSeen():
                    self._wave(item.waveform)
                    continue
                case ResponseSeen():
                    self._response(item)
                    continue
                case ConnectionSeen():
                    self.picture.take(item, now)
                    self._renew_all()
                    continue
            changes = self.picture.take(item, now)
            for news in changes.news:
                self._news(news)
            beds |= changes.beds
            beds -= changes.gone
            self._others(changes, now)
        self._beds(beds, now)

    def kept(self, changed: set[tuple[str, str, str]]) -> None:
        """Say what has more to read than before: site, device and alert each, or no alert."""
        for site, device, alert_id in sorted(changed):
            self._send(HistoryMessage(site, device, alert_id))

    def tick(self) -> None:
        """Send the time, what has become stale, and which answers nobody confirmed; each second."""
        now = self._now()
        for browser in list(self.browsers):
            if not self._valid(browser.login):
                browser.end("the login has ended")
        self._send(Tick(now))
        self._beds(self.picture.aged(now), now)
        for waiting in list(self._waiting.values()):
            if not waiting.late and (now - waiting.sent_at).total_seconds() > UNANSWERED_S:
                # It may answer yet.
                self._waiting[waiting.answer.message.id] = waiting._replace(late=True)
                self._say(waiting, "unanswered", "the device has not answered yet")

    def join(self, browser: Browser) -> None:
        """Take a browser in.

        Raises
        ------
        OverflowError
            If there are too many.
        """
        if len(self.browsers) >= MAX_BROWSERS:
            raise OverflowError(f"{MAX_BROWSERS} browsers are connected already")
        self.browsers.add(browser)

    def leave(self, browser: Browser) -> None:
        """Forget a browser."""
        self.browsers.discard(browser)
        self._follow_watched()

    def whole(self, browser: Browser) -> list[str]:
        """Return what a browser needs to know everything; what follows continues it."""
        now = self._now()
        picture, language = self.picture, load_language(browser.language)
        browser.whole = False
        hello = Hello(
            now=now,
            session=browser.session,
            broker=self._broker(),
            languages=tuple(available()),
            release=__version__,
            boot=self.boot,
            title=self._title,
            reject_reasons=REJECT_REASONS,
            push_key=self._push_key,
        )
        beds = tuple(picture.bed(device, now, language) for device in picture.devices())
        return [_text(hello), _text(Beds(beds, picture.presence(now)))]

    def watch(self, browser: Browser, device: Device, leads: tuple[str, ...]) -> None:
        """Send the waveforms of a bed to a browser."""
        if device in browser.watched or len(browser.watched) < MAX_WATCHED:
            browser.watched[device] = frozenset(leads)
            self._follow_watched()

    def unwatch(self, browser: Browser, device: Device) -> None:
        """Send them no longer."""
        browser.watched.pop(device, None)
        self._follow_watched()

    def sent(self, answer: Answer, site: str, device: str) -> Waiting:
        """Note that an answer is on its way."""
        waiting = Waiting(answer, site, device, self._now())
        self._waiting[answer.message.id] = waiting
        while len(self._waiting) > _MAX_ANSWERS:
            self._waiting.popitem(last=False)
        return waiting

    def outcome(self, waiting: Waiting, outcome: str, text: str) -> None:
        """Say what became of an answer; nothing follows."""
        self._waiting.pop(waiting.answer.message.id, None)
        self._say(waiting, outcome, text)

    def _say(self, waiting: Waiting, outcome: str, text: str) -> None:
        message = waiting.answer.message
        self._send(
            AnswerMessage(
                id=message.id,
                site=waiting.site,
                device=waiting.device,
                alert_id=message.alert_id,
                action=message.action.value,
                who=message.who,
                outcome=outcome,
                text=clean(text, 500),
            )
        )

    def confirmed(self, role: tuple[str, str], until: datetime | None) -> None:
        """Take until when a press at this console is good for; None: it has ended."""
        self.picture.confirmed(role, until)
        self._send(PresenceMessage(self.picture.lease(role, self._now())))

    def end_logins(self, key: str) -> None:
        """End the connections of a login."""
        for browser in self.browsers:
            if browser.login.key == key:
                browser.end("logged out")

    @staticmethod
    def farewell(browser: Browser) -> str:
        """Return the last message of a connection that the server ends."""
        return _text(SessionEnded(browser.ended))

    def _broker(self) -> Broker:
        picture = self.picture
        return Broker(connected=picture.connected, since=picture.since, reason=picture.reason)

    def _renew_all(self) -> None:
        """Say that the broker is gone or back, and what is stale by it."""
        self._send(self._broker())
        self._beds(set(self.picture.devices()), self._now())

    def _beds(self, devices: set[Device], now: datetime) -> None:
        for language in self._languages():
            words = load_language(language)
            for device in sorted(devices):
                text = _text(BedMessage(self.picture.bed(device, now, words)))
                self._put(language, text)

    def _news(self, news: News) -> None:
        if news.event in {"accepted", "given_back", "silenced", "closed"}:
            known = self.picture.alert(news.device, news.alert_id, load_language(DEFAULT))
            holder = known.holder if known is not None else None
            self._record(Happened(self._now(), *news.device, news.alert_id, news.event, holder))
        self._call(news)
        for language in self._languages():
            alert = self.picture.alert(news.device, news.alert_id, load_language(language))
            if alert is not None:
                place = self.picture.place(news.device)
                self._put(language, _text(AlertMessage(news.event, alert, place)))

    def _others(self, changes: Changes, now: datetime) -> None:
        for site, device in changes.gone:
            self._send(BedGone(site, device))
        for role in changes.leases:
            self._send(PresenceMessage(self.picture.lease(role, now)))

    def _response(self, item: ResponseSeen) -> None:
        waiting = self._waiting.get(item.response.id or "")
        address = item.address
        if waiting is not None and (address.site, address.device) == (waiting.site, waiting.device):
            self.outcome(waiting, item.response.outcome.value, item.response.text)

    def _wave(self, wave: Waveform) -> None:
        device = (wave.site, wave.device)
        watching = [browser for browser in self.browsers if device in browser.watched]
        text = None
        for browser in watching:
            leads = browser.watched[device]
            if (leads and wave.lead not in leads) or browser.behind:
                continue
            if text is None:
                text = _text(
                    Wave(
                        site=wave.site,
                        device=wave.device,
                        lead=clean(wave.lead),
                        stream=clean(wave.stream),
                        rate_hz=wave.rate_hz,
                        start_index=wave.start_index,
                        at=wave.at,
                        gain_uv=wave.gain_uv,
                        samples=wave.samples,
                    )
                )
            browser.put(text)
        if watching and wave.beats:
            self._new_beats(wave, device, watching)

    def _new_beats(self, wave: Waveform, device: Device, watching: list[Browser]) -> None:
        """Send the beats that another lead of the bed has not brought already."""
        known = self._beats.setdefault(device, deque(maxlen=_BEATS_REMEMBERED))
        new = [beat for beat in wave.beats if (wave.stream, beat.index) not in known]
        if not new:
            return
        known.extend((wave.stream, beat.index) for beat in new)
        seconds = (new[-1].index - wave.start_index) / wave.rate_hz
        self.picture.beat(device, wave.at, seconds)
        text = _text(
            Beats(
                site=wave.site,
                device=wave.device,
                stream=clean(wave.stream),
                rate_hz=wave.rate_hz,
                beats=tuple((beat.index, clean(beat.label)) for beat in new),
            )
        )
        for browser in watching:
            browser.put(text)

    def _follow_watched(self) -> None:
        wanted = {
            f"{Topics(*device).base}/waveform/+"
            for browser in self.browsers
            for device in browser.watched
        }
        if wanted != self._followed:
            self._followed = wanted
            self._follow(wanted)

    def _languages(self) -> set[str]:
        return {browser.language for browser in self.browsers}

    def _put(self, language: str, text: str) -> None:
        for browser in self.browsers:
            if browser.language == language:
                browser.put(text)

    def _send(self, message: ToBrowser) -> None:
        text = _text(message)
        for browser in self.browsers:
            browser.put(text)


def _text(message: ToBrowser) -> str:
    return _ENCODER.encode(message).decode()
