"""The page of the console in a real browser, with a real server and a real broker."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest
from playwright.sync_api import Browser, Page

from support.brokers import Mosquitto, Recorder, publish_all, quick, until
from support.browser import Visit, chromium, faults
from support.consoles import Page as OtherPage
from support.consoles import Running, serving, settings_of
from support.programs import is_busy
from support.wall_beds import WallBeds, alert_of, demo_alerts
from support.wards import active_alert
from tocsin_agent.messages.alert import Priority, encode_alert
from tocsin_agent.messages.topics import Branch, Topics
from tocsin_agent.mqtt.connection import Connection

pytestmark = pytest.mark.broker

HOSTILE = "<img src=x onerror=window.harmed=1><script>window.harmed=1</script>"
BED_PAGE = "#/bed/ward1/bed07"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture
def running(tmp_path: Path, mosquitto: Mosquitto) -> Iterator[Running]:
    with serving(settings_of(tmp_path, quick(mosquitto.port))) as running:
        yield running


@pytest.fixture
def beds(mosquitto: Mosquitto) -> Iterator[WallBeds]:
    with WallBeds(mosquitto.port, beds=12, live=8) as beds:
        yield beds


@pytest.fixture
def visit(browser: Browser, running: Running, beds: WallBeds) -> Iterator[Visit]:
    assert beds.devices
    visit = Visit(browser, running.url)
    yield visit
    visit.close()


def places(page: Page, where: str) -> list[str]:
    return page.locator(f"{where} .place").all_inner_texts()


def test_the_wall_has_the_gravest_first_and_each_bed_at_its_place(
    visit: Visit, beds: WallBeds
) -> None:
    page = visit.page
    visit.until("document.querySelectorAll('.sites .tile').length === 12")
    before = places(page, ".sites")
    beds.raise_alert("ward1", "bed03", "couplet", Priority.LOW)
    beds.raise_alert("ward1", "bed05", "pause", Priority.MEDIUM)
    beds.raise_alert("ward1", "bed09", "asystole", Priority.HIGH)
    beds.status("ward1", "bed02", "offline")
    visit.until("document.querySelectorAll('.needing .tile').length === 3")
    assert places(page, ".needing") == ["Bed 09", "Bed 05", "Bed 02"]
    assert places(page, ".sites") == before == [f"Bed {n:02d}" for n in range(1, 13)]
    high = page.locator(".needing .tile").first
    assert "ASYSTOLE" in high.inner_text()
    assert "HIGH" in high.inner_text()
    assert "NOBODY" in high.inner_text()
    assert high.locator("svg.sign text").text_content() == "!!!"
    dead = page.locator(".needing .tile[data-state=dead]")
    assert "OFFLINE" in dead.inner_text()


def test_priorities_flash_as_iec_60601_1_8_has_it(visit: Visit, beds: WallBeds) -> None:
    beds.raise_alert("ward1", "bed01", "asystole", Priority.HIGH)
    beds.raise_alert("ward1", "bed02", "pause", Priority.MEDIUM)
    beds.raise_alert("ward1", "bed03", "couplet", Priority.LOW)
    visit.until("document.querySelectorAll('.sites .tile[data-waiting]').length === 3")
    rates = visit.page.evaluate(
        """() => Object.fromEntries(
          [...document.querySelectorAll('.sites .tile[data-waiting]')].map((tile) => [
            tile.dataset.priority,
            tile.getAnimations({subtree: true}).map(
              (one) => 1000 / one.effect.getComputedTiming().duration),
          ]))"""
    )
    assert 1.4 <= rates["high"][0] <= 2.8
    assert 0.4 <= rates["medium"][0] <= 0.8
    assert rates["low"] == []


def test_one_press_accepts(visit: Visit, beds: WallBeds, mosquitto: Mosquitto) -> None:
    with Recorder(quick(mosquitto.port)) as recorder:
        alert = beds.raise_alert("ward1", "bed09", "asystole", Priority.HIGH)
        visit.page.click(".needing button.primary")
        until(lambda: recorder.payloads(Branch.ACK))
        answer = json.loads(recorder.payloads(Branch.ACK)[0])
    assert (answer["alert_id"], answer["action"], answer["who"]) == (
        alert.alert_id, "accept", "responder",
    )  # fmt: skip
    beds.accept("ward1", "bed09", "responder")
    visit.until("!document.querySelector('.needing .tile')")
    assert "responder has it" in visit.page.locator(".sites .tile[data-priority=high]").inner_text()


def test_keys_accept_only_what_is_selected(
    visit: Visit, beds: WallBeds, mosquitto: Mosquitto
) -> None:
    with Recorder(quick(mosquitto.port)) as recorder:
        beds.raise_alert("ward1", "bed09", "asystole", Priority.HIGH)
        visit.page.wait_for_selector(".needing .tile")
        visit.page.locator("body").press("a")  # selects: a person looks before they answer
        visit.until("document.activeElement.closest('.needing .tile') !== null")
        assert recorder.payloads(Branch.ACK) == []
        visit.page.keyboard.press("a")
        until(lambda: recorder.payloads(Branch.ACK))
    visit.page.keyboard.press("Enter")
    visit.page.wait_for_selector(".page.bed")
    visit.page.keyboard.press("Escape")
    visit.page.wait_for_selector(".wall")


def test_a_viewer_sees_and_may_not_answer(
    browser: Browser, running: Running, beds: WallBeds
) -> None:
    beds.raise_alert("ward1", "bed09", "asystole", Priority.HIGH)
    visit = Visit(browser, running.url, "viewer")
    visit.page.wait_for_selector(".needing .tile")
    assert visit.page.locator("button", has_text="Accept").count() == 0
    visit.page.locator(".needing .actions button").click()  # look
    visit.page.wait_for_selector(".page.alert .actions button")
    assert visit.page.locator(".page.alert .actions button").all_inner_texts() == ["Print"]
    visit.page.goto(running.url + BED_PAGE)
    visit.page.wait_for_selector(".presence p")
    assert visit.page.locator(".presence button").count() == 0
    visit.close()


def test_an_alert_is_explained_answered_and_printed_at_true_scale(
    visit: Visit, beds: WallBeds, mosquitto: Mosquitto
) -> None:
    page = visit.page
    with Recorder(quick(mosquitto.port)) as recorder:
        beds.raise_alert("ward1", "bed07", "ventricular_tachycardia", Priority.HIGH)
        page.locator(".needing .actions button", has_text="Look").click()
        page.wait_for_selector(".strips canvas")
        text = page.locator("main").inner_text()
        assert "5 or more ventricular beats in a row above 100/min" in text
        assert "were right" in text
        assert "go to the patient at once" in text
        page.locator("[data-action=reject]").click()
        page.locator("dialog input[value=artefact]").check()
        page.fill("dialog textarea", "patient brushes teeth")
        page.locator("dialog button.primary").click()
        until(lambda: recorder.payloads(Branch.ACK))
        assert json.loads(recorder.payloads(Branch.ACK)[0])["action"] == "reject"
        until(lambda: recorder.payloads(Branch.REVIEW))
        review = json.loads(recorder.payloads(Branch.REVIEW)[0])
    assert (review["finding"], review["note"]) == ("artefact", "patient brushes teeth")
    visit.until("document.querySelector('img.true-scale').naturalWidth > 0")
    page.set_viewport_size({"width": 1122, "height": 794})  # A4, across
    page.emulate_media(media="print")
    stated_mm = page.evaluate(
        """async () => {
          const text = await (await fetch(document.querySelector('img.true-scale').src)).text();
          return Number(text.match(/<svg[^>]* width="([\\d.]+)mm"/)[1]); }"""
    )
    shown_px = page.locator("img.true-scale").bounding_box()
    assert shown_px is not None
    assert shown_px["width"] == pytest.approx(stated_mm * 96.0 / 25.4, rel=0.002)
    # wider than the sheet, the browser would print all of it smaller
    assert page.evaluate("document.documentElement.scrollWidth") <= 1123
    assert shown_px["x"] + stated_mm * 96.0 / 25.4 <= 1123
    assert not page.locator(".chrome").is_visible()


def test_the_live_ecg_sweeps_at_its_rate_with_beats_and_gaps(visit: Visit, beds: WallBeds) -> None:
    beds.gap = True
    page = visit.page
    page.goto(visit.url + BED_PAGE)
    visit.until("window.tocsin?.live?.lanes.size === 2 && tocsin.live.beats.size > 3")
    # 25 mm a second, by the size of a millimetre that the ruler states
    mm_per_s = page.evaluate(
        "tocsin.live.pxPerSample * tocsin.live.rateHz / tocsin.live.look.pxPerMm"
    )
    assert mm_per_s == pytest.approx(25.0)
    visit.until(
        """() => { const s = tocsin.live, lane = s.lanes.get('II'); let gaps = 0, values = 0;
        for (let i = Math.floor(s.head) - 1500; i < s.head; i++)
          Number.isNaN(lane.at(i)) ? gaps++ : values++;
        return gaps > 200 && values > 500; }"""
    )
    drawn = page.evaluate(
        """() => { const s = tocsin.live, c = s.canvas;
        const d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data;
        let n = 0; for (let i = 3; i < d.length; i += 4) if (d[i]) n++; return n; }"""
    )
    assert drawn > 2000
    first = page.evaluate("[tocsin.live.head, performance.now()]")
    visit.until("([head]) => tocsin.live.head > head + 1500", first[0])
    second = page.evaluate("[tocsin.live.head, performance.now()]")
    rate_hz = (second[0] - first[0]) / (second[1] - first[1]) * 1000.0
    assert rate_hz == pytest.approx(250.0, rel=0.5 if is_busy() else 0.2)


def test_a_live_ecg_that_stops_is_said(visit: Visit, beds: WallBeds) -> None:
    visit.page.goto(visit.url + BED_PAGE)
    visit.until("window.tocsin?.live?.lanes.size === 2")
    beds.live.clear()
    visit.until("document.querySelector('.over').textContent.includes('NO LIVE ECG')")


def test_html_in_every_field_is_text(visit: Visit, running: Running, mosquitto: Mosquitto) -> None:
    connection = Connection(quick(mosquitto.port), "hostile")
    connection.open()
    alert = alert_of("ward1", "bed05", "asystole", Priority.HIGH, datetime.now(UTC))
    strip = alert.strip
    assert strip is not None
    alert = msgspec.structs.replace(
        alert, location=HOSTILE, patient=HOSTILE, text=HOSTILE, stream=HOSTILE,
        evidence=msgspec.structs.replace(
            alert.evidence, rule=HOSTILE, measured={HOSTILE: HOSTILE}, model=HOSTILE
        ),
        strip=msgspec.structs.replace(strip, leads=(HOSTILE, "V1")),
    )  # fmt: skip
    topic = Topics("ward1", "bed05").level("team", alert.kind, alert.priority)
    publish_all(connection, (topic, encode_alert(alert)))
    page = visit.page
    page.wait_for_selector(".needing .tile")
    page.locator(".needing .actions button", has_text="Look").click()
    alert_url = page.url
    for language in ("fr", "de", "en"):
        chosen = f"localStorage.setItem('tocsin.console', '{{\"language\": \"{language}\"}}')"
        page.evaluate(chosen)
        page.goto(alert_url)
        page.reload()
        page.wait_for_selector(f"html[lang={language}]")
        page.wait_for_selector(".strips canvas")
        assert "<img src=x" in page.locator("main").inner_text()
        assert page.evaluate("window.harmed") is None
    page.goto(running.url + "#/bed/ward1/bed05")
    page.wait_for_selector(".rows .row")
    assert page.evaluate("window.harmed") is None
    assert page.locator("main img:not(.strip)").count() == 0
    assert page.locator("main script").count() == 0
    connection.close()


def test_sound_is_off_until_a_press_and_then_bursts_by_priority(
    browser: Browser, running: Running, beds: WallBeds
) -> None:
    # Playwright's questions count as presses, and let a page sound; here only a click does.
    blocked = """let pressed = false;
      addEventListener('click', () => setTimeout(() => pressed = true), true);
      const state = Object.getOwnPropertyDescriptor(BaseAudioContext.prototype, 'state');
      Object.defineProperty(AudioContext.prototype, 'state', {get() {
        return pressed ? state.get.call(this) : 'suspended'; }});"""
    visit = Visit(browser, running.url, script=blocked)
    visit.page.close()
    visit.page = visit.open()  # the login stays, and nobody has pressed anything in this page
    visit.page.wait_for_selector(".sites .tile")
    beds.raise_alert("ward1", "bed01", "asystole", Priority.HIGH)
    visit.page.wait_for_selector(".needing .tile")
    visit.until("document.querySelector('.sound').textContent.includes('OFF')")
    assert visit.page.evaluate("tocsin.sound.played") == []
    visit.page.click(".sound")
    visit.until("tocsin.sound.played.length > 0")
    assert visit.page.evaluate("tocsin.sound.played[0]") == {"priority": "high", "pulses": 10}
    beds.accept("ward1", "bed01", "dr-k")
    visit.until("tocsin.sound.sounding === null")
    beds.raise_alert("ward1", "bed02", "pause", Priority.MEDIUM)
    visit.until("tocsin.sound.played.some((one) => one.priority === 'medium' && one.pulses === 3)")
    visit.page.click(".sound")  # and off again by choice
    visit.until("document.querySelector('.sound').textContent.includes('OFF')")
    visit.close()


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_no_serious_fault(
    browser: Browser, running: Running, beds: WallBeds, theme: str
) -> None:
    demo = [
        ("bed07", "ventricular_tachycardia", Priority.HIGH), ("bed03", "pause", Priority.MEDIUM),
        ("bed04", "couplet", Priority.LOW), ("bed05", "asystole", Priority.HIGH),
    ]  # fmt: skip
    for device, code, priority in demo:
        beds.raise_alert("ward1", device, code, priority)
    beds.accept("ward1", "bed05", "dr-k")
    beds.status("ward1", "bed02", "offline")
    beds.trends("ward1", "bed07", 30)
    visit = Visit(browser, running.url, "", color_scheme=theme)
    page = visit.page
    page.wait_for_selector("form.login")
    found = faults(page)
    visit.login("cardiologist")
    page.wait_for_selector(".needing .tile[data-state=dead]")
    found += faults(page)
    page.keyboard.press("?")
    page.wait_for_selector("dialog")
    found += faults(page)
    page.keyboard.press("Escape")
    page.locator(".tools button", has_text="Settings").click()
    page.wait_for_selector("dialog .ruler")
    found += faults(page)
    page.keyboard.press("Escape")
    page.goto(running.url + BED_PAGE)
    page.wait_for_selector(".trend")
    found += faults(page)
    page.locator(".rows .row a").first.click()
    page.wait_for_selector(".strips canvas")
    found += faults(page)
    visit.close()
    assert found == []


@pytest.mark.parametrize("language", ["en-GB", "de-DE", "fr-FR"])
def test_320_px_and_three_languages(
    browser: Browser, running: Running, beds: WallBeds, language: str
) -> None:
    beds.raise_alert("ward1", "bed07", "ventricular_tachycardia", Priority.HIGH)
    visit = Visit(browser, running.url, locale=language, viewport={"width": 320, "height": 640})
    page = visit.page
    page.wait_for_selector(".needing .tile")
    condition = {"en": "TACHYCARDIA", "de": "TACHYKARDIE", "fr": "TACHYCARDIE"}[language[:2]]
    visit.until(
        "([text]) => document.querySelector('.needing .alert').textContent.includes(text)",
        condition,
    )
    assert page.evaluate("document.documentElement.lang") == language[:2]
    assert page.evaluate("document.documentElement.scrollWidth") <= 320
    page.locator(".needing .actions button").last.click()
    page.wait_for_selector(".strips canvas")
    assert page.evaluate("document.documentElement.scrollWidth") <= 320
    page.keyboard.press("Escape")
    page.wait_for_selector(".page.bed .row")
    assert page.evaluate("document.documentElement.scrollWidth") <= 320
    visit.close()


def test_five_hundred_open_alerts_of_a_bed_are_listed_and_answered(
    visit: Visit, running: Running, beds: WallBeds, mosquitto: Mosquitto
) -> None:
    site, device = "ward1", "bed09"
    for number in range(500):
        since = datetime.now(UTC) - timedelta(seconds=number)
        alert = active_alert(
            alert_id=f"{number:032x}", code="couplet", priority=Priority.LOW, since=since
        )
        beds.open.setdefault((site, device), []).append(alert)
    beds.publish_active(site, device)
    grave = beds.raise_alert(site, device, "asystole", Priority.HIGH)
    page = visit.page
    page.locator(".needing .alert", has_text="ASYSTOLE +500").wait_for()
    page.goto(f"{running.url}#/bed/{site}/{device}")
    visit.until("document.querySelectorAll('.columns .rows .row').length === 501")
    assert page.locator(".columns .row").first.get_attribute("data-id") == grave.alert_id
    stranger = OtherPage(running.port)
    stranger.login("viewer")
    with stranger.socket() as socket:
        socket.of("beds")
        beds.publish_active(site, device)
        bed = socket.until(lambda m: m["type"] == "bed" and m["bed"]["device"] == device)
        assert len(bed["bed"]["alerts"]) == 501
        assert len(msgspec.json.encode(bed)) < 500_000, "every change of the bed is sent whole"
    with Recorder(quick(mosquitto.port)) as recorder:
        page.locator(".columns .row .open").last.click()
        page.locator("[data-action=accept]").click()
        until(lambda: recorder.payloads(Branch.ACK))
        assert json.loads(recorder.payloads(Branch.ACK)[0])["alert_id"] == "0" * 32, "the newest"


def test_a_page_on_which_nothing_moves_asks_for_few_frames(visit: Visit, beds: WallBeds) -> None:
    assert beds.devices
    visit.until("document.querySelectorAll('.sites .tile').length === 12")
    visit.page.evaluate(
        """() => { window.asked = 0; const ask = window.requestAnimationFrame;
        window.requestAnimationFrame = (draw) => { window.asked += 1; return ask(draw); };
        setTimeout(() => { window.counted = window.asked; }, 5000); }"""
    )
    visit.until("window.counted !== undefined")
    assert 1 <= visit.page.evaluate("window.counted") <= 100, "60 a second would be 300"


def test_a_hundred_beds_are_on_one_page(
    browser: Browser, running: Running, mosquitto: Mosquitto
) -> None:
    with WallBeds(mosquitto.port) as beds:
        demo_alerts(beds)
        visit = Visit(browser, running.url)
        visit.until("document.querySelectorAll('.sites .tile').length === 100")
        visit.until("document.querySelectorAll('.needing .tile').length === 5")
        assert places(visit.page, ".needing") == ["Bed 07", "Bed 31", "Bed 12", "Bed 61", "Bed 70"]
        visit.close()


def test_sixty_live_leads_on_a_wall_of_a_hundred_beds_are_drawn(
    browser: Browser, running: Running, mosquitto: Mosquitto
) -> None:
    """How fast is measured by `python tests/support/console_load.py drawing`."""
    shown = "localStorage.setItem('tocsin.console', '{\"waves\": true}');"
    with WallBeds(mosquitto.port) as beds:
        demo_alerts(beds)
        visit = Visit(browser, running.url, script=shown, viewport={"width": 1920, "height": 1080})
        visit.until("document.querySelectorAll('.sites canvas.mini:not([hidden])').length === 30")
        before = visit.page.evaluate("tocsin.drawnFrames")
        visit.until("([before]) => tocsin.drawnFrames > before + 100", before)
        visit.close()
