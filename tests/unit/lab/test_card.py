"""The public page."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from click.testing import CliRunner

from tocsin_agent.cli.card import command
from tocsin_agent.errors import LabError
from tocsin_agent.lab.card import changes, default_docs, model_cards, render


class Page(HTMLParser):
    """Collects the anchors of a page, what it links to and what it loads."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.tags: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        self.tags.add(tag)
        self.anchors |= {found["id"]} if "id" in found else set()
        self.links += [found["href"]] if tag == "a" else []
        self.loaded += [found[name] for name in ("src", "srcset") if name in found]


@pytest.fixture(scope="module")
def text() -> str:
    docs = default_docs()
    assert docs is not None
    return render(docs)


def test_the_page_holds_all_that_it_shows(text: str) -> None:
    page = Page(text)
    assert all(source.startswith("data:") for source in page.loaded)
    assert page.loaded
    assert not page.tags & {"script", "link", "iframe", "object"}
    assert "url(" not in text
    assert "<!--" not in text.replace("<!doctype", "")


def test_every_link_leads_to_a_part_of_the_page_or_to_the_web(text: str) -> None:
    page = Page(text)
    inside = {link[1:] for link in page.links if link.startswith("#")}
    assert len(inside) > 10
    assert inside <= page.anchors
    assert all(link.startswith(("#", "https://")) for link in page.links)


def test_it_says_on_whom_where_it_fails_and_what_changed(text: str) -> None:
    for card in model_cards():
        for mode in card["failure_modes"]:
            assert re.sub(r"\s+", " ", mode).split("'")[0] in text
    assert "On whom it was measured" in text
    assert "What changed since 0.1.0" in text
    assert "99.94 / 99.89" in text  # the first row of docs/evaluation/README.md


def test_what_changed_is_that_of_the_newest_release() -> None:
    log = "# Log\n\n## [Unreleased]\n\n## [2.0.0] - 2026-01-01\n\n- two\n\n## [1.0.0]\n\n- one\n"
    assert changes(log) == ("What changed in 2.0.0", "\n- two\n\n")
    assert changes(log.replace("d]\n\n", "d]\n\n- more\n", 1))[0] == "What changed since 2.0.0"
    with pytest.raises(LabError, match="names no release"):
        changes("# Changelog\n")


def test_the_command_writes_the_page_or_says_what_it_needs(tmp_path: Path) -> None:
    done = CliRunner().invoke(command, ["--into", str(tmp_path / "card.html")])
    assert done.exit_code == 0, done.output
    assert (tmp_path / "card.html").read_text().startswith("<!doctype html>")
    refused = CliRunner().invoke(command, ["--docs", str(tmp_path)])
    assert isinstance(refused.exception, LabError)
    lost = CliRunner().invoke(command, ["--into", str(tmp_path / "nowhere" / "card.html")])
    assert (lost.exit_code, "give another place by --into" in lost.output) == (2, True)
    (tmp_path / "evaluation").mkdir()
    for name in ("README", "databases", "limits"):
        (tmp_path / "evaluation" / f"{name}.md").write_bytes(b"\xff\xfe")
    refused = CliRunner().invoke(command, ["--docs", str(tmp_path)])
    assert isinstance(refused.exception, LabError)
    assert "cannot be read" in str(refused.exception)
