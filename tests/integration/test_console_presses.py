"""What a person presses in the page of the console, to what the device then has: one server."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
import pypdfium2
import pytest
from numpy.typing import NDArray
from playwright.sync_api import Browser, Page, Route

from support.brokers import Mosquitto, Recorder, quick, until
from support.browser import Visit, chromium
from support.consoles import Running, serving, settings_of
from support.factories import make_trend
from support.keys import make_key, trust
from support.programs import PATIENCE_S, child_environment
from support.wall_beds import alert_of
from tocsin_agent.delivery.audit import Entry, read_audit
from tocsin_agent.delivery.outbox import Outbox
from tocsin_agent.delivery.presence import PresenceLedger
from tocsin_agent.delivery.publisher import Publisher
from tocsin_agent.delivery.settings import PresenceSettings
from tocsin_agent.messages.alert import Alert, Phase, Priority
from tocsin_agent.messages.health import BrokerState
from tocsin_agent.messages.lease import decode_lease
from tocsin_agent.messages.topics import Branch, Topics, parse
from tocsin_agent.messages.trend import HeartRate, encode_trend
from tocsin_agent.mqtt.connection import Connection, publish_retained
from tocsin_agent.signing.guard import Guard
from tocsin_agent.signing.keyring import KeyFile, owner_of
from tocsin_agent.signing.settings import SigningSettings
from tocsin_agent.team.console.settings import KeySettings

pytestmark = pytest.mark.broker

SITE, DEVICE = "ward3", "bed7"
BED_PAGE = f"#/bed/{SITE}/{DEVICE}"
WITH_KEYS = ("responder", "cardiologist")  # of the people; the others have none
PX_MM = 10.0  # of a rendered PDF


class Ward(NamedTuple):
    """A device that takes signed answers only, and the console of its team."""

    folder: Path
    running: Running
    outbox: Outbox
    publisher: Publisher
    ledger: PresenceLedger
    recorder: Recorder

    def alarm(self, code: str = "ventricular_tachycardia") -> Alert:
        """Raise an alert that began just now."""
        alert = alert_of(SITE, DEVICE, code, Priority.HIGH, datetime.now(UTC))
        self.outbox.append([alert])
        self.publisher.wake()
        return alert

    def trail(self, alert: Alert) -> list[Entry]:
        """Return what the device's audit trail has of an alert."""
        return list(read_audit(self.folder / "outbox.db", alert_id=alert.alert_id))

    def did(self, alert: Alert, event: str, who: str) -> bool:
        """Return whether the audit trail of the device says that somebody did something."""
        return any((one.event, one.who) == (event, who) for one in self.trail(alert))

    def signed(self, branch: Branch) -> list[tuple[str | None, str]]:
        """Return whose public key each message of a branch verifies with, or why none does."""
        keys = KeyFile(self.folder / "people_keys.toml").current()
        found = []
        for message in list(self.recorder.messages):
            address = parse(message.topic)
            if address is None or address.branch is not branch or not message.payload:
                continue
            owner = owner_of(address, message.payload)
            verdict = keys.verify(
                message.topic, message.payload, message.user, owner, datetime.now(UTC)
            )
            found.append(verdict[:2])
        return found


@pytest.fixture(scope="module")
def ward(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ward]:
    folder = tmp_path_factory.mktemp("ward")
    for name in ("mosquitto", "keys"):
        (folder / name).mkdir()
    for who in WITH_KEYS:
        private = make_key(folder / "keys", who)
        trust(folder / "people_keys.toml", who, private, "team", "cardiologist")
    trust(folder / "people_keys.toml", "tocsin-console", make_key(folder, "console"))
    broker = Mosquitto(folder / "mosquitto")
    broker.start()
    mqtt = quick(broker.port)
    ledger = PresenceLedger(PresenceSettings(settle_s=0.1))
    signing = SigningSettings(people_file=str(folder / "people_keys.toml"))
    keys = KeySettings(people_folder=str(folder / "keys"), own_file=str(folder / "console.pem"))
    with ExitStack() as stack:
        stack.callback(broker.stop)
        recorder = stack.enter_context(Recorder(mqtt))
        outbox = stack.enter_context(Outbox(folder / "outbox.db"))
        publisher = stack.enter_context(
            Publisher(
                outbox, mqtt, site=SITE, device=DEVICE, presence=ledger, answers=outbox.answers,
                guard=Guard.from_settings(signing, folder / "outbox.db"),
            )
        )  # fmt: skip
        assert publisher.reached(BrokerState.ONLINE, PATIENCE_S)
        running = stack.enter_context(serving(settings_of(folder, mqtt, keys=keys)))
        until(running.console.hub.picture.devices, what="the bed")
        yield Ward(folder, running, outbox, publisher, ledger, recorder)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def responder(browser: Browser, ward: Ward) -> Iterator[Visit]:
    visit = Visit(browser, ward.running.url, accept_downloads=True)
    yield visit
    visit.close()


def look_at(visit: Visit, alert: Alert) -> Page:
    """Open the page of an alert."""
    page = visit.page
    page.goto(f"{visit.url}#/alert/{SITE}/{DEVICE}/{alert.alert_id}")
    page.wait_for_selector(".page.alert .strips canvas")
    return page


def holder(visit: Visit, text: str) -> None:
    """Wait until the page says who has the alert."""
    visit.until("([text]) => document.querySelector('.holder').textContent.includes(text)", text)


def test_accept_give_back_silence_and_note_reach_the_device_signed(
    ward: Ward, responder: Visit
) -> None:
    alert = ward.alarm()
    page = look_at(responder, alert)
    page.click("[data-action=accept]")
    holder(responder, "responder has it")
    assert page.locator("[data-action=reject]").count() == 0
    page.click("[data-action=give_back]")
    holder(responder, "NOBODY has it")
    page.click("[data-action=silence]")
    holder(responder, "silent until")
    page.click("[data-action=note]")
    page.fill("dialog textarea", "electrode V1 is loose")
    page.click("dialog button.primary")
    until(lambda: ward.recorder.payloads(Branch.REVIEW), what="the note")
    page.locator(".answer", has_text=re.compile("^Note: sent$")).wait_for()
    note = json.loads(ward.recorder.payloads(Branch.REVIEW)[-1])
    assert (note["finding"], note["note"]) == ("note", "electrode V1 is loose")
    assert (note["alert_id"], note["who"]) == (alert.alert_id, "responder")
    for event in ("accepted", "given_back", "silenced"):
        until(lambda event=event: ward.did(alert, event, "responder"), what=event)  # type: ignore[misc]
    until(lambda: len(ward.signed(Branch.ACK)) == 3, what="the answers, at the broker")
    assert set(ward.signed(Branch.ACK)) == set(ward.signed(Branch.REVIEW)) == {("responder", "")}
    page.locator(".events", has_text="electrode V1 is loose").wait_for()
    words = page.locator(".events").inner_text
    assert "accept pressed" in words()
    assert "give back pressed · responder" in words()
    assert "_" not in words()


def test_an_answer_of_the_device_that_is_faster_than_the_server_is_shown(
    ward: Ward, responder: Visit
) -> None:
    alert = ward.alarm()
    page = look_at(responder, alert)
    held: list[Route] = []
    page.route("**/api/answer", lambda route: held.append(route))  # noqa: PLW0108
    page.click("[data-action=accept]")
    responder.until("document.querySelector('.answer').dataset.outcome === 'sent'")
    (route,) = held
    response = route.fetch()
    holder(responder, "responder has it")  # so the answer of the device has arrived, too
    assert page.locator(".answer").get_attribute("data-outcome") == "sent"
    route.fulfill(response=response)
    responder.until("document.querySelector('.answer').dataset.outcome === 'applied'")
    page.unroute("**/api/answer")


def test_buttons_stay_while_what_is_beside_them_changes(ward: Ward, browser: Browser) -> None:
    alert = ward.alarm()
    visit = Visit(browser, ward.running.url, "cardiologist")
    page = look_at(visit, alert)
    page.locator(".events li").first.wait_for()
    buttons = "document.querySelectorAll('.bar button, .files a, img.true-scale')"
    page.evaluate(f"() => {{ window.before = [...{buttons}]; }}")
    found = msgspec.structs.replace(alert.evidence, measured={"rate_bpm": 188.0})
    later = msgspec.structs.replace(alert, sequence=2, phase=Phase.UPDATE, evidence=found)
    ward.outbox.append([later])
    ward.publisher.wake()
    page.locator(".banner h1", has_text="188/min").wait_for()
    visit.until("document.querySelectorAll('.events li').length > 1")  # it was kept, and read again
    assert page.evaluate("before.length") >= 8
    assert page.evaluate(f"[...{buttons}].every((one, n) => one === before[n])")
    page.goto(visit.url + BED_PAGE)
    page.locator(".presence button", has_text="I am present").click()
    page.locator(".presence button", has_text="I leave").wait_for()
    page.locator(f'.bed > section .rows [data-id="{alert.alert_id}"]').wait_for()
    buttons = "document.querySelectorAll('.presence button, .choices button')"
    page.evaluate(f"() => {{ window.before = [...{buttons}]; }}")
    until_text = page.locator(".presence p").inner_text()
    again = ward.alarm("asystole")
    page.locator(f'.bed > section .rows [data-id="{again.alert_id}"]').wait_for()
    page.locator(".presence button", has_text="Still present").click()
    visit.until("([text]) => document.querySelector('.presence p').innerText !== text", until_text)
    assert page.evaluate(f"[...{buttons}].every((one, n) => one === before[n])")
    page.locator(".presence button", has_text="I leave").click()
    page.locator(".presence p", has_text="Nobody is present").wait_for()
    visit.close()


def test_an_answer_without_the_key_of_the_person_is_refused_and_the_page_says_so(
    ward: Ward, browser: Browser
) -> None:
    alert = ward.alarm("asystole")
    visit = Visit(browser, ward.running.url, "admin")
    page = look_at(visit, alert)
    page.click("[data-action=accept]")
    visit.until("document.querySelector('.answer').dataset.outcome === 'signature_refused'")
    assert "the device does not accept your signature" in page.locator(".answer").inner_text()
    assert "NOBODY has it" in page.locator(".holder").inner_text()
    until(lambda: any(one.event == "signature_refused" for one in ward.trail(alert)))
    assert not ward.did(alert, "accepted", "admin")
    visit.close()


def test_a_cardiologist_takes_renews_and_ends_presence(ward: Ward, browser: Browser) -> None:
    visit = Visit(browser, ward.running.url, "cardiologist")
    page = visit.page
    page.goto(visit.url + BED_PAGE)
    page.locator(".presence button", has_text="I am present").click()
    page.locator(".presence p", has_text="cardiologist is present").wait_for()
    until(lambda: ward.ledger.view(datetime.now(UTC)).attended, what="the device knows")
    confirm = "[...tocsin.state.presence.values()][0].confirm_by"
    visit.until(confirm)  # the lease may be shown before
    first = page.evaluate(confirm)
    page.locator(".presence button", has_text="Still present").click()
    visit.until(f"([first]) => {confirm} > first", first)
    page.locator(".presence button", has_text="I leave").click()
    page.locator(".presence p", has_text="Nobody is present").wait_for()
    until(lambda: not ward.ledger.view(datetime.now(UTC)).attended)
    assert set(ward.signed(Branch.PRESENCE)) == {("cardiologist", "")}
    leases = ward.recorder.payloads(Branch.PRESENCE)
    assert {decode_lease(lease).id for lease in leases if lease} == {"cardiologist"}
    visit.close()


def test_trends_show_what_was_published(ward: Ward, responder: Visit) -> None:
    now = datetime.now(UTC).replace(second=0, microsecond=0)
    connection = Connection(quick(ward.running.console.settings.mqtt.port), "trends")
    connection.open()
    minutes = {200: (131.0, 120.0, 144.0), 50: (88.0, 80.0, 97.0), 1: (61.0, 52.0, 66.0)}
    for before, (mean, lowest, highest) in minutes.items():
        at = now - timedelta(minutes=before)
        trend = msgspec.structs.replace(
            make_trend(1000 - before), from_at=at, to_at=at + timedelta(minutes=1),
            heart_rate_bpm=HeartRate(mean, lowest, highest), ventricular_per_hour=float(before),
        )  # fmt: skip
        publish_retained(connection, Topics(SITE, DEVICE).trend, encode_trend(trend))
    store = ward.running.console.store
    until(lambda: len(store.trends(SITE, DEVICE, now - timedelta(hours=5))) == len(minutes))
    page = responder.page
    page.goto(responder.url + "#/")
    page.goto(responder.url + BED_PAGE)
    captions = page.locator(".trend figcaption")
    captions.filter(has_text="now 61, range 61–131").wait_for()
    captions.filter(has_text="now 1, range 1–200").wait_for()
    page.locator(".choices button", has_text="1 h").first.click()
    captions.filter(has_text="now 61, range 61–88").wait_for()
    connection.close()


def test_an_open_page_follows_what_is_kept(
    ward: Ward, responder: Visit, monkeypatch: pytest.MonkeyPatch
) -> None:
    console = ward.running.console
    keep, hold = console.store.keep, threading.Event()

    def slow(*what: Any) -> None:  # noqa: ANN401
        hold.wait(PATIENCE_S)
        keep(*what)

    first = ward.alarm("asystole")
    page = look_at(responder, first)
    monkeypatch.setattr(console.store, "keep", slow)
    page.click("[data-action=note]")
    page.fill("dialog textarea", "the patient moves")
    page.click("dialog button.primary")
    page.locator(".answer", has_text=re.compile("^Note: sent$")).wait_for()
    assert page.locator(".events", has_text="the patient moves").count() == 0  # not kept yet
    hold.set()
    page.locator(".events", has_text="the patient moves").wait_for()
    page.goto(responder.url + BED_PAGE)
    listed = page.locator(f'.bed .rows [data-id="{first.alert_id}"]')
    until(lambda: listed.count() == 2, what="the alert is active and in the history")
    second = ward.alarm("ventricular_fibrillation")
    listed = page.locator(f'.bed .rows [data-id="{second.alert_id}"]')
    until(lambda: listed.count() == 2, what="the later alert, too, without another visit")


def lines_mm(image: NDArray[np.float64]) -> float:
    """Return the distance of the strong grid lines across an image of `PX_MM` pixels a mm."""
    red = image[:, :, 0] - image[:, :, 1]  # the grid is red; trace and texts are grey
    profile = red.mean(axis=0)
    inside = np.flatnonzero(profile > profile.max() / 8)
    profile = profile[inside[0] : inside[-1]] - profile[inside[0] : inside[-1]].mean()
    padded = np.zeros(1 << 18)
    padded[: len(profile)] = profile * np.hanning(len(profile))
    spectrum = np.abs(np.fft.rfft(padded))
    per_mm = np.fft.rfftfreq(len(padded)) * PX_MM
    fifth = (per_mm > 1 / 7) & (per_mm < 1 / 4)
    return float(1.0 / per_mm[fifth][np.argmax(spectrum[fifth])])


def rendered(pdf: bytes) -> tuple[tuple[float, float], NDArray[np.float64]]:
    """Return size in mm and pixels of the first page of a PDF."""
    document = pypdfium2.PdfDocument(pdf)
    page = document[0]
    size = tuple(length / 72.0 * 25.4 for length in page.get_size())
    pixels = page.render(scale=PX_MM * 25.4 / 72.0).to_numpy().astype(float)[:, :, 2::-1]
    document.close()
    return (size[0], size[1]), pixels


def test_print_and_pdf_have_the_strip_at_true_scale(ward: Ward, responder: Visit) -> None:
    alert = ward.alarm()
    page = look_at(responder, alert)
    responder.until("document.querySelector('img.true-scale').naturalWidth > 0")
    size, pixels = rendered(page.pdf(prefer_css_page_size=True))
    assert size == pytest.approx((297.0, 210.0), abs=0.3)
    assert lines_mm(pixels) == pytest.approx(5.0, abs=0.02)
    with page.expect_download() as download:
        page.locator(".files a", has_text="PDF").click()
    size, pixels = rendered(Path(download.value.path()).read_bytes())
    assert size == pytest.approx((297.0, 210.0), abs=0.3)
    assert lines_mm(pixels) == pytest.approx(5.0, abs=0.02)


def test_the_wfdb_export_is_read_back_sample_by_sample(
    ward: Ward, responder: Visit, tmp_path: Path
) -> None:
    import wfdb  # takes seconds

    alert = ward.alarm()
    strip = alert.strip
    assert strip is not None
    page = look_at(responder, alert)
    with page.expect_download() as download:
        page.locator(".files a", has_text="WFDB").click()
    with zipfile.ZipFile(io.BytesIO(Path(download.value.path()).read_bytes())) as archive:
        archive.extractall(tmp_path)
    name = str(next(tmp_path.glob("*.hea")).with_suffix(""))
    record, marks = wfdb.rdrecord(name), wfdb.rdann(name, "atr")
    assert record.sig_name == list(strip.leads)
    assert record.fs == strip.rate_hz
    error_mv = np.abs(record.p_signal - strip.decode())
    assert float(error_mv.max()) <= 1.0 / strip.gain_per_mv
    assert [row for row, sign in zip(marks.sample, marks.symbol, strict=True) if sign != '"'] == [
        beat.row for beat in strip.beats
    ]
    (onset,) = [row for row, sign in zip(marks.sample, marks.symbol, strict=True) if sign == '"']
    assert onset == strip.onset_row


def test_the_demo_starts_and_shows_an_alert(browser: Browser) -> None:
    program = subprocess.Popen(
        [sys.executable, "-m", "tocsin_agent", "demo", "--console", "--no-browser",
         "--speed", "10"],
        stdout=subprocess.PIPE, text=True, env=child_environment(),
    )  # fmt: skip
    assert program.stdout is not None
    try:
        said = "".join(program.stdout.readline() for _ in range(3))
        url, password = re.search(r"(http://\S+)", said), re.search(r"password\s+(\S+)", said)
        assert url is not None, said
        assert password is not None, said
        visit = Visit(browser, url[1], "demo", password=password[1])
        visit.until("document.querySelectorAll('.sites .tile').length === 4")
        visit.page.wait_for_selector(".tile[data-waiting]")
        visit.close()
    finally:
        program.terminate()
        program.communicate(timeout=PATIENCE_S)
