"""Writes shapes as SVG: elements for a page, or a document of its own at true size."""

from __future__ import annotations

from tocsin_agent.drawing.markup import Markup, coordinate, joined, tag
from tocsin_agent.drawing.shapes import LOOKS, Box, Lines, Point, Shape, Sheet, Text

_FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'DejaVu Sans', sans-serif"


def element(shape: Shape) -> Markup:
    """Return a shape as an SVG element; its role becomes its class."""
    match shape:
        case Box():
            return tag(
                "rect",
                x=coordinate(shape.x),
                y=coordinate(shape.y),
                width=coordinate(shape.width),
                height=coordinate(shape.height),
                class_=shape.role,
            )
        case Lines():
            return tag("path", d="".join(map(_path, shape.lines)), class_=shape.role)
        case Text():
            return tag(
                "text",
                shape.text,
                x=coordinate(shape.x),
                y=coordinate(shape.y),
                class_=shape.role,
            )


def _path(line: tuple[Point, ...]) -> str:
    steps, before = [], None
    for x, y in ((coordinate(x), coordinate(y)) for x, y in line):
        if before is None:
            steps.append(f"M{x} {y}")
        elif before[0] == x:
            steps.append(f"V{y}")
        elif before[1] == y:
            steps.append(f"H{x}")
        else:
            steps.append(f"L{x} {y}")
        before = (x, y)
    return "".join(steps)


def document(sheet: Sheet) -> str:
    """Return a drawing as an SVG file: its looks are in it, a millimetre is a millimetre."""
    width, height = coordinate(sheet.width), coordinate(sheet.height)
    return (
        tag(
            "svg",
            tag("title", sheet.title),
            tag("style", Markup(_style(sheet))),
            joined(map(element, sheet.shapes)),
            xmlns="http://www.w3.org/2000/svg",
            width=f"{width}mm",
            height=f"{height}mm",
            viewBox=f"0 0 {width} {height}",
            role="img",
        ).rstrip("\n")
        + "\n"
    )


def _style(sheet: Sheet) -> str:
    used = sorted({(shape.role, type(shape)) for shape in sheet.shapes}, key=lambda pair: pair[0])
    rules = [f"text{{font-family:{_FONT}}}"]
    for role, kind in used:
        look = LOOKS[role]
        if kind is Text:
            rule = f"fill:{look.colour};font-size:{look.size_mm:g}px;text-anchor:{look.anchor}"
            rule += ";font-weight:700" if look.bold else ""
        elif kind is Lines:
            rule = f"fill:none;stroke:{look.colour};stroke-width:{look.size_mm:g}"
            rule += ";stroke-linejoin:round"
        else:
            rule = f"fill:{look.colour}"
        if look.opacity < 1.0:
            rule += f";opacity:{look.opacity:g}"
        rules.append(f"[class='{role}']{{{rule}}}")
    return "\n".join(rules)
