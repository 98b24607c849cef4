"""Every language of the page has every word, with the same values; every word is used."""

from __future__ import annotations

import json
import re
from importlib import resources

import pytest

from tocsin_agent.messages.acknowledgement import Action
from tocsin_agent.messages.response import Outcome

PAGE = resources.files("tocsin_agent.team.console") / "page"
SCRIPTS = {
    entry.name: entry.read_text("utf-8") for entry in PAGE.iterdir() if entry.name.endswith(".js")
}


def words(code: str) -> dict[str, str]:
    content = json.loads((PAGE / "words" / f"{code}.json").read_text("utf-8"))
    assert isinstance(content, dict)
    return content


ENGLISH = words("en")


def values(text: str) -> set[str]:
    return set(re.findall(r"\{(\w+)\}", text))


@pytest.mark.parametrize("code", ["de", "fr"])
def test_languages_have_the_same_keys_and_values(code: str) -> None:
    other = words(code)
    assert list(other) == list(ENGLISH)
    assert {key: values(text) for key, text in other.items()} == {
        key: values(text) for key, text in ENGLISH.items()
    }
    assert all(text.strip() for text in other.values())


def test_every_word_that_a_script_names_is_there() -> None:
    named = {key for text in SCRIPTS.values() for key in re.findall(r"\bt\(\"(\w+)\"", text)}
    assert len(named) > 100
    assert named <= ENGLISH.keys()


def test_every_outcome_of_an_answer_and_every_press_has_a_word() -> None:
    outcomes = {f"outcome_{one.value}" for one in Outcome}
    presses = {f"event_pressed_{one.value}" for one in Action}
    assert outcomes | {"outcome_failed", "outcome_unanswered"} <= ENGLISH.keys()
    assert presses | {"event_pressed_note"} <= ENGLISH.keys()


def test_no_script_parses_html() -> None:
    dangerous = (
        "innerHTML",
        "outerHTML",
        "insertAdjacentHTML",
        "document.write",
        "eval(",
        "DOMParser",
    )
    for name, text in SCRIPTS.items():
        assert not [word for word in dangerous if word in text], name


def test_the_page_names_no_other_host() -> None:
    for entry in PAGE.iterdir():
        if entry.is_file():
            addresses = re.findall(r"https?://[\w.]+", entry.read_text("utf-8"))
            assert set(addresses) <= {"http://www.w3.org"}, entry.name
