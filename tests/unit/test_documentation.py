"""Links between the pages of the repository."""

from __future__ import annotations

import pkgutil
import re
import shlex
from pathlib import Path

import click
import pytest

from tocsin_agent.cli import cli

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


# Decisions and the changelog speak of the commands of their day.
CURRENT = [
    p for p in PAGES if p.parent.name != "decisions" and p.name not in {"CHANGELOG.md", "LOG.md"}
]


def _shown(page: Path, program: str) -> list[str]:
    """Return the calls of a program that a page shows, in code spans and code blocks."""
    text = page.read_text(encoding="utf-8").replace("\\\n", " ")
    blocks = re.findall(r"^```.*?^```", text, re.MULTILINE | re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines() if line.startswith(program)]
    return lines + re.findall(rf"`({program} [^`\n]+)`", text)


def _unknown(call: str) -> str | None:
    """Return what a call of `tocsin` names and the program does not have."""
    command: click.Command = cli
    words = shlex.split(call.partition("#")[0].replace("'", ""))[1:]
    while words and isinstance(command, click.Group) and words[0][0] not in "-<>|…":
        child = command.get_command(click.Context(command), words[0].partition("|")[0])
        if child is None:
            return None if command.invoke_without_command else words[0]
        command, words = child, words[1:]
    parameters = command.get_params(click.Context(command))
    known = {name for one in parameters for name in (*one.opts, *one.secondary_opts)}
    options = (re.match(r"--[a-z][a-z0-9-]*", word.lstrip("[(")) for word in words)
    return next((o[0] for o in options if o and o[0] not in known), None)


@pytest.mark.parametrize("page", CURRENT, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_command_that_a_page_shows_exists(page: Path) -> None:
    calls = _shown(page, "tocsin")
    assert [call for call in calls if _unknown(call) is not None] == []


@pytest.mark.parametrize("page", CURRENT, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_target_that_a_page_shows_is_in_the_makefile(page: Path) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    device = (ROOT / "firmware-bridge" / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", makefile + device, re.MULTILINE))
    named = [re.match(r"make ([a-z-]+)", call) for call in _shown(page, "make")]
    assert {match[1] for match in named if match} - targets == set()
