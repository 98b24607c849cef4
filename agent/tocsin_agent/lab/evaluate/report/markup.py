"""Markup of the report: sections, notes and tables."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tocsin_agent.drawing.markup import Markup, tag


def section(heading: str, *content: object, class_: str | None = None) -> Markup:
    """Make a section with a heading."""
    return tag("section", tag("h2", heading), *content, class_=class_)


def note(*content: object) -> Markup:
    """Make a paragraph that explains."""
    return tag("p", *content, class_="note")


def table_of(head: Sequence[object], rows: Iterable[Sequence[object]], class_: str = "") -> Markup:
    """Make a table: the first column names the row, the others are figures."""
    columns = [
        cell
        if isinstance(cell, Markup)
        else tag("th", cell, scope="col", class_=None if at == 0 else "figure")
        for at, cell in enumerate(head)
    ]
    body = [
        tag(
            "tr",
            tag("th", row[0], scope="row"),
            *(tag("td", cell, class_="figure") for cell in row[1:]),
        )
        for row in rows
    ]
    table = tag(
        "table",
        tag("thead", tag("tr", *columns)),
        tag("tbody", *body),
        class_=class_ or None,
    )
    return tag("div", table, class_="wide")


def grouped(groups: Sequence[Markup], table: Markup) -> Markup:
    """Put a row of headings above those of a table."""
    return Markup(table.replace("<thead>", "<thead>" + tag("tr", *groups, class_="groups"), 1))
