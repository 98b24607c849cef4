"""The pictures of docs/team.md show what the board and the chain are now."""

from __future__ import annotations

import html
import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def drawn() -> dict[str, str]:
    return load().pictures()  # type: ignore[no-any-return]


def load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("pictures", ROOT / "tools" / "draw_pictures.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def texts(svg: str) -> list[str]:
    """Return what can be read in a picture: how it looks depends on the version of textual."""
    found = (html.unescape(text) for text in re.findall(r"<text[^>]*>(.*?)</text>", svg))
    return sorted(text.replace("\xa0", " ").strip() for text in found if text.strip())


@pytest.mark.parametrize("name", ["team-board.svg", "team-chain.svg"])
def test_a_picture_is_current(drawn: dict[str, str], name: str) -> None:
    committed = (ROOT / "docs" / "strips" / name).read_text(encoding="utf-8")
    assert texts(committed) == texts(drawn[name]), "run `make docs`"
    assert len(committed) < 60_000


def test_the_board_shows_beds_strip_presence_and_keys(drawn: dict[str, str]) -> None:
    said = " ".join(texts(drawn["team-board.svg"]))
    for word in (
        "VENTRICULAR TACHYCARDIA",
        "NOBODY",
        "SILENT",
        "onset",
        "dr-k is present",
        "Accept",
    ):
        assert word in said, word


def test_every_picture_of_the_page_is_there() -> None:
    page = (ROOT / "docs" / "team.md").read_text(encoding="utf-8")
    names = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", page)
    assert len(names) == 3
    assert all((ROOT / "docs" / name).is_file() for name in names)
