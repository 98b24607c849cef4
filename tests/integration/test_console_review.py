"""The review of cases in the console: who may read, what is kept, and what nobody is shown."""

from __future__ import annotations

import json
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pytest
from click.testing import CliRunner
from playwright.sync_api import Dialog, Route

from support.brokers import Mosquitto, quick, until
from support.browser import Visit, chromium, faults
from support.consoles import ROLES, Page, Running, serving, settings_of
from tocsin_agent.cli.review import command
from tocsin_agent.lab.review.cases import Case, Why
from tocsin_agent.lab.review.folder import Excerpt, ReviewFile, read_answers, write_review
from tocsin_agent.lab.review.page import write_page
from tocsin_agent.messages.reading import ANY, Verdict
from tocsin_agent.team.console.app import MAX_BODY_BYTES
from tocsin_agent.team.console.settings import ReviewSettings

pytestmark = pytest.mark.broker

RATE = 250.0
PIXELS_A_SECOND = 100
WORDS = Path(str(resources.files("tocsin_agent.team.console"))) / "page" / "words" / "en.json"
FALSE = {"verdict": "false"}


def case_of(number: int, asked: str) -> Case:
    return Case(
        case=f"case-{number:03d}", record="a-database/1", patient="somebody-1", asked=asked,
        why=Why.REJECTED, rate_hz=RATE, start=1000, stop=1000 + round(10 * RATE), onset=1500,
    )  # fmt: skip


CASES = (case_of(1, "ventricular_tachycardia"), case_of(2, ANY))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rows = np.sin(np.arange(2500) / 20.0)[:, None] * np.ones(2)
    excerpt = Excerpt(("II", "<img src=x>"), rows, [(250, "N"), (500, "V"), (750, "N")])
    folder = tmp_path / "review"
    excerpts = [(case, excerpt) for case in CASES]
    write_review(folder, ReviewFile(seed=1, cases=CASES), excerpts)
    write_page(folder / "cases", excerpts)
    return folder


@pytest.fixture
def running(tmp_path: Path, folder: Path, mosquitto: Mosquitto) -> Iterator[Running]:
    settings = settings_of(
        tmp_path, quick(mosquitto.port), review=ReviewSettings(folder=str(folder))
    )
    with serving(settings) as running:
        yield running


def logged_in(running: Running, role: str) -> Page:
    page = Page(running.port)
    assert page.login(role).status == 200
    return page


def test_a_case_that_is_read_in_a_browser_is_an_answer_that_agree_accepts(
    running: Running, folder: Path
) -> None:
    with chromium() as browser:
        visit = Visit(browser, running.url, "cardiologist")
        page = visit.page
        page.click("a[href='/review']")
        page.wait_for_selector("#unread a")
        assert faults(page) == []
        page.click("#unread a")
        page.wait_for_selector("#asked")
        assert page.inner_text("#asked") == "Is it VENTRICULAR TACHYCARDIA?"
        page.keyboard.press("t")
        asked: list[str] = []

        def stay(dialog: Dialog) -> None:
            asked.append(dialog.message)
            dialog.dismiss()

        page.once("dialog", stay)
        page.click("#cases")
        visit.until("location.hash === '#/case-001'")
        page.click("#ecg", position={"x": 3 * PIXELS_A_SECOND, "y": 60})
        page.click("#end")
        page.click("#ecg", position={"x": 5 * PIXELS_A_SECOND, "y": 60})
        page.click("#beats")
        page.click("#ecg", position={"x": 6 * PIXELS_A_SECOND, "y": 60})
        assert faults(page) == []
        page.click("#save")
        page.wait_for_selector("text=Is any condition there?")  # the next one
        assert page.inner_text("#done") == "1 of 2 read"
        page.click("#cases")
        page.wait_for_selector("#read a")
        assert page.locator("#unread a").all_inner_texts() == ["case-002"]
        visit.close()
    assert asked == ["Leave this case without saving?"]
    answer = read_answers(folder, "cardiologist", CASES)["case-001"]
    assert (answer.verdict, answer.condition) == (Verdict.TRUE, "ventricular_tachycardia")
    assert answer.onset == pytest.approx(3 * RATE, abs=3)
    assert answer.end == pytest.approx(5 * RATE, abs=3)
    assert answer.beats is not None
    assert [label for _, label in answer.beats] == ["N", "V", "N", "N"]
    logged_in(running, "admin").fetch("/api/review/case-001", FALSE)
    done = CliRunner().invoke(command, ["agree", str(folder), "--json"], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert json.loads(done.output)["disputed"] == {"case-001": "verdict"}


def test_a_late_case_takes_no_answer_of_another(running: Running, folder: Path) -> None:
    held: list[Route] = []

    def asked() -> bool:
        page.wait_for_timeout(20)
        return bool(held)

    with chromium() as browser:
        visit = Visit(browser, running.url, "cardiologist")
        page = visit.page
        page.wait_for_selector("a[href='/review']")
        page.route("**/api/review/case-001", lambda route: held.append(route))  # noqa: PLW0108
        page.goto(f"{running.url}review#/case-001")
        until(asked, what="the case is asked for")
        page.evaluate("location.hash = '#/case-002'")
        page.wait_for_selector("text=Is any condition there?")
        with page.expect_response("**/api/review/case-001") as late:
            held[0].continue_()
        late.value.finished()
        page.evaluate("new Promise((done) => setTimeout(done, 50))")
        assert page.inner_text("#title") == "case-002"
        page.click("#false")
        page.click("#save")
        page.unroute("**/api/review/case-001")
        page.wait_for_selector("text=Is it VENTRICULAR TACHYCARDIA?")
        visit.close()
    assert set(read_answers(folder, "cardiologist", CASES)) == {"case-002"}


@pytest.mark.parametrize(
    ("language", "title", "asked"),
    [
        ("de", "Befundung von Fällen", "VENTRIKULÄRE TACHYKARDIE: trifft das zu?"),
        ("fr", "Relecture de cas", "TACHYCARDIE VENTRICULAIRE : est-ce exact ?"),
    ],
)
def test_the_page_of_a_review_speaks_the_language_of_the_person(
    running: Running, language: str, title: str, asked: str
) -> None:
    chosen = f"localStorage.setItem('tocsin.console', '{{\"language\": \"{language}\"}}')"
    with chromium() as browser:
        visit = Visit(browser, running.url, "cardiologist", script=chosen)
        page = visit.page
        page.wait_for_selector("a[href='/review']")
        page.goto(f"{running.url}review")
        page.wait_for_selector("#unread a")
        assert page.inner_text("#title") == page.title() == title
        page.click("#unread a")
        page.wait_for_selector("#asked")
        assert page.inner_text("#asked") == asked
        page.click("#other")
        assert "_" not in page.inner_text("#condition")
        said = page.inner_text("body")
        visit.close()
    english = json.loads(WORDS.read_text(encoding="utf-8"))
    longer = [text for key, text in english.items() if key.startswith("review_") and " " in text]
    assert not [text for text in longer if "{" not in text and text in said]


def test_who_may_read_cases(running: Running, folder: Path) -> None:
    stranger = Page(running.port)
    statuses = {}
    for path in ("/api/review", "/api/review/case-001"):
        assert stranger.fetch(path).status == 401
    assert stranger.fetch("/api/review/case-001", FALSE).status == 401
    for role in ROLES:
        page = logged_in(running, role)
        statuses[role] = (
            page.fetch("/api/review").status,
            page.fetch("/api/review/case-001").status,
            page.fetch("/api/review/case-001", FALSE).status,
        )
        assert ("review" in page.fetch("/api/session").json["rights"]) == (
            role in {"cardiologist", "admin"}
        )
    assert statuses == {
        "viewer": (403, 403, 403),
        "responder": (403, 403, 403),
        "cardiologist": (200, 200, 200),
        "admin": (200, 200, 200),
    }
    assert sorted(file.name for file in (folder / "answers").iterdir()) == [
        "admin.json",
        "cardiologist.json",
    ]


def test_an_answer_needs_the_token_this_page_and_a_case(running: Running, folder: Path) -> None:
    page = logged_in(running, "cardiologist")
    for headers in (
        {"X-CSRF-Token": ""},
        {"X-CSRF-Token": "x" * 32},
        {"Origin": "https://evil.example"},
    ):
        assert page.fetch("/api/review/case-001", FALSE, headers).status == 403
    for name in (
        "case-999", "../review", "..", "case-001.json", "case-001\n", "\0", "answers/admin",
        "../../review.json", "cases", "%2e%2e%2freview", "\u202e", "c" * 5000,
    ):  # fmt: skip
        assert page.fetch(f"/api/review/{quote(name, safe='')}").status == 404, name
        assert page.fetch(f"/api/review/{quote(name, safe='')}", FALSE).status == 404, name
    impossible: tuple[object, ...] = (
        {"verdict": "maybe"},
        {"verdict": "other", "condition": "flutter"},
        {"verdict": "true", "onset_s": 11.0},
        {"verdict": "true", "onset_s": 5.0, "end_s": 4.0},
        {"verdict": "false", "beats": [[1.0, "X"]]},
        {"verdict": "false", "beats": [[1.0, "N"]] * 1001},
        {"verdict": "false", "who": "admin"},
        [],
    )
    for wrong in impossible:
        assert page.fetch("/api/review/case-001", wrong).status == 400, wrong
    long = b" " * (MAX_BODY_BYTES + 1)
    assert page.fetch("/api/review/case-001", raw=long).status == 413
    assert list((folder / "answers").iterdir()) == []


def test_two_readers_do_not_see_each_other(running: Running) -> None:
    first, second = (logged_in(running, role) for role in ("cardiologist", "admin"))
    before = second.fetch("/api/review/case-001").body
    listed = second.fetch("/api/review").body
    said = {"verdict": "other", "condition": "asystole", "onset_s": 1.5}
    assert first.fetch("/api/review/case-001", said).status == 200
    assert second.fetch("/api/review/case-001").body == before
    assert second.fetch("/api/review").body == listed
    assert first.fetch("/api/review/case-001").json["reading"]["condition"] == "asystole"
    assert [one["case"] for one in first.fetch("/api/review").json["unread"]] == ["case-002"]
    until(lambda: b"case_read" in second.fetch("/api/audit").body, what="the audit entry")
    (entry,) = [one for one in second.fetch("/api/audit").json if one["event"] == "case_read"]
    assert (entry["who"], entry["text"]) == ("cardiologist", "case-001")
    assert "asystole" not in json.dumps(entry)


def test_what_is_shown_says_nothing_of_whose_ecg_it_is_or_why(running: Running) -> None:
    page = logged_in(running, "cardiologist")
    shown = page.fetch("/api/review").body + page.fetch("/api/review/case-001").body
    assert not any(
        word in shown for word in (b"a-database", b"somebody-1", b"rejected", b'"patient"')
    )


def test_a_folder_that_cannot_be_read_is_said(running: Running, folder: Path) -> None:
    page = logged_in(running, "cardiologist")
    (folder / "answers" / "cardiologist.json").write_text("{")
    assert page.fetch("/api/review").status == 503
    assert page.fetch("/api/review/case-001", FALSE).status == 503
    assert (folder / "answers" / "cardiologist.json").read_text() == "{"
    (folder / "cases" / "cases.json").unlink()
    assert logged_in(running, "admin").fetch("/api/review").status == 503


def test_without_a_folder_there_is_no_review(tmp_path: Path, mosquitto: Mosquitto) -> None:
    with serving(settings_of(tmp_path, quick(mosquitto.port))) as running:
        page = logged_in(running, "cardiologist")
        assert page.fetch("/api/review").status == 404
        assert "review" not in page.fetch("/api/session").json["rights"]
