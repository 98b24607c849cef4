"""One page for the public: on whom tocsin was measured, how well, where it fails, what changed.

The page is made of what the repository says already: `docs/evaluation`, the cards of the models,
`CHANGELOG.md`. It holds everything that it shows: no script, no font, no picture from elsewhere.
"""

from __future__ import annotations

import base64
import json
import mimetypes
import re
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote

from tocsin_agent import __version__
from tocsin_agent.drawing.markup import Markup, tag, void
from tocsin_agent.errors import LabError
from tocsin_agent.extras import import_extra

PUBLIC = "https://"
_FIRST = ("README", "databases", "limits")
"""Pages of the evaluation that have a part of their own."""
_STYLE = """
:root { color-scheme: light dark; --page: #fbfbfa; --ink: #1c2127; --soft: #5b6570;
  --rule: #dfe2e5; --link: #1f6f8b; }
@media screen and (prefers-color-scheme: dark) {
  :root { --page: #14171a; --ink: #e4e7ea; --soft: #9aa5b0; --rule: #32383e; --link: #5fb4d0; } }
body { margin: 0; background: var(--page); color: var(--ink);
  font: 16px/1.5 system-ui, sans-serif; font-variant-numeric: tabular-nums; }
main { max-width: 68rem; margin: 0 auto; padding: 2rem 1.2rem 4rem; }
a { color: var(--link); } code { font-size: .9em; overflow-wrap: anywhere; }
h1 { line-height: 1.15; } section { margin-top: 3rem; }
h2 { border-bottom: 1px solid var(--rule); padding-bottom: .3rem; }
.soft { color: var(--soft); } img { max-width: 100%; height: auto; background: #fff; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; margin: 1rem 0; font-size: .92rem; }
th, td { text-align: left; vertical-align: top; padding: .3rem .7rem .3rem 0;
  border-bottom: 1px solid var(--rule); }
"""


class Part(NamedTuple):
    """A part of the page: its anchor, its title, its Markdown, and the file that it comes from."""

    anchor: str
    title: str
    text: str
    file: Path


def default_docs() -> Path | None:
    """Return the folder `docs` of the checkout that this program runs from, if it is one."""
    folder = Path(__file__).resolve().parents[3] / "docs"
    return folder if (folder / "evaluation" / "README.md").is_file() else None


def render(docs: Path) -> str:
    """Return the page as HTML.

    Parameters
    ----------
    docs : Path
        The folder `docs` of a checkout.

    Raises
    ------
    LabError
        If the folder lacks the pages of the evaluation, or the changelog is not beside it.
    MissingExtraError
        Without markdown-it-py.
    """
    markdown_it = import_extra("markdown_it", "card", "the public page")
    parser = markdown_it.MarkdownIt("commonmark", {"html": False}).enable("table")
    cards = model_cards()
    parts = _parts(docs, cards)
    known = {part.file.resolve(): part.anchor for part in parts}
    contents = tag(
        "ol", *(tag("li", tag("a", part.title, href=f"#{part.anchor}")) for part in parts)
    )
    rendered = [
        tag(
            "section",
            tag("h2", part.title),
            _html(parser, part, known),
            id=part.anchor,
        )
        for part in parts
    ]
    head = tag(
        "head",
        void("meta", charset="utf-8"),
        void("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("title", f"tocsin {__version__}: how well it works, and where it fails"),
        tag("style", Markup(_STYLE)),
    )
    body = tag("body", tag("main", _summary(cards), contents, *rendered))
    return "<!doctype html>\n" + tag("html", head, body, lang="en")


def model_cards() -> list[dict[str, Any]]:
    """Return the cards of the shipped models, with their pages under `page`."""
    folder = Path(str(files("tocsin_models")))
    found = []
    for file in sorted(folder.glob("*.json")):
        card = json.loads(file.read_text(encoding="utf-8"))
        found.append(card | {"page": _read(file.with_suffix(".md")), "file": file})
    return found


def changes(changelog: str) -> tuple[str, str]:
    """Return the title and the text of what changed since the last release.

    Raises
    ------
    LabError
        If the changelog has no release.
    """
    pieces = re.split(r"^## \[([^\]]+)\][^\n]*\n", changelog, flags=re.MULTILINE)
    versions = list(zip(pieces[1::2], pieces[2::2], strict=True))
    newest = next(((name, text) for name, text in versions if text.strip()), None)
    if newest is None:
        raise LabError("the changelog names no release: a heading such as `## [0.2.0]` expected")
    name, text = newest
    if name != "Unreleased":
        return f"What changed in {name}", text
    released = [version for version, _ in versions if version != "Unreleased"]
    return f"What changed since {released[0] if released else 'the beginning'}", text


def _parts(docs: Path, cards: Sequence[Mapping[str, Any]]) -> list[Part]:
    folder = docs / "evaluation"
    pages = {file.stem: file for file in sorted(folder.glob("*.md"))}
    if lacking := [name for name in _FIRST if name not in pages]:
        raise LabError(
            f"{folder} lacks {', '.join(lacking)}: name the folder docs of a checkout of tocsin"
        )
    changed, text = changes(_read(docs.parent / "CHANGELOG.md"))
    titles = ("How well it works", "On whom it was measured", "What it does not do")
    parts = [
        Part(f"page-{name}", title, _body(_read(pages[name])), pages[name])
        for name, title in zip(_FIRST, titles, strict=True)
    ]
    parts += [
        Part(f"model-{card['name']}", f"Model: {card['name']}", _body(card["page"]), card["file"])
        for card in cards
    ]
    parts.append(Part("changes", changed, text, docs.parent / "CHANGELOG.md"))
    return parts + [
        Part(f"page-{name}", _title(_read(file)), _body(_read(file)), file)
        for name, file in pages.items()
        if name not in _FIRST
    ]


def _summary(cards: Sequence[Mapping[str, Any]]) -> Markup:
    """Return what the page begins with: what it is, and where the models fail."""
    rows = [
        tag(
            "tr",
            tag("td", tag("a", card["name"], href=f"#model-{card['name']}")),
            tag("td", card["intended_use"]),
            tag("td", card["training"]["database"]),
            tag("td", card.get("test", {}).get("database", "–")),
            tag("td", tag("ul", *(tag("li", mode) for mode in card["failure_modes"]))),
        )
        for card in cards
    ]
    names = ("model", "use", "trained on", "measured on", "where it fails")
    table = tag("table", tag("tr", *(tag("th", name) for name in names)), *rows)
    return Markup(
        tag("h1", "tocsin: how well it works, and where it fails")
        + tag(
            "p",
            f"tocsin {__version__} watches an ECG and raises alerts. This page is made of the "
            "measurements that are published with the program; each figure has the command that "
            "measures it again. It is no medical device and makes no diagnosis.",
        )
        + tag("div", table, class_="wide")
    )


def _html(parser: Any, part: Part, known: Mapping[Path, str]) -> Markup:  # noqa: ANN401 - untyped
    """Return a part as HTML, its links within this page and its pictures in it."""
    tokens = parser.parse(re.sub(r"<!--.*?-->\n?", "", part.text, flags=re.DOTALL))
    for token in tokens:
        for child in token.children or ():
            if child.type == "link_open":
                child.attrSet("href", _target(child.attrGet("href"), part, known))
            elif child.type == "image":
                child.attrSet("src", _picture(child.attrGet("src"), part))
    text = parser.renderer.render(tokens, parser.options, {})
    text = re.sub(r'<a href="">(.*?)</a>', r"\1", text)  # to what is not on this page
    wide = text.replace("<table>", '<div class="wide"><table>')
    return Markup(wide.replace("</table>", "</table></div>"))


def _target(href: str, part: Part, known: Mapping[Path, str]) -> str:
    """Return where a link leads on this page; an empty text if it leads elsewhere in the docs."""
    if href.startswith(PUBLIC):
        return href
    if href.startswith("#"):
        return f"#{part.anchor}"
    file = (part.file.parent / unquote(href.partition("#")[0])).resolve()
    for candidate in (file, file.with_suffix(".json")):  # the page of a model is its card's
        if candidate in known:
            return f"#{known[candidate]}"
    return ""


def _picture(source: str, part: Part) -> str:
    """Return a picture as a data URI."""
    file = part.file.parent / unquote(source)
    try:
        content = file.read_bytes()
    except OSError as error:
        raise LabError(f"{part.file} shows {source}, which cannot be read: {error}") from error
    kind = mimetypes.guess_type(file.name)[0] or "application/octet-stream"
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise LabError(
            f"{file} cannot be read ({error}): name the folder docs of a checkout of tocsin"
        ) from error


def _title(text: str) -> str:
    return text.partition("\n")[0].lstrip("# ").strip()


def _body(text: str) -> str:
    return text.partition("\n")[2] if text.startswith("# ") else text
