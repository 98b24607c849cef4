"""The page of a review in a browser: what a reader presses is what the review takes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Page

from support.brokers import until
from support.browser import PATIENCE_MS, chromium
from tocsin_agent.errors import LabError
from tocsin_agent.lab.review.cases import Case, Why
from tocsin_agent.lab.review.folder import Excerpt, read_readings
from tocsin_agent.lab.review.page import write_page
from tocsin_agent.messages.reading import ANY, Verdict

RATE = 250.0
PIXELS_A_SECOND = 100


def case_of(number: int, asked: str) -> Case:
    return Case(
        case=f"case-{number:03d}", record="db/1", patient="db/1", asked=asked, why=Why.SAMPLED,
        rate_hz=RATE, start=1000, stop=1000 + round(10 * RATE), onset=1500,
    )  # fmt: skip


CASES = (case_of(1, "ventricular_tachycardia"), case_of(2, ANY), case_of(3, "pause"))


def page_in(folder: Path) -> Path:
    rows = np.sin(np.arange(2500) / 20.0)[:, None] * np.ones(2)
    rows[100:200, 1] = np.nan
    beats = [(250, "N"), (500, "V"), (750, "N")]
    return write_page(folder, [(case, Excerpt(("II", "</script>"), rows, beats)) for case in CASES])


def after_reload(page: Page) -> str:
    """Return what is answered on the page loaded again; Chromium writes its storage a bit later."""
    page.reload()
    return page.inner_text("#done")


def test_what_a_reader_presses_is_what_is_read(tmp_path: Path) -> None:
    file = page_in(tmp_path)
    errors: list[str] = []
    asked: list[str] = []
    with chromium() as browser:
        page = browser.new_page(viewport={"width": 1300, "height": 900})
        page.set_default_timeout(PATIENCE_MS)
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("request", lambda request: asked.append(request.url))
        page.goto(file.as_uri())
        assert "case-001 (1 of 3)" in page.inner_text("#title")
        assert page.inner_text("#asked") == "Is it ventricular tachycardia?"
        page.keyboard.press("t")
        page.click("#ecg", position={"x": 3 * PIXELS_A_SECOND, "y": 60})
        page.click("#end")
        page.click("#ecg", position={"x": 5 * PIXELS_A_SECOND, "y": 60})
        page.click("#beats")
        page.click("#ecg", position={"x": 1 * PIXELS_A_SECOND, "y": 60})  # N becomes S
        page.click("#ecg", position={"x": 6 * PIXELS_A_SECOND, "y": 60})  # a new one
        page.keyboard.press("ArrowRight")
        assert page.inner_text("#asked") == "Is any condition there?"
        assert not page.is_visible("#true")
        page.keyboard.press("t")  # says nothing here
        assert page.inner_text("#done") == "1 answered"
        page.click("#other")
        page.select_option("#condition", "asystole")
        page.keyboard.press("ArrowRight")
        page.click("#false")
        until(lambda: after_reload(page) == "3 answered", what="they are kept in the browser")
        page.fill("#reader", "anna")
        with page.expect_download() as download:
            page.click("#save")
        saved = tmp_path / "saved.json"
        assert download.value.suggested_filename == "anna.json"
        download.value.save_as(saved)
    assert errors == []
    assert all(url.startswith(("file:", "blob:")) for url in asked)
    answers = read_readings(saved, CASES)
    first = answers["case-001"]
    assert (first.verdict, first.condition) == (Verdict.TRUE, "ventricular_tachycardia")
    assert first.onset == pytest.approx(3 * RATE, abs=3)
    assert first.end == pytest.approx(5 * RATE, abs=3)
    assert first.beats is not None
    assert [label for _, label in first.beats] == ["S", "V", "N", "N"]
    assert first.beats[3][0] == pytest.approx(6 * RATE, abs=3)
    assert answers["case-002"][:2] == (Verdict.OTHER, "asystole")
    assert answers["case-003"] == (Verdict.FALSE, "", None, None, None)


def test_a_browser_shows_nobody_the_answers_of_another_reader_or_review(tmp_path: Path) -> None:
    first, second = (tmp_path / name for name in ("first", "second"))
    for folder, height in ((first, 1.0), (second, 2.0)):
        folder.mkdir()
        rows = np.full((2500, 1), height)
        write_page(folder, [(case, Excerpt(("II",), rows, [])) for case in CASES])
    with chromium() as browser:
        page = browser.new_page()
        page.set_default_timeout(PATIENCE_MS)

        def shown_to(reader: str, folder: Path) -> str:
            page.goto((folder / "review.html").as_uri())
            page.fill("#reader", reader)
            page.dispatch_event("#reader", "change")
            return page.inner_text("#done")

        page.goto((first / "review.html").as_uri())
        page.click("#false")  # before the name: of the one who gives it next
        assert shown_to("anna", first) == "1 answered"
        assert shown_to("bela", first) == "0 answered"
        assert shown_to("anna", second) == "0 answered"
        assert shown_to("anna", first) == "1 answered"


@pytest.mark.parametrize(
    ("answer", "wrong"),
    [
        ({"verdict": "true", "onset_s": 11.0}, "not within"),
        ({"verdict": "false", "condition": "pause"}, "names none"),
        ({"verdict": "other", "condition": "flutter"}, "no alarm"),
        ({"verdict": "true", "beats": [[1.0, "X"]]}, "no label"),
        ({"verdict": "maybe"}, "not what the page saves"),
    ],
)
def test_a_file_that_cannot_be_is_refused(
    tmp_path: Path, answer: dict[str, object], wrong: str
) -> None:
    file = tmp_path / "saved.json"
    saved = {"schema": "tocsin/review-answers/v1", "answers": {"case-001": answer}}
    file.write_text(json.dumps(saved))
    with pytest.raises(LabError, match=wrong):
        read_readings(file, CASES)
    file.write_text(json.dumps(saved | {"answers": {"case-009": {"verdict": "false"}}}))
    with pytest.raises(LabError, match="no case"):
        read_readings(file, CASES)
