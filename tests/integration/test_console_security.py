"""Who gets what from a console, and what hostile requests and messages do: nothing."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from websockets.exceptions import InvalidStatus

from support.brokers import Mosquitto, publish_all, quick, until
from support.consoles import PASSWORD, ROLES, Page, Running, serving, settings_of
from support.factories import make_alert, make_strip
from support.wards import ALERT_ID, active_alert, active_document
from tocsin_agent.messages.active import encode_active
from tocsin_agent.messages.alert import encode_alert
from tocsin_agent.mqtt.connection import Connection, publish_retained
from tocsin_agent.team.console.app import COOKIE
from tocsin_agent.team.console.hub import MAX_QUEUED_BYTES
from tocsin_agent.team.console.people import read_people, write_people
from tocsin_agent.team.console.sessions import RateLimit
from tocsin_agent.team.console.settings import ListenSettings, PeopleSettings, ProxySettings

pytestmark = pytest.mark.broker

HTML = '<img src=x onerror="alert(1)"><script>alert(2)</script>'
BED = {"site": "ward3", "device": "bed7"}
ACCEPT = BED | {"alert_id": ALERT_ID, "action": "accept"}
PATHS = (
    "/api/session",
    f"/api/alert/ward3/bed7/{ALERT_ID}",
    f"/api/alert/ward3/bed7/{ALERT_ID}/strip.svg",
    f"/api/alert/ward3/bed7/{ALERT_ID}/episode.json",
    "/api/trend/ward3/bed7",
    "/api/history",
    "/api/audit",
)


@pytest.fixture
def running(tmp_path: Path, mosquitto: Mosquitto) -> Iterator[Running]:
    with serving(settings_of(tmp_path, quick(mosquitto.port))) as running:
        yield running


@pytest.fixture
def device(mosquitto: Mosquitto) -> Iterator[Connection]:
    connection = Connection(quick(mosquitto.port), "a-device")
    connection.open()
    bed7 = active_document("bed7", active_alert())
    publish_retained(connection, "tocsin/v1/ward3/bed7/active", encode_active(bed7))
    yield connection
    connection.close()


def known(running: Running) -> None:
    until(lambda: ("ward3", "bed7") in running.console.hub.picture.devices(), what="bed 7")


@pytest.mark.parametrize("path", PATHS)
def test_a_stranger_gets_nothing(running: Running, path: str) -> None:
    for page in (Page(running.port), forged(running)):
        answer = page.fetch(path)
        assert answer.status == 401
        assert set(answer.json) == {"error", "text"}


def forged(running: Running) -> Page:
    page = Page(running.port)
    page.cookie = "A" * 43
    return page


def test_a_stranger_has_no_socket_and_cannot_act(running: Running) -> None:
    page = Page(running.port)
    with pytest.raises(InvalidStatus), page.socket():
        pass
    assert page.fetch("/api/answer", ACCEPT).status == 401
    assert page.fetch("/api/presence", {"site": "ward3", "action": "take"}).status == 401


def test_what_each_role_may_do(running: Running, device: Connection) -> None:  # noqa: ARG001
    known(running)
    allowed = dict[str, tuple[int, int, int]]()
    for role in ROLES:
        page = Page(running.port)
        assert page.login(role).status == 200
        allowed[role] = (
            page.fetch("/api/answer", ACCEPT).status,
            page.fetch("/api/presence", {"site": "ward3", "action": "release"}).status,
            page.fetch("/api/audit").status,
        )
    assert allowed == {
        "viewer": (403, 403, 403),
        "responder": (202, 403, 403),
        "cardiologist": (202, 409, 403),  # 409: holds no lease that could be released
        "admin": (202, 409, 200),
    }


def test_an_answer_needs_the_token_and_this_page(running: Running, device: Connection) -> None:  # noqa: ARG001
    known(running)
    page = Page(running.port)
    page.login("responder")
    for headers in (
        {"X-CSRF-Token": ""},
        {"X-CSRF-Token": "x" * 32},
        {"Origin": "https://evil.example"},
        {"Sec-Fetch-Site": "cross-site", "Origin": "null"},
    ):
        assert page.fetch("/api/answer", ACCEPT, headers).status == 403
    assert page.fetch("/api/answer", ACCEPT, {"Content-Type": "text/plain"}).status == 415
    with (
        pytest.raises(InvalidStatus),
        page.socket(Origin="https://evil.example"),
    ):
        pass
    assert page.fetch("/", headers={"Host": "evil.example"}).status == 421


def test_wrong_passwords_are_refused_alike_and_limited(running: Running) -> None:
    page = Page(running.port)
    wrong, nobody = page.login("viewer", "not this one"), page.login("nobody", "not this one")
    assert (wrong.status, wrong.body) == (nobody.status, nobody.body)
    assert wrong.status == 401
    statuses = [page.login("viewer", "x").status for _ in range(12)]
    assert statuses[-1] == 429
    assert page.login("viewer").status == 429  # not even with the right one
    assert page.login("responder").status == 200  # others are not locked out


def test_the_cookie_is_no_use_to_scripts_and_the_store_to_thieves(
    running: Running, tmp_path: Path
) -> None:
    page = Page(running.port)
    cookie = page.login("viewer").headers["Set-Cookie"]
    assert "HttpOnly" in cookie
    assert "samesite=strict" in cookie.lower()
    assert page.cookie.encode() not in (tmp_path / "console.db").read_bytes()
    assert (tmp_path / "console.db").stat().st_mode & 0o077 == 0


def test_a_login_ends_with_logout_and_with_the_person(running: Running, tmp_path: Path) -> None:
    page, other = Page(running.port), Page(running.port)
    page.login("viewer")
    other.login("responder")
    with page.socket() as socket:
        socket.of("beds")
        assert page.fetch("/api/logout", {}).status == 204
        assert socket.closed() == 4401
    assert page.fetch("/api/session").status == 401
    people = read_people(tmp_path / "people.toml")
    with other.socket() as socket:
        socket.of("beds")
        del people["responder"]
        write_people(tmp_path / "people.toml", people)
        assert socket.closed() == 4401
    assert other.fetch("/api/session").status == 401


def test_headers(running: Running) -> None:
    page = Page(running.port)
    page.login("viewer")
    for path in ("/", "/page/index.html", "/api/session", "/api/nothing", "/page/../app.py"):
        headers = page.fetch(path).headers
        policy = headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["X-Frame-Options"] == "DENY"
        assert headers["Referrer-Policy"] == "no-referrer"
        assert headers["Cross-Origin-Opener-Policy"] == "same-origin"
        assert headers["Cache-Control"] == "no-store"
        assert headers["Server"] is None


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{",
        b"[" * 16_000,
        b"\xff\xfe",
        b'{"user": 1, "password": 2}',
        b'{"user": "a", "password": "b", "more": 1}',
        b'{"user": "' + b"a" * 20_000 + b'", "password": ""}',
    ],
)
def test_hostile_bodies_are_refused(running: Running, raw: bytes) -> None:
    page = Page(running.port)
    assert page.fetch("/api/login", raw=raw).status in {400, 413}


def test_hostile_requests_are_refused(running: Running, device: Connection) -> None:  # noqa: ARG001
    known(running)
    page = Page(running.port)
    page.login("admin")
    wrong: list[dict[str, Any]] = [
        ACCEPT | {"alert_id": "x"},
        ACCEPT | {"action": "delete"},
        ACCEPT | {"reason": "false_alarm"},
        ACCEPT | {"action": "reject", "reason": HTML},
        ACCEPT | {"action": "note"},
        ACCEPT | {"action": "note", "note": "x" * 2001},
        ACCEPT | {"action": "silence", "silence_s": -1},
        ACCEPT | {"action": "silence", "silence_s": 1e9},
    ]
    for body in wrong:
        assert page.fetch("/api/answer", body).status == 400, body
    assert page.fetch("/api/answer", ACCEPT | {"device": "bed9"}).status == 404
    assert page.fetch("/api/presence", {"site": "#", "action": "take"}).status == 400
    for query in ("hours=nan", "hours=1e999", "hours=x"):
        assert page.fetch(f"/api/trend/ward3/bed7?{query}").status == 400
    assert page.fetch("/api/history?before=x").status == 400
    with page.socket() as socket:
        socket.of("beds")
        messages: list[object] = [
            {},
            [],
            {"type": "watch"},
            {"type": "watch", "site": "#", "device": "+"},
        ]
        for message in messages:
            socket.send(message)
        socket.of("tick")  # goes on


def test_hostile_messages_are_harmless(running: Running, device: Connection) -> None:
    """HTML in every field, 1 MB, unknown schema: one bed shows text, the others are as before."""
    page = Page(running.port)
    page.login("viewer")
    alert = msgspec.json.decode(encode_alert(make_alert()))
    alert |= {"device": "bed8", "text": HTML, "patient": HTML, "location": HTML, "stream": HTML}
    alert["evidence"]["rule"] = HTML
    alert["evidence"]["measured"] = {HTML: HTML, "note": "\x1b[31m\u202e" + "y" * 9000}
    alert["signal_quality"] = {"leads": {HTML: 0.5}, "used": HTML}
    with page.socket() as socket:
        socket.of("beds")
        base = "tocsin/v1/ward3/bed8"
        big = alert | {"text": "z" * 1_000_000, "alert_id": "b" * 32}
        publish_all(
            device,
            (f"{base}/alert/high", b"\xff" * 1_000_000),
            (f"{base}/alert/high", b"{" * 100_000),
            (f"{base}/alert/high", msgspec.json.encode(alert | {"schema": "tocsin/alert/v9"})),
            (f"{base}/alert/high", msgspec.json.encode(alert | {"device": "bed7"})),
            (f"{base}/active", b'{"schema": "tocsin/active/v9"}'),
            (f"{base}/waveform/II", b'{"samples": "!"}'),
            (f"{base}/alert/high", msgspec.json.encode(big)),
            (f"{base}/alert/high", msgspec.json.encode(alert)),
        )
        shown = socket.until(
            lambda m: m["type"] == "alert" and m["alert"]["alert_id"] == alert["alert_id"]
        )
        assert shown["place"].lower() == HTML.lower()  # text, as it was written
        text = msgspec.json.encode(shown).decode()
        assert "\u202e" not in text
        assert len(text) < 10_000
        assert all(len(msgspec.json.encode(message)) < 20_000 for message in socket.seen)
    with page.socket() as socket:
        beds = {bed["device"]: bed for bed in socket.of("beds")["beds"]}
        assert set(beds) == {"bed7", "bed8"}
        assert [one["alert_id"] for one in beds["bed7"]["alerts"]] == [ALERT_ID]


def test_a_login_gets_a_token_of_its_own_and_attempts_are_limited_by_address(
    running: Running,
) -> None:
    page = Page(running.port)
    page.cookie = planted = "A" * 43
    page.login("viewer")
    assert page.cookie != planted
    first = page.cookie
    page.login("viewer")
    assert page.cookie != first
    page.cookie = planted
    assert page.fetch("/api/session").status == 401
    running.console._by_address = RateLimit(2, 300.0)
    statuses = [Page(running.port).login(f"nobody{number}", "x").status for number in range(3)]
    assert statuses == [401, 401, 429]


@pytest.mark.parametrize(
    "path",
    [
        "/page/../app.py",
        "/page/%2e%2e/app.py",
        "/page/..%2fapp.py",
        "/page/words/../../people.py",
        "/page//etc/passwd",
        "/page/%00",
        "/page/words/",
        f"/api/alert/ward3/bed7/{ALERT_ID}/..%2f..%2fepisode.json",
        f"/api/alert/ward3/bed7/..%2f{ALERT_ID}/episode.json",
    ],
)
def test_no_path_leads_out_of_the_page(running: Running, path: str) -> None:
    page = Page(running.port)
    page.login("admin")
    answer = page.fetch(path)
    assert answer.status in {400, 404}
    assert b"import" not in answer.body


def test_what_an_alert_names_does_not_get_into_headers(
    running: Running, device: Connection
) -> None:
    page = Page(running.port)
    page.login("viewer")
    hostile, alert = (make_alert(n, strip=make_strip()) for n in (3600, 7200))
    refused = msgspec.structs.replace(hostile, code="vt\n")
    topic = "tocsin/v1/ward3/bed7/alert/high"
    publish_all(device, *((topic, encode_alert(one)) for one in (refused, alert)))
    path = "/api/alert/ward3/bed7"
    until(lambda: page.fetch(f"{path}/{alert.alert_id}").status == 200)
    for what in ("strip.svg", "episode.json", "episode.zip"):
        assert page.fetch(f"{path}/{refused.alert_id}/{what}").status == 404
        answer = page.fetch(f"{path}/{alert.alert_id}/{what}")
        assert answer.status == 200
        assert "Set-Cookie" not in answer.headers
        name = answer.headers["Content-Disposition"].partition("filename=")[2]
        assert name.strip('"').rpartition(".")[0].replace("_", "").replace("-", "").isalnum()


def test_a_frame_too_long_ends_its_page_alone(running: Running, device: Connection) -> None:  # noqa: ARG001
    page = Page(running.port)
    page.login("viewer")
    with page.socket() as hostile, page.socket() as other:
        hostile.of("beds")
        other.of("beds")
        hostile.send({"type": "watch", "site": "x" * 1_000_000, "device": "bed7", "leads": []})
        assert hostile.closed() == 1009
        other.of("tick")


def test_a_page_that_reads_nothing_delays_nobody(running: Running, device: Connection) -> None:
    page = Page(running.port)
    page.login("viewer")
    request = (
        f"GET /ws HTTP/1.1\r\nHost: 127.0.0.1:{running.port}\r\nUpgrade: websocket\r\n"
        f"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nCookie: {COOKIE}={page.cookie}\r\n"
        f"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nOrigin: http://127.0.0.1:{running.port}\r\n"
        "\r\n"
    )
    with socket.socket() as stalled, page.socket() as other:
        stalled.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        stalled.connect(("127.0.0.1", running.port))
        stalled.sendall(request.encode())
        other.of("beds")
        until(lambda: len(running.console.hub.browsers) == 2)
        topic = "tocsin/v1/ward3/bed7/alert/high"
        alerts = [make_alert(3600 * n, text=f"{n} " + "x" * 400) for n in range(1, 301)]
        # Far more than the buffers hold.
        publish_all(device, *((topic, encode_alert(alert)) for alert in alerts))
        last = make_alert(3600 * 300).alert_id
        until_shown = other.until(lambda m: m["type"] == "alert" and m["alert"]["alert_id"] == last)
        assert until_shown["event"] == "onset"
        for browser in running.console.hub.browsers:
            assert browser._bytes <= MAX_QUEUED_BYTES


def test_a_proxy_is_believed_only_at_its_address(tmp_path: Path, mosquitto: Mosquitto) -> None:
    headers = {"X-Forwarded-User": "dr-k", "X-Forwarded-Groups": "staff, cardio"}
    for address, status in (("127.0.0.1", 200), ("192.0.2.7", 401)):
        proxy = ProxySettings(addresses=(address,), roles={"cardio": "cardiologist"})
        folder = tmp_path / address
        folder.mkdir()
        settings = settings_of(folder, quick(mosquitto.port), people=PeopleSettings(proxy=proxy))
        with serving(settings) as running:
            page = Page(running.port)
            answer = page.fetch("/api/session", headers=headers)
            assert answer.status == status
            if status == 200:
                assert answer.json["role"] == "cardiologist"
                page.cookie = answer.headers["Set-Cookie"].split(";")[0].split("=", 1)[1]
                assert page.fetch("/api/history").status == 401  # past the proxy
                assert page.fetch("/api/history", headers=headers).status == 200
                nobody = headers | {"X-Forwarded-Groups": "staff"}
                assert page.fetch("/api/history", headers=nobody).status == 401


def test_passwords_do_not_travel_in_the_clear() -> None:
    with pytest.raises(ValueError, match="passwords would travel in the clear"):
        ListenSettings(host="0.0.0.0")  # noqa: S104 - it is refused
    assert len(PASSWORD) >= 12
