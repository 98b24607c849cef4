"""Markup of HTML and SVG: tags, attributes and drawings, with every text escaped."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Mapping

# What no document can hold (controls, lone surrogates of undecodable file names, non-characters)
# and what would reorder the text around it.
_UNPRINTABLE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]"
)
_BLOCKS = frozenset({"section", "header", "figure", "table", "tr", "p", "h1", "h2", "style", "svg"})


class Markup(str):
    """Text that is markup already; any other text is escaped when it becomes content."""

    __slots__ = ()


def escaped(text: object) -> Markup:
    """Return a text as content: escaped, unless it is markup already."""
    if isinstance(text, Markup):
        return text
    return Markup(html.escape(_UNPRINTABLE.sub("\ufffd", str(text))))


def _attributes(attributes: Mapping[str, object]) -> str:
    named = ((name.rstrip("_").replace("_", "-"), value) for name, value in attributes.items())
    return "".join(f' {name}="{escaped(value)}"' for name, value in named if value is not None)


def tag(name: str, /, *content: object, **attributes: object) -> Markup:
    """Make an element; a trailing underscore of an attribute is dropped, others become hyphens."""
    inside = "".join(map(escaped, content))
    end = "\n" if name in _BLOCKS else ""
    return Markup(f"<{name}{_attributes(attributes)}>{inside}</{name}>{end}")


def void(name: str, /, **attributes: object) -> Markup:
    """Make an element that has no content."""
    return Markup(f"<{name}{_attributes(attributes)}>\n")


def joined(parts: Iterable[object], between: str = "") -> Markup:
    """Join parts into one piece of markup."""
    return Markup(escaped(between).join(map(escaped, parts)))


def drawing(
    width: float, height: float, title: str, *content: object, **attributes: object
) -> Markup:
    """Make an SVG with a title that says what it shows."""
    box = f"0 0 {coordinate(width)} {coordinate(height)}"
    return tag("svg", tag("title", title), *content, viewBox=box, role="img", **attributes)


def stroke(x1: object, y1: object, x2: object, y2: object, class_: str) -> Markup:
    """Make a line of a drawing."""
    return tag("line", x1=x1, y1=y1, x2=x2, y2=y2, class_=class_)


def coordinate(value: float) -> str:
    """Write a coordinate, to a hundredth."""
    return f"{value:.2f}".rstrip("0").rstrip(".")


def path_through(points: Iterable[tuple[float, float | None]]) -> str:
    """Give the path through points; where one has no height, the path breaks."""
    steps, pen = [], "M"
    for x, y in points:
        if y is None:
            pen = "M"
            continue
        steps.append(f"{pen}{coordinate(x)} {coordinate(y)}")
        pen = "L"
    return "".join(steps)
