"""The page when broker, server, network, clock or login fail: it says so, and is right again."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from chaos.proxy import Proxy
from support.brokers import Mosquitto, quick, until
from support.browser import Visit, chromium
from support.consoles import serving, settings_of
from support.factories import make_alert
from support.login_proxy import LoginProxy
from support.programs import claimed_s
from tocsin_agent.delivery.outbox import Outbox
from tocsin_agent.delivery.publisher import Publisher
from tocsin_agent.team.console.settings import ListenSettings, PeopleSettings, ProxySettings

pytestmark = pytest.mark.broker

SITE, DEVICE = "ward3", "bed7"
BACK_S = 5.0
# The active alerts: the history below them lists the same ones when it was read after them.
SHOWN = "[...document.querySelectorAll('.columns .rows .row')].map((row) => row.dataset.id)"
LIVE = "document.querySelector('.away').hidden && tocsin.connection.live"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


class Bed:
    """A device and the page of its bed: what is committed must be on the page."""

    def __init__(self, outbox: Outbox, publisher: Publisher) -> None:
        self._outbox, self._publisher = outbox, publisher
        self.committed = set[str]()

    def alarm(self, count: int = 3) -> None:
        """Commit alerts."""
        first, now = len(self.committed), datetime.now(UTC)
        alerts = [make_alert(3600 * (first + n), onset_at=now) for n in range(1, count + 1)]
        self._outbox.append(alerts)
        self.committed |= {alert.alert_id for alert in alerts}
        self._publisher.wake()

    def right_again(self, visit: Visit) -> None:
        """Wait until the page is live and lists what was committed; it must be so in time."""
        began_s = time.monotonic()
        wanted = sorted(self.committed)
        visit.until(f"([ids]) => {LIVE} && ids.every((id) => {SHOWN}.includes(id))", wanted)
        assert time.monotonic() - began_s < claimed_s(BACK_S)
        assert sorted(visit.page.evaluate(SHOWN)) == wanted, "each once, and no other"

    def says(self, visit: Visit, word: str) -> None:
        """Wait until the page says what is lost."""
        visit.until("([word]) => document.querySelector('.away').textContent.includes(word)", word)
        assert visit.page.locator("body.old").count() == 1


def test_no_alert_is_missing_whatever_was_gone_meanwhile(
    browser: Browser, tmp_path: Path, mosquitto: Mosquitto
) -> None:
    """Broker, server and network go, one after the other, in a browser that is an hour ahead."""
    mqtt = quick(mosquitto.port)
    with ExitStack() as stack:
        outbox = stack.enter_context(Outbox(tmp_path / "outbox.db"))
        publisher = Publisher(outbox, mqtt, site=SITE, device=DEVICE, answers=outbox.answers)
        bed = Bed(outbox, stack.enter_context(publisher))
        server = stack.enter_context(ExitStack())
        running = server.enter_context(serving(settings_of(tmp_path, mqtt)))
        proxy = stack.enter_context(Proxy(running.port, 1))
        until(running.console.hub.picture.devices, what="the bed")
        url = f"http://127.0.0.1:{proxy.port}/"
        visit = Visit(browser, url, "viewer", clock=datetime.now(UTC) + timedelta(hours=1))
        page = visit.page
        page.goto(f"{url}#/bed/{SITE}/{DEVICE}")
        bed.alarm()
        bed.right_again(visit)
        since = page.locator(".rows .meta").first.inner_text().split(" · ")[0]
        assert since.startswith("for "), since
        assert since.endswith(" s"), "by the server's clock, not an hour"

        mosquitto.stop()
        bed.says(visit, "broker")
        bed.alarm()
        mosquitto.start()
        bed.right_again(visit)

        server.close()
        bed.says(visit, "server")
        bed.alarm()
        settings = settings_of(tmp_path, mqtt, listen=ListenSettings(port=running.port))
        server.enter_context(serving(settings))
        bed.right_again(visit)

        proxy.black_hole = True
        bed.says(visit, "server")
        # A tick may be a second old.
        assert page.evaluate("tocsin.connection.silentS") < claimed_s(2.5)
        bed.alarm()
        page.context.clock.fast_forward("01:00")
        bed.says(visit, "1 min")
        proxy.heal()
        bed.right_again(visit)
        page.goto(f"{url}#/")
        assert page.locator("[data-state=dead]").count() == 0
        visit.close()


def test_a_login_that_ends_at_the_proxy_ends_here_too(
    browser: Browser, tmp_path: Path, mosquitto: Mosquitto
) -> None:
    mqtt = quick(mosquitto.port)
    roles = ProxySettings(
        addresses=("127.0.0.1",), roles={"cardio": "cardiologist", "all": "viewer"}, confirm_s=3.0
    )
    settings = settings_of(tmp_path, mqtt, people=PeopleSettings(proxy=roles))
    with serving(settings) as running, LoginProxy(running.port) as proxy:
        proxy.user, proxy.groups = "dr-k", "cardio"
        visit = Visit(browser, f"http://127.0.0.1:{proxy.port}/", "")
        page, hub = visit.page, running.console.hub
        page.locator(".user", has_text="cardiologist").wait_for()
        until(lambda: len(hub.browsers) == 1)

        proxy.user, began_s = "", time.monotonic()
        page.locator(".problem", has_text="You have been logged out").wait_for()
        assert time.monotonic() - began_s < claimed_s(BACK_S)
        assert page.locator(".tile").count() == 0
        until(lambda: not hub.browsers, what="the connection is closed")

        proxy.user, began_s = "dr-k", time.monotonic()
        page.locator(".user", has_text="cardiologist").wait_for()  # nobody has pressed anything
        assert time.monotonic() - began_s < claimed_s(BACK_S)

        proxy.groups, began_s = "all", time.monotonic()
        page.locator(".user", has_text="viewer").wait_for()
        visit.until("tocsin.connection.live")
        assert time.monotonic() - began_s < claimed_s(BACK_S)

        # A page that does not ask any more: the server ends its connection.
        page.evaluate("() => { window.fetch = () => new Promise(() => null); }")
        proxy.user = ""
        page.locator(".problem", has_text="You have been logged out").wait_for()
        until(lambda: not hub.browsers)
        # Playwright lists where a redirect leads though the page does not follow it.
        visit.requested = [url for url in visit.requested if "login.invalid" not in url]
        visit.close()
