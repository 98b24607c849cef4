"""Web push: a person whose page is closed is called, by an encrypted message without a name."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from playwright.sync_api import Browser

from support.brokers import Mosquitto, quick, until
from support.browser import Visit, chromium
from support.consoles import Page, Running, serving, settings_of
from support.factories import NOON, make_alert
from support.push_service import PushService, server_key
from support.wall_beds import WallBeds
from tocsin_agent.errors import ConfigError
from tocsin_agent.messages.alert import Audience, Priority
from tocsin_agent.team.console.app import Console
from tocsin_agent.team.console.protocol import PushRequest
from tocsin_agent.team.console.push import MAX_OF_A_PERSON, Push
from tocsin_agent.team.console.settings import PushSettings
from tocsin_agent.team.console.store import Login, Store
from tocsin_agent.team.console.wording import Latest, view_of_document
from tocsin_agent.team.language import load_language

pytestmark = pytest.mark.broker


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture
def service() -> Iterator[PushService]:
    with PushService() as service:
        yield service


def push_of(folder: Path, service: PushService, **more: Any) -> PushSettings:  # noqa: ANN401
    key = server_key(folder / "push.pem")
    fields = {"contact": "mailto:ward@example.com", "services": (service.origin,)}
    return PushSettings(key_file=str(key), **(fields | more))


@pytest.fixture
def running(tmp_path: Path, mosquitto: Mosquitto, service: PushService) -> Iterator[Running]:
    settings = settings_of(tmp_path, quick(mosquitto.port), push=push_of(tmp_path, service))
    with serving(settings) as running:
        yield running


@pytest.fixture
def beds(mosquitto: Mosquitto, running: Running) -> Iterator[WallBeds]:
    with WallBeds(mosquitto.port, beds=2, live=0) as beds:
        until(lambda: len(running.console.hub.picture.devices()) == 2)
        yield beds


def test_a_person_is_called_for_high_priority_without_the_patients_name(
    running: Running, beds: WallBeds, service: PushService
) -> None:
    page = Page(running.port)
    page.login("responder")
    assert page.fetch("/api/push", service.subscription()).json["outcome"] == "subscribed"
    beds.raise_alert("ward1", "bed01", "couplet", Priority.LOW)
    beds.raise_alert("ward1", "bed01", "pause", Priority.MEDIUM)
    alert = beds.raise_alert("ward1", "bed02", "asystole", Priority.HIGH)
    until(lambda: service.calls, what="a call")
    (call,) = service.calls
    assert call["alert_id"] == alert.alert_id
    assert (call["place"], call["priority"]) == ("Bed 02", "high")
    assert call["condition"] == "ASYSTOLE"
    assert alert.patient is not None
    assert alert.patient.encode() not in service.bodies[0]
    assert service.headers[0]["Urgency"] == "high"
    assert service.headers[0]["TTL"] == "300"
    page.fetch("/api/logout", {})
    beds.raise_alert("ward1", "bed01", "ventricular_fibrillation", Priority.HIGH)
    with page_of(running, "viewer").socket() as socket:
        socket.until(lambda m: any("FIBRILLATION" in a["condition"] for a in alerts_in(m)))
    assert running.console.store.pushes() == []
    assert len(service.calls) == 1, "nobody is called after the logout"


def page_of(running: Running, user: str) -> Page:
    page = Page(running.port)
    page.login(user)
    return page


def alerts_in(message: dict[str, Any]) -> list[dict[str, Any]]:
    beds = [message["bed"]] if message["type"] == "bed" else message.get("beds", [])
    return [alert for bed in beds for alert in bed["alerts"]]


@pytest.mark.parametrize("medium", [False, True])
def test_medium_priority_calls_by_choice(
    tmp_path: Path, service: PushService, *, medium: bool
) -> None:
    store = Store(tmp_path / "console.db", timedelta(days=1), 1_000_000)
    push = Push(push_of(tmp_path, service, medium=medium), store, lambda _: True)
    alert = make_alert(priority=Priority.MEDIUM)
    view = view_of_document(Latest(alert, Audience.TEAM), load_language("en"))
    page = Login("k", "u", "viewer", "en", "c", False, NOON, NOON)
    push.subscribe(page, PushRequest(**service.subscription()), datetime.now(UTC))

    async def news() -> None:
        push.news("onset", ("ward3", "bed7"), lambda _: view, "Bed 7")
        await asyncio.gather(*asyncio.all_tasks() - {asyncio.current_task()})
        await push.close()

    asyncio.run(news())
    assert len(service.calls) == int(medium)
    store.close()


def test_a_subscription_that_has_ended_is_removed_and_a_redirection_not_followed(
    running: Running, beds: WallBeds, service: PushService
) -> None:
    page, store = Page(running.port), running.console.store
    page.login("responder")
    page.fetch("/api/push", service.subscription())
    service.status = 307
    beds.raise_alert("ward1", "bed01", "asystole", Priority.HIGH)
    until(lambda: service.calls)
    assert len(store.pushes()) == 1
    service.status = 410
    beds.raise_alert("ward1", "bed02", "asystole", Priority.HIGH)
    until(lambda: not store.pushes(), what="it is removed")
    assert {call["device"] for call in service.calls} == {"bed01", "bed02"}


@pytest.mark.parametrize(
    "endpoint",
    [
        "http://127.0.0.1:1/x",
        "https://127.0.0.1/x",
        "http://169.254.169.254/latest",
        "file:///etc/passwd",
        "https://fcm.googleapis.com/x",
        "{origin}@evil.example/x",
        "{origin}.evil.example/x",
        "http://user@{host}/x",
        "{origin}\\@evil.example/x",
        "x",
    ],
)
def test_only_the_listed_services_are_asked(
    running: Running, service: PushService, endpoint: str
) -> None:
    page = Page(running.port)
    page.login("viewer")
    host = service.origin.removeprefix("http://")
    wrong = service.subscription() | {"endpoint": endpoint.format(origin=service.origin, host=host)}
    assert page.fetch("/api/push", wrong).status == 400
    assert running.console.store.pushes() == []


def test_keys_are_checked_and_a_person_has_so_many_browsers(
    running: Running, service: PushService
) -> None:
    page, stranger = Page(running.port), Page(running.port)
    assert stranger.fetch("/api/push", service.subscription()).status == 401
    page.login("viewer")
    good = service.subscription()
    for wrong in ({"p256dh": "AAAA"}, {"auth": "AAAA"}, {"p256dh": "B" * 87}, {"p256dh": "!"}):
        assert page.fetch("/api/push", good | wrong).status == 400
    for number in range(MAX_OF_A_PERSON + 3):
        page.fetch("/api/push", service.subscription(f"phone{number}"))
    names = {one.endpoint.rsplit("/", 1)[1] for one in running.console.store.pushes()}
    assert names == {f"phone{number}" for number in range(3, MAX_OF_A_PERSON + 3)}
    page.fetch("/api/push", {"endpoint": service.subscription("phone5")["endpoint"]})
    assert len(running.console.store.pushes()) == MAX_OF_A_PERSON - 1


def test_a_key_that_is_none_is_refused(tmp_path: Path) -> None:
    with PushService() as service:
        push = push_of(tmp_path, service)
    for content in ("", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"):
        (tmp_path / "push.pem").write_text(content)
        with pytest.raises(ConfigError, match="openssl ecparam"):
            Console(settings_of(tmp_path, quick(1883), push=push))


_SUBSCRIBED = """
PushManager.prototype.subscribe = async (options) => ({
  toJSON: () => ({ endpoint: %(endpoint)s, keys: { p256dh: %(p256dh)s, auth: %(auth)s } }),
});
"""
"""Chromium itself asks a service on the internet."""


def test_the_page_subscribes_and_its_worker_shows_the_call(
    browser: Browser, running: Running, beds: WallBeds, service: PushService
) -> None:
    quoted = {
        name: msgspec.json.encode(value).decode() for name, value in service.subscription().items()
    }
    visit = Visit(browser, running.url, script=_SUBSCRIBED % quoted)
    page = visit.page
    visit.context.grant_permissions(["notifications"], origin=running.url)
    page.locator(".tools button", has_text="Settings").click()
    page.locator("dialog button", has_text="Notify me").click()
    page.locator("dialog [role=status]", has_text="also while the page is closed").wait_for()
    (one,) = running.console.store.pushes()
    assert one.user == "responder"
    alert = beds.raise_alert("ward1", "bed02", "asystole", Priority.HIGH)
    until(lambda: service.calls, what="a call")
    session = visit.context.new_cdp_session(page)
    ids = list[str]()
    session.on(
        "ServiceWorker.workerRegistrationUpdated",
        lambda event: ids.extend(one["registrationId"] for one in event["registrations"]),
    )
    session.send("ServiceWorker.enable")
    while not ids:
        page.wait_for_timeout(20.0)
    session.send(
        "ServiceWorker.deliverPushMessage",
        {
            "origin": running.url.rstrip("/"),
            "registrationId": ids[0],
            "data": service.bodies[0].decode(),
        },
    )
    shown = """async () => {
      const registration = await navigator.serviceWorker.getRegistration('/page/sw.js');
      return (await registration.getNotifications()).map((one) =>
        [one.title, one.tag, one.data]); }"""
    while not (found := page.evaluate(shown)):
        page.wait_for_timeout(20.0)
    assert found[0] == [
        "!!! Bed 02: ASYSTOLE",
        alert.alert_id,
        f"/#/alert/ward1/bed02/{alert.alert_id}",
    ]
    visit.close()
