"""Links between the pages of the repository."""

from __future__ import annotations

import pkgutil
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [
    *ROOT.glob("*.md"),
    *ROOT.glob("docs/**/*.md"),
    *ROOT.glob("firmware-bridge/*.md"),
    *ROOT.glob("models/*/*.md"),
]
LINK = re.compile(r"\]\((?!https?:)([^)#\s]+)")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_relative_link_leads_to_a_file(page: Path) -> None:
    targets = LINK.findall(page.read_text(encoding="utf-8"))
    assert [target for target in targets if not (page.parent / target).exists()] == []


def test_every_decision_is_in_the_index_with_its_date_and_status() -> None:
    folder = ROOT / "docs" / "decisions"
    index = (folder / "README.md").read_text(encoding="utf-8")
    for page in folder.glob("0*.md"):
        title, _, dated, *_ = page.read_text(encoding="utf-8").splitlines()
        number, name = re.fullmatch(r"# (\d+)\. (.+)", title).groups()  # type: ignore[union-attr]
        date = re.match(r"Date: (\d{4}-\d{2}-\d{2})\. Status: (accepted|superseded by)", dated)
        assert date, page.name
        assert f"| [{number}]({page.name}) | {name} | {date[1]} |" in index


NAMED = re.compile(
    r"`(tocsin_(?:agent|dsp|models|training)[./][\w./]+"
    r"|(?:agent|dsp|models|tests|config|docs|tools)/[\w./-]+)`"
)


def _is_there(name: str) -> bool:
    """Return whether a dotted name is a module, or something that a module has."""
    try:
        pkgutil.resolve_name(name)
    except (ImportError, AttributeError):
        return False
    return True


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_module_and_file_that_a_page_names_exists(page: Path) -> None:
    roots = [ROOT, ROOT / "agent", ROOT / "dsp", ROOT / "models"]
    absent = []
    for name in NAMED.findall(page.read_text(encoding="utf-8")):
        if "/" in name:
            known = any((r / name).exists() or (r / f"{name}.py").exists() for r in roots)
        else:
            known = _is_there(name)
        absent += [] if known else [name]
    assert absent == []


def test_every_page_is_reached_from_the_readme() -> None:
    reached, ahead = set[Path](), [ROOT / "README.md"]
    while ahead:
        page = ahead.pop()
        if page not in reached and page.suffix == ".md":
            reached.add(page)
            text = page.read_text(encoding="utf-8")
            ahead += [(page.parent / target).resolve() for target in LINK.findall(text)]
    assert [page for page in PAGES if page.resolve() not in reached] == []


def test_the_figures_of_the_readme_are_those_of_the_evaluation() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    section = text.partition("## How good it is")[2].partition("\n## ")[0]
    _, _, *rows = [line for line in section.splitlines() if line.startswith("|")]
    published = (ROOT / "docs" / "evaluation" / "README.md").read_text(encoding="utf-8")
    assert rows
    assert [row for row in rows if f"\n{row}" not in published] == []
