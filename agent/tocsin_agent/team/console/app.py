"""The ASGI application: routes of the page, of logins, of answers; the WebSocket. By starlette."""

from __future__ import annotations

import asyncio
import logging
import math
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from importlib import resources
from ipaddress import ip_address
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.requests import HTTPConnection, Request
from starlette.responses import Response
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.staticfiles import StaticFiles
from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from tocsin_agent.errors import MissingExtraError
from tocsin_agent.messages.reading import Reading
from tocsin_agent.signing.envelope import Signer
from tocsin_agent.signing.keyring import KeyFile
from tocsin_agent.team.console.actions import Answers, Attendance, Keys
from tocsin_agent.team.console.export import strip_pdf, strip_svg
from tocsin_agent.team.console.headers import SafeHeaders, same_origin
from tocsin_agent.team.console.hub import Browser, Hub
from tocsin_agent.team.console.link import Link, filters_of
from tocsin_agent.team.console.pages import alert_page, history_page, trend_page
from tocsin_agent.team.console.people import People
from tocsin_agent.team.console.picture import News
from tocsin_agent.team.console.protocol import (
    AnswerRequest,
    Done,
    FromBrowser,
    PresenceRequest,
    PushRequest,
    Refusal,
    Right,
    Session,
    Watch,
)
from tocsin_agent.team.console.protocol import (
    Login as LoginRequest,
)
from tocsin_agent.team.console.push import Push
from tocsin_agent.team.console.reviewing import CaseReview
from tocsin_agent.team.console.sessions import RateLimit, Sessions, same
from tocsin_agent.team.console.settings import ConsoleSettings, Role
from tocsin_agent.team.console.store import Happened, Login, Store
from tocsin_agent.team.console.wording import short
from tocsin_agent.team.export.files import episode_json, episode_zip
from tocsin_agent.team.feed import Item
from tocsin_agent.team.language import available, load_language
from tocsin_agent.team.receiver import Receiver

log = logging.getLogger(__name__)

MAX_BODY_BYTES = 16_384
MAX_MESSAGE_BYTES = 8_192
COOKIE = "tocsin_console"
CSRF_HEADER = "X-CSRF-Token"
MAX_TREND_H = 72.0
_FROM_BROWSER = msgspec.json.Decoder(FromBrowser)
_ENDED = 4401
T = TypeVar("T")


class Refused(Exception):  # noqa: N818  # an answer, not a fault of this program
    """A request that is refused: status, a word for programs, one sentence."""

    def __init__(self, status: int, error: str, text: str, after_s: float = 0.0) -> None:
        super().__init__(text)
        self.status, self.error, self.text, self.after_s = status, error, text, after_s


class Console:
    """A console: its parts wired, and its routes.

    Reason for its size: one method a route.

    Parameters
    ----------
    settings : ConsoleSettings

    Attributes
    ----------
    app : Starlette
        Serve it with uvicorn, with one worker.
    """

    def __init__(self, settings: ConsoleSettings) -> None:
        history, people, keys = settings.history, settings.people, settings.keys
        self.settings = settings
        self.store = Store(
            Path(history.file), timedelta(days=history.keep_days), int(history.max_mb * 1e6)
        )
        self.people = People(Path(people.file) if people.file else None)
        self.sessions = Sessions(
            self.store, timedelta(hours=people.session_h), timedelta(hours=people.idle_h)
        )
        own = Signer.from_file(Path(keys.own_file)) if keys.own_file else None
        trusted = KeyFile(Path(keys.trusted_file)) if keys.trusted_file else None
        receiver = Receiver(
            settings.mqtt,
            filters_of(settings.site),
            client_id=settings.client_id,
            keep_session=True,
            receipts=True,
            signer=own,
            keys=trusted,
            renewals=True,
        )
        self._loop: asyncio.AbstractEventLoop | None = None
        self.link = Link(receiver, self.store, self._hand_over, self._is_watched, self._kept)
        self.push = Push(settings.push, self.store, self._entitled) if settings.push else None
        self.hub = Hub(
            settings.title,
            follow=self.link.follow,
            valid=self._still_valid,
            record=self.link.record,
            call=self._call,
            push_key=self.push.public_key if self.push else None,
        )
        folder = Keys(Path(keys.people_folder) if keys.people_folder else None)
        self.answers = Answers(self.hub, self.link, folder, people)
        self.attendance = Attendance(settings.mqtt, settings.presence, folder, self.hub.confirmed)
        self.review = CaseReview(Path(settings.review.folder)) if settings.review else None
        self._by_address = RateLimit(30, 300.0)
        self._by_user = RateLimit(10, 300.0)
        self._acts = RateLimit(60, 60.0)
        self._hashing = asyncio.Semaphore(2)
        self.app = self._app()

    def _app(self) -> Starlette:
        listen = self.settings.listen
        hosts = listen.hosts or ("localhost", "127.0.0.1", "::1", listen.host)
        alert = "/api/alert/{site}/{device}/{alert_id}"
        page = resources.files("tocsin_agent.team.console") / "page"
        return Starlette(
            routes=[
                Route("/", self._index),
                Route("/review", self._review_page),
                Route("/page/case.js", self._case_script),
                Route("/api/login", self._guarded(self._login), methods=["POST"]),
                Route("/api/logout", self._guarded(self._logout), methods=["POST"]),
                Route("/api/session", self._guarded(self._session)),
                Route("/api/answer", self._guarded(self._answer), methods=["POST"]),
                Route("/api/presence", self._guarded(self._presence), methods=["POST"]),
                Route("/api/push", self._guarded(self._push), methods=["POST"]),
                Route(alert, self._guarded(self._alert)),
                Route(f"{alert}/{{what}}", self._guarded(self._alert_file)),
                Route("/api/trend/{site}/{device}", self._guarded(self._trend)),
                Route("/api/history", self._guarded(self._history)),
                Route("/api/audit", self._guarded(self._audit)),
                Route("/api/review", self._guarded(self._cases)),
                Route("/api/review/{case}", self._guarded(self._case)),
                Route("/api/review/{case}", self._guarded(self._read_case), methods=["POST"]),
                WebSocketRoute("/ws", self._socket),
                Mount("/page", StaticFiles(directory=str(page))),
            ],
            middleware=[Middleware(SafeHeaders, hosts=hosts, secure=listen.secure)],
            lifespan=self._lifespan,
        )

    @asynccontextmanager
    async def _lifespan(self, _: Starlette) -> AsyncIterator[None]:
        self._loop = asyncio.get_running_loop()
        self.link.start()
        ticking = asyncio.create_task(self._tick())
        try:
            yield
        finally:
            ticking.cancel()
            with suppress(asyncio.CancelledError):
                await ticking
            await self.attendance.leave_all()
            if self.push is not None:
                await self.push.close()
            await asyncio.to_thread(self.link.stop)
            self.store.close()

    async def _tick(self) -> None:
        while True:
            # At the turn of the second, so that all pages show the same one.
            await asyncio.sleep(1.0 - math.fmod(time.time(), 1.0))
            try:
                self.hub.tick()
                await self.attendance.tick()
            except Exception:  # the next tick must come
                log.exception("a tick failed")

    def _hand_over(self, items: list[Item]) -> None:
        """Pass what arrived to the loop, from the link's thread."""
        self._in_loop(lambda: self.hub.take(items))

    def _kept(self, changed: set[tuple[str, str, str]]) -> None:
        """Say in the loop what can be read from the store now, from the link's thread."""
        self._in_loop(lambda: self.hub.kept(changed))

    def _in_loop(self, call: Callable[[], None]) -> None:
        if self._loop is not None and not self._loop.is_closed():
            with suppress(RuntimeError):  # closed meanwhile: the server ends
                self._loop.call_soon_threadsafe(call)

    # -- who asks ---------------------------------------------------------------------------------

    def _guarded(
        self, handler: Callable[[Request], Awaitable[Response]]
    ) -> Callable[[Request], Awaitable[Response]]:
        """Return a handler whose refusals are answers in JSON."""

        async def guarded(request: Request) -> Response:
            try:
                _check_origin(request)
                return await handler(request)
            except Refused as refused:
                answer = _json(Refusal(refused.error, refused.text), refused.status)
                if refused.after_s:
                    answer.headers["Retry-After"] = str(math.ceil(refused.after_s))
                return answer

        return guarded

    def _find_login(self, connection: HTTPConnection) -> Login | None:
        """Return who asks, by the cookie; the role is that of now, not of the login."""
        login = self.sessions.find(connection.cookies.get(COOKIE, ""))
        if login is None:
            return None
        if login.by_proxy:
            named = self._proxied(connection)
            if named is None or named[0] != login.user:
                return None
            self.sessions.confirm(login.key, named[1], time.monotonic())
            return login._replace(role=named[1])
        user = self.people.get(login.user)
        return login._replace(role=user.role) if user is not None else None

    def _is_watched(self) -> bool:
        return bool(self.hub.browsers)

    def _still_valid(self, login: Login) -> bool:
        """Return whether an open connection may go on: the person is still there, in that role.

        A connection passes the proxy once, when it is opened: what the proxy has said since is
        known by the page's requests.
        """
        if not self.sessions.in_use(login):
            return False
        if login.by_proxy:
            proxy, now_s = self.settings.people.proxy, time.monotonic()
            return proxy is not None and self.sessions.confirmed(login, proxy.confirm_s, now_s)
        user = self.people.get(login.user)
        return user is not None and user.role == login.role

    def _proxied(self, connection: HTTPConnection) -> tuple[str, Role] | None:
        """Return whom a trusted proxy names, and the role of their groups."""
        proxy = self.settings.people.proxy
        if proxy is None or connection.client is None:
            return None
        address = ip_address(connection.client.host)
        user = connection.headers.get(proxy.user_header, "")
        if not any(address in network for network in proxy.networks) or not 0 < len(user) <= 128:
            return None
        groups = {g.strip() for g in connection.headers.get(proxy.groups_header, "").split(",")}
        order: tuple[Role, ...] = ("admin", "cardiologist", "responder", "viewer")
        given = {role for group, role in proxy.roles.items() if group in groups}
        role = next((role for role in order if role in given), None)
        return (user, role) if role is not None and user.isprintable() else None

    def _who(self, request: Request, right: Right) -> Login:
        login = self._find_login(request)
        if login is None:
            raise Refused(401, "no_login", "log in first")
        if request.method == "POST":
            if not same(request.headers.get(CSRF_HEADER, ""), login.csrf):
                raise Refused(403, "csrf", f"the header {CSRF_HEADER} is missing or wrong")
            if after_s := self._acts.take(login.key, time.monotonic()):
                raise Refused(429, "too_many", "too many actions; wait a little", after_s)
        if right not in login.rights:
            raise Refused(403, "no_right", f"the role {login.role} may not do this")
        return login

    # -- routes -----------------------------------------------------------------------------------

    async def _index(self, _: Request) -> Response:
        page = resources.files("tocsin_agent.team.console") / "page" / "index.html"
        return Response(page.read_bytes(), media_type="text/html; charset=utf-8")

    async def _review_page(self, _: Request) -> Response:
        page = resources.files("tocsin_agent.team.console") / "page" / "review.html"
        return Response(page.read_bytes(), media_type="text/html; charset=utf-8")

    async def _case_script(self, _: Request) -> Response:
        script = resources.files("tocsin_agent.drawing") / "case.js"
        return Response(script.read_bytes(), media_type="text/javascript; charset=utf-8")

    async def _login(self, request: Request) -> Response:
        wanted = await _body(request, LoginRequest)
        address = request.client.host if request.client else ""
        now_s = time.monotonic()
        for limit, name in ((self._by_address, address), (self._by_user, wanted.user[:128])):
            if after_s := limit.take(name, now_s):
                raise Refused(429, "too_many", "too many attempts; wait a little", after_s)
        async with self._hashing:
            user = await run_in_threadpool(self.people.check, wanted.user, wanted.password)
        if user is None:
            log.warning("a login of %r from %s was refused", wanted.user[:64], address)
            raise Refused(401, "wrong", "user or password is wrong")
        self._by_user.clear(wanted.user[:128])
        language = wanted.language or user.language
        token, login = self.sessions.begin(
            wanted.user, user.role, self._language(language), by_proxy=False
        )
        self.link.record(Happened(datetime.now(UTC), "", "", "", "login", login.user, address))
        return self._with_cookie(_json(self._shown(login)), token)

    async def _logout(self, request: Request) -> Response:
        login = self._who(request, "read")
        self.sessions.end(login.key)
        self.store.drop_push(key=login.key)
        self.hub.end_logins(login.key)
        answer = Response(status_code=204)
        answer.delete_cookie(COOKIE)
        return answer

    async def _session(self, request: Request) -> Response:
        login = self._find_login(request)
        if login is not None:
            return _json(self._shown(login))
        named = self._proxied(request)
        if named is None:
            people = self.settings.people
            by_proxy = people.proxy is not None and people.file is None
            raise Refused(401, "proxy_login" if by_proxy else "no_login", "log in first")
        token, login = self.sessions.begin(*named, self.settings.language, by_proxy=True)
        return self._with_cookie(_json(self._shown(login)), token)

    def _shown(self, login: Login) -> Session:
        """Return a login as its page sees it, and how often the page asks for it again."""
        proxy, shown = self.settings.people.proxy, login.shown()
        if self.review is None:
            rights = tuple(right for right in shown.rights if right != "review")
            shown = msgspec.structs.replace(shown, rights=rights)
        if not login.by_proxy or proxy is None:
            return shown
        return msgspec.structs.replace(shown, ask_s=proxy.confirm_s / 3.0)

    async def _answer(self, request: Request) -> Response:
        login = self._who(request, "answer")
        wanted = await _body(request, AnswerRequest)
        try:
            return _json(self.answers.send(login, wanted, datetime.now(UTC)), 202)
        except ValueError as exc:
            raise Refused(400, "malformed", str(exc)) from exc
        except LookupError as exc:
            raise Refused(404, "unknown", str(exc)) from exc
        except ConnectionError as exc:
            raise Refused(503, "not_sent", str(exc)) from exc

    async def _presence(self, request: Request) -> Response:
        login = self._who(request, "presence")
        wanted = await _body(request, PresenceRequest)
        try:
            done = await self.attendance.press(login, wanted)
        except ValueError as exc:
            raise Refused(400, "malformed", str(exc)) from exc
        except LookupError as exc:
            raise Refused(409, "not_held", str(exc)) from exc
        except ConnectionError as exc:
            raise Refused(503, "not_sent", str(exc)) from exc
        event = f"presence_{wanted.action}"
        self.link.record(
            Happened(datetime.now(UTC), wanted.site, "", "", event, login.user, wanted.role)
        )
        return _json(done)

    async def _push(self, request: Request) -> Response:
        login = self._who(request, "read")
        wanted = await _body(request, PushRequest)
        if self.push is None:
            raise Refused(404, "no_push", "this console has no web push")
        if not wanted.auth:
            self.push.end(login, wanted.endpoint)
            return _json(Done(outcome="ended"))
        try:
            self.push.subscribe(login, wanted, datetime.now(UTC))
        except ValueError as exc:
            raise Refused(400, "malformed", str(exc)) from exc
        return _json(Done(outcome="subscribed"))

    def _call(self, news: News) -> None:
        """Call people by web push, if it is configured."""
        if self.push is not None:
            picture, device = self.hub.picture, news.device
            self.push.news(
                news.event,
                device,
                lambda code: picture.alert(device, news.alert_id, load_language(code)),
                picture.place(device),
            )

    def _entitled(self, user: str) -> bool:
        """Return whether a person may see alerts without a page: known here, or by a proxy."""
        return self.people.get(user) is not None or self.settings.people.proxy is not None

    async def _alert(self, request: Request) -> Response:
        login = self._who(request, "read")
        path, language = request.path_params, self._language_of(request, login)
        device = (path["site"], path["device"])
        page = await run_in_threadpool(
            alert_page, self.store, self.hub.picture, device, path["alert_id"], language
        )
        if page is None:
            raise Refused(404, "unknown", "there is no such alert here")
        return _json(page)

    async def _alert_file(self, request: Request) -> Response:
        login = self._who(request, "read")
        path, language = request.path_params, self._language_of(request, login)
        kept = [
            one
            for one in await run_in_threadpool(self.store.documents, path["alert_id"])
            if (one.alert.site, one.alert.device) == (path["site"], path["device"])
        ]
        documents = [one.alert for one in kept]
        if not documents:
            raise Refused(404, "unknown", "there is no such alert here")
        with_strip = [alert for alert in documents if alert.strip is not None]
        sequence = request.query_params.get("sequence", "")
        if sequence:
            with_strip = [alert for alert in with_strip if str(alert.sequence) == sequence]
        # A header takes few characters, and a file's name fewer: the code may be anybody's.
        name = re.sub(
            r"[^A-Za-z0-9_-]", "_", f"{documents[0].code[:64]}-{documents[0].alert_id[:8]}"
        )
        what = path["what"]
        try:
            if what in {"strip.svg", "strip.pdf"}:
                if not with_strip:
                    raise Refused(404, "no_strip", "no document of this alert has a strip")
                make = strip_svg if what == "strip.svg" else strip_pdf
                content = await run_in_threadpool(make, with_strip[0], language)
            elif what == "episode.json":
                events = await run_in_threadpool(self.store.events, path["alert_id"])
                content = episode_json(documents, [one._asdict() for one in events])
            elif what == "episode.zip":
                content = await run_in_threadpool(episode_zip, documents)
            else:
                raise Refused(404, "unknown", "strip.svg, strip.pdf, episode.json or episode.zip")
        except (ValueError, MissingExtraError) as exc:
            raise Refused(404, "no_strip", str(exc)) from exc
        return _file(content, name, what)

    async def _trend(self, request: Request) -> Response:
        self._who(request, "read")
        path = request.path_params
        hours = min(max(_number(request, "hours", 24.0), 0.1), MAX_TREND_H)
        since = datetime.now(UTC) - timedelta(hours=hours)
        trends = await run_in_threadpool(self.store.trends, path["site"], path["device"], since)
        return _json(trend_page(path["site"], path["device"], hours, trends))

    async def _history(self, request: Request) -> Response:
        login = self._who(request, "read")
        query = request.query_params
        try:
            before = datetime.fromisoformat(query["before"]) if query.get("before") else None
        except ValueError:
            raise Refused(400, "malformed", "before: a time of ISO 8601 expected") from None
        limit = int(min(max(_number(request, "limit", 50.0), 1), 500))
        page = await run_in_threadpool(
            history_page,
            self.store,
            self.hub.picture,
            self._language_of(request, login),
            site=query.get("site", ""),
            device=query.get("device", ""),
            before=before,
            limit=limit,
        )
        return _json(page)

    async def _audit(self, request: Request) -> Response:
        self._who(request, "audit")
        events = await run_in_threadpool(self.store.events, None, 1000)
        return _json([one._asdict() for one in events])

    async def _cases(self, request: Request) -> Response:
        login = self._who(request, "review")
        language = self._language_of(request, login)
        found = await self._reviewed(CaseReview.cases, login.user)
        names = {code: short(language.condition_of(code, {})) for code in found.conditions}
        return _json(msgspec.structs.replace(found, names=names))

    async def _case(self, request: Request) -> Response:
        login = self._who(request, "review")
        return _json(await self._reviewed(CaseReview.case, request.path_params["case"], login.user))

    async def _read_case(self, request: Request) -> Response:
        login = self._who(request, "review")
        reading, case = await _body(request, Reading), request.path_params["case"]
        await self._reviewed(CaseReview.save, case, login.user, reading)
        # Without the verdict: whoever reads the audit trail may be the second reader.
        self.link.record(Happened(datetime.now(UTC), "", "", "", "case_read", login.user, case))
        return _json(Done(outcome="saved"))

    async def _reviewed(self, act: Callable[..., T], *about: object) -> T:
        """Return what the review answers; what it refuses is `Refused`."""
        if self.review is None:
            raise Refused(404, "no_review", "no review is configured: set review.folder")
        try:
            return await run_in_threadpool(act, self.review, *about)
        except LookupError as exc:
            raise Refused(404, "unknown", str(exc)) from exc
        except ValueError as exc:
            raise Refused(400, "malformed", str(exc)) from exc
        except OSError as exc:
            log.error("the review cannot be read or written: %s", exc)  # noqa: TRY400
            raise Refused(
                503,
                "no_review",
                "the cases cannot be read or the answer not kept: see the server's log",
            ) from exc

    # -- the WebSocket ----------------------------------------------------------------------------

    async def _socket(self, socket: WebSocket) -> None:
        login = self._find_login(socket)
        if login is None:
            await socket.close(_ENDED)
            return
        language = self._language(socket.query_params.get("language") or login.language)
        browser = Browser(login, language, self._shown(login))
        await socket.accept()
        try:
            self.hub.join(browser)
        except OverflowError as exc:
            with suppress(RuntimeError, WebSocketDisconnect):
                await socket.close(1013, str(exc))
            return
        sending = asyncio.create_task(self._send_all(socket, browser))
        receiving = asyncio.create_task(self._receive_all(socket, browser))
        try:
            await asyncio.wait({sending, receiving}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self.hub.leave(browser)
            for task in (sending, receiving):
                task.cancel()
            await asyncio.gather(sending, receiving, return_exceptions=True)
            with suppress(RuntimeError, WebSocketDisconnect):
                if socket.application_state is WebSocketState.CONNECTED:
                    await socket.close(_ENDED if browser.ended else 1000)

    async def _send_all(self, socket: WebSocket, browser: Browser) -> None:
        with suppress(WebSocketDisconnect, RuntimeError, OSError):
            while True:
                text = await browser.take()
                if text is not None:
                    await socket.send_text(text)
                elif browser.ended:
                    await socket.send_text(self.hub.farewell(browser))
                    return
                else:
                    for part in self.hub.whole(browser):
                        await socket.send_text(part)

    async def _receive_all(self, socket: WebSocket, browser: Browser) -> None:
        with suppress(WebSocketDisconnect, RuntimeError, KeyError):
            while True:
                text = await socket.receive_text()
                try:
                    message = _FROM_BROWSER.decode(text)
                except (msgspec.DecodeError, RecursionError):
                    continue  # a page of another version, or nobody's page
                device = (message.site, message.device)
                if isinstance(message, Watch):
                    if device in self.hub.picture.devices():
                        self.hub.watch(browser, device, message.leads)
                else:
                    self.hub.unwatch(browser, device)

    # -- small things -----------------------------------------------------------------------------

    def _with_cookie(self, answer: Response, token: str) -> Response:
        people, listen = self.settings.people, self.settings.listen
        answer.set_cookie(
            COOKIE,
            token,
            max_age=int(people.session_h * 3600),
            httponly=True,
            samesite="strict",
            secure=listen.secure or people.proxy is not None,
            path="/",
        )
        return answer

    def _language(self, code: str) -> str:
        return code if code in available() else self.settings.language

    def _language_of(self, request: Request, login: Login) -> Any:  # noqa: ANN401
        return load_language(self._language(request.query_params.get("language") or login.language))


def _check_origin(request: Request) -> None:
    if request.method == "POST" and not same_origin(request.headers):
        raise Refused(403, "other_origin", "this request is from another page")


def _json(content: object, status: int = 200) -> Response:
    return Response(msgspec.json.encode(content), status, media_type="application/json")


def _file(content: bytes, name: str, what: str) -> Response:
    kind = what.rpartition(".")[2]
    media = {"svg": "image/svg+xml", "pdf": "application/pdf", "zip": "application/zip"}
    headers = {}
    if kind in {"json", "zip"}:
        headers["Content-Disposition"] = f'attachment; filename="{name}.{kind}"'
    else:
        headers["Content-Disposition"] = f'inline; filename="{name}.{kind}"'
    if kind == "svg":  # its looks are in it; nothing in it can run
        headers["Content-Security-Policy"] = (
            "default-src 'none'; style-src 'unsafe-inline'; sandbox"
        )
    return Response(content, media_type=media.get(kind, "application/json"), headers=headers)


async def _body(request: Request, kind: type[T]) -> T:
    """Read and check the JSON of a request.

    Raises
    ------
    Refused
        If it is too long, not JSON, or something else.
    """
    if request.headers.get("content-type", "").partition(";")[0] != "application/json":
        raise Refused(415, "malformed", "application/json expected")
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            raise Refused(413, "too_long", f"at most {MAX_BODY_BYTES} bytes are read")
    try:
        return msgspec.json.decode(bytes(body), type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise Refused(400, "malformed", str(exc)) from exc


def _number(request: Request, name: str, default: float) -> float:
    text = request.query_params.get(name)
    try:
        value = float(text) if text else default
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise Refused(400, "malformed", f"{name}: a number expected")
    return value
