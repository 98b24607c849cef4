"""ECG paper at true scale, and the files that are written of it."""

from __future__ import annotations

import re
import struct
import zlib
from xml.etree import ElementTree as ET

import numpy as np
import pytest

from tocsin_agent.drawing.paper import calibration, grid, labels, scale_for, trace
from tocsin_agent.drawing.picture import PNG_DPI, picture
from tocsin_agent.drawing.shapes import LOOKS, Box, Lines, Sheet, Text
from tocsin_agent.drawing.svg import document

LEAD = np.concatenate([np.zeros(250), np.ones(250), np.full(50, np.nan), np.zeros(200)])


def sheet() -> Sheet:
    scale = scale_for(LEAD, 250.0, 20.0, 10.0, 25.0)
    shapes = [
        Box(0, 0, 120, 60, "page"),
        *grid(20.0, 10.0, 75.0, scale.height),
        *calibration(scale, "II"),
        trace(LEAD, scale),
        *labels([(45.0, "V")], 7.0, (8.0, 10.0), near=True),
        Text(20, 55, "Größe & <Ort>", "small"),
    ]
    return Sheet(120.0, 60.0, "A strip", tuple(shapes))


def test_a_second_is_25_mm_and_a_millivolt_10_mm() -> None:
    scale = scale_for(LEAD, 250.0, 20.0, 10.0, 25.0)
    assert scale.x(250) - scale.x(0) == 25.0
    assert scale.y(0.0) - scale.y(1.0) == 10.0


def test_the_pulse_is_one_millivolt_high_and_a_fifth_of_a_second_long() -> None:
    (pulse, _) = calibration(scale_for(LEAD, 250.0, 20.0, 10.0, 25.0))
    assert isinstance(pulse, Lines)
    xs, ys = zip(*pulse.lines[0], strict=True)
    assert max(ys) - min(ys) == 10.0
    top = [x for x, y in pulse.lines[0] if y == min(ys)]
    assert max(top) - min(top) == 5.0
    assert max(xs) < 20.0


def test_missing_samples_are_a_gap_in_the_line() -> None:
    line = trace(LEAD, scale_for(LEAD, 250.0, 0.0, 0.0, 25.0))
    assert [len(piece) for piece in line.lines] == [500, 200]
    assert trace(np.full(9, np.nan), scale_for(LEAD, 250.0, 0.0, 0.0, 25.0)).lines == ()


def test_what_is_higher_than_the_paper_stays_on_it() -> None:
    scale = scale_for(np.array([0.0, 0.0, 9.0]), 250.0, 0.0, 5.0, 25.0)
    assert scale.y(9.0) == 5.0
    assert scale.height == 35.0


def test_an_svg_has_its_size_in_millimetres_and_a_look_for_each_role() -> None:
    text = document(sheet())
    root = ET.fromstring(text)  # noqa: S314  # written above
    assert (root.get("width"), root.get("height")) == ("120mm", "60mm")
    assert root.get("viewBox") == "0 0 120 60"
    roles = {shape.role for shape in sheet().shapes}
    assert roles <= LOOKS.keys()
    for role in roles:
        assert f"[class='{role}']" in text
    assert "Größe &amp; &lt;Ort&gt;" in text
    assert document(sheet()) == text


def test_a_pdf_has_its_true_size_and_is_the_same_each_time() -> None:
    written = picture(sheet(), "pdf")
    assert written.startswith(b"%PDF")
    box = re.search(rb"/MediaBox \[ 0 0 ([\d.]+) ([\d.]+) \]", written)
    assert box is not None
    assert [float(value) / 72 * 25.4 for value in box.groups()] == pytest.approx([120.0, 60.0])
    assert picture(sheet(), "pdf") == written
    # A line of 75 mm is 75 mm on the page, whatever the page is.
    streams = re.findall(rb"stream\r?\n(.*?)\r?\nendstream", written, re.DOTALL)
    drawn = b"".join(zlib.decompress(s) for s in streams if s[:1] == b"x")
    spans = {
        round((float(x2) - float(x1)) / 72 * 25.4, 2)
        for x1, y1, x2, y2 in re.findall(rb"([\d.]+) ([\d.]+) m\s+([\d.]+) ([\d.]+) l", drawn)
        if y1 == y2
    }
    assert 75.0 in spans


def test_a_png_states_its_resolution() -> None:
    written = picture(sheet(), "png")
    width, height = struct.unpack(">II", written[16:24])
    assert (width, height) == (int(120 / 25.4 * PNG_DPI), int(60 / 25.4 * PNG_DPI))
    at = written.index(b"pHYs")
    per_metre = struct.unpack(">I", written[at + 4 : at + 8])[0]
    assert per_metre == pytest.approx(PNG_DPI / 0.0254, rel=1e-3)
