from __future__ import annotations

import copy
import re
import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tocsin_agent.lab.evaluate.report import FILE_NAME, StripOf, StripSource, write_report

RATE = 250.0
HOSTILE = "<script>alert('x')</script> & \" \ud800 \x00 \u202e"


def counts(se: float | None, ppv: float | None, tp: int, fn: int, fp: int) -> dict[str, Any]:
    ci95 = {
        "se": None if se is None else [se - 2, min(se + 2, 100.0)],
        "ppv": None if ppv is None else [ppv - 2, min(ppv + 2, 100.0)],
    }
    return {"se": se, "ppv": ppv, "tp": tp, "fn": fn, "fp": fp, "ci95": ci95}


def record(name: str, fn: int, alarms: dict[str, Any] | None = None) -> dict[str, Any]:
    none = {"se": None, "ppv": None, "tp": 0, "fn": 0, "fp": 0}
    share = 100 * (1000 - fn) / 1000
    return {
        "record": name,
        "hours": 0.5,
        "qrs": {"se": share, "ppv": 100.0, "tp": 1000 - fn, "fn": fn, "fp": 0},
        "veb": none,
        "sveb": None,
        "alarms": alarms or {},
    }


def full() -> dict[str, Any]:
    delay = {"median": 3.0, "p95": 4.25, "worst": 12.5}
    return {
        "schema": "tocsin/evaluation/v1",
        "database": "mitdb",
        "subset": "ds2",
        "leads": "0",
        "hours": 1.5,
        "qrs": counts(99.87, 99.92, 109352, 142, 87),
        "veb": counts(93.2, None, 6530, 476, 0),
        "sveb": counts(None, None, 0, 0, 0),
        "af": None,
        "vf": {"episode_se": 100.0, "episode_ppv": None, "duration_se": 88.1, "duration_ppv": 70.0},
        "alarms": {
            "asystole": {
                "true": 3, "false": 2, "missed": 1, "false_per_24h": 32.0, "delay_s": delay,
            },
            "pause": {"true": 0, "false": 0, "missed": 0, "false_per_24h": 0.0, "delay_s": None},
        },
        "challenge_score": {
            "score": 0.7421,
            "by_type": {"Asystole": {"tp": 9, "fp": 5, "tn": 3, "fn": 1, "score": 0.571}},
        },
        "confusion": {
            "labels": "NSVFQOX",
            "matrix": [[88012, 1, 2, 3, 4, 5, 6], *[[0] * 7 for _ in range(6)]],
        },
        "latency_s": {"median": 0.83, "p95": 1.1, "worst": 2.24},
        "records": ["100", "101", "102"],
        "missing": ["103"],
        "failed": {"104": "the signal file ends early"},
        "per_record": [record("100", 0), record("101", 40), record("102", 7)],
        "worst": [
            {"record": "101", "sample": 2000, "seconds": 8.0, "reference": "V", "test": "O"},
            {"record": "102", "sample": 900, "seconds": 3723.46, "reference": "O", "test": "N"},
        ],
        "snr": [
            {"snr_db": snr, "qrs": {"se": se, "ppv": None}, "veb": {"se": 50.0, "ppv": 60.0}}
            for snr, se in ((24, 99.0), (0, None), (-6, 70.0))
        ],
        "software": {"version": "1.2.3", "models": {"beats": "ab" * 32}},
        "command": "tocsin evaluate mitdb --subset ds2",
        "generated_at": "2026-01-02T03:04:05Z",
    }  # fmt: skip


def empty() -> dict[str, Any]:
    counted = {
        "se": None,
        "ppv": None,
        "tp": 0,
        "fn": 0,
        "fp": 0,
        "ci95": {"se": None, "ppv": None},
    }
    return full() | {
        "subset": None, "hours": 0.0, "qrs": counted, "veb": counted, "sveb": counted, "vf": None,
        "alarms": {}, "challenge_score": None, "confusion": {"labels": "NSVFQOX", "matrix": []},
        "latency_s": None, "records": [], "missing": [], "failed": {}, "per_record": [],
        "worst": [], "snr": None, "software": {"version": "1.2.3", "models": {}},
    }  # fmt: skip


def strip(record: str, sample: int) -> StripOf | None:
    """Four seconds around the sample, with a gap in the signal."""
    del record
    start = max(0, sample - 500)
    samples = np.sin(np.arange(1000) / 40.0)
    samples[100:120] = np.nan
    marks = [(sample - 200, "N", "reference"), (sample - 198, "N", "test"), (sample, "V", "test")]
    return StripOf(RATE, samples, start, marks)


def no_strip(record: str, sample: int) -> None:
    del record, sample


class Outline(HTMLParser):
    """Checks that every element is closed in its turn, and collects what a page may not hold."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.addresses += [value or "" for name, value in attrs if name in {"src", "href", "data"}]
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def read(page: str) -> Outline:
    outline = Outline()
    outline.feed(page)
    outline.close()
    assert outline.open == []
    return outline


def drawings(page: str) -> list[ET.Element]:
    return [ET.fromstring(svg) for svg in re.findall(r"<svg.*?</svg>", page, re.DOTALL)]  # noqa: S314


def page_of(result: dict[str, Any], tmp_path: Path, strip_of: StripSource = strip) -> str:
    path = write_report(result, tmp_path / "new" / "folder", strip_of)
    assert path == tmp_path / "new" / "folder" / FILE_NAME
    return path.read_text(encoding="utf-8")


@pytest.mark.parametrize("result", [full(), empty()], ids=["full", "empty"])
def test_a_page_is_well_formed_and_loads_nothing_from_the_network(
    result: dict[str, Any], tmp_path: Path
) -> None:
    page = page_of(result, tmp_path)
    outline = read(page)
    assert not {"script", "link", "img", "iframe", "object"} & set(outline.tags)
    assert all(address.startswith("#") for address in outline.addresses)
    assert "default-src 'none'" in page.replace("&#x27;", "'")
    assert not re.search(r"https?:|url\(|@import", page)


def test_every_drawing_is_xml_with_a_title(tmp_path: Path) -> None:
    svgs = drawings(page_of(full(), tmp_path))
    assert len(svgs) > 10
    for svg in svgs:
        assert svg.get("role") == "img"
        assert svg[0].tag == "title"
        assert svg[0].text
        assert "nan" not in "".join(element.get("d", "") for element in svg.iter())


def test_hostile_names_stay_text(tmp_path: Path) -> None:
    result = full()
    for key in ("database", "subset", "leads", "command", "schema", "generated_at"):
        result[key] = HOSTILE
    result["missing"], result["failed"] = [HOSTILE], {HOSTILE: HOSTILE}
    result["alarms"] = {HOSTILE: result["alarms"]["asystole"]}
    result["challenge_score"]["by_type"] = {HOSTILE: {"tp": 1, "score": None}}
    result["software"] = {"version": HOSTILE, "models": {HOSTILE: HOSTILE}}
    result["per_record"][0]["record"] = HOSTILE
    result["worst"][0] |= {"record": HOSTILE, "reference": HOSTILE, "test": HOSTILE}

    def marked(record: str, sample: int) -> StripOf | None:
        del record
        return StripOf(RATE, np.zeros(100), sample - 50, [(sample, HOSTILE, "reference")])

    page = page_of(result, tmp_path, marked)
    assert "script" not in read(page).tags
    assert not re.search("[\x00\u202e\ud800]", page)
    assert len(drawings(page)) > 10
    assert "alert('x')" in "".join(read(page).text)


def test_nulls_are_dashes_and_never_the_word_none(tmp_path: Path) -> None:
    text = " ".join(read(page_of(full() | {"subset": None, "command": None}, tmp_path)).text)
    assert "None" not in text
    assert "nan" not in text.lower().split()
    assert "–" in text


def test_a_database_without_beat_labels_is_stated(tmp_path: Path) -> None:
    page = page_of(empty(), tmp_path)
    assert "no beat labels" in page
    assert "No alarm was judged" in page
    assert "None: every selected record" in page


def test_figures_and_intervals_are_shown(tmp_path: Path) -> None:
    text = "".join(read(page_of(full(), tmp_path)).text)
    for expected in (
        "99.87", "97.87 – 100.00", "Of 109,494 beats, 109,352 found and 142 missed.",
        "Neither the experts nor the agent marked any supraventricular ectopic beats.",
        "32.00", "12.5", "0.742", "88,012", "mitdb (ds2)", "1.2.3", "ab" * 32,
        "tocsin evaluate mitdb --subset ds2", "2026-01-02 03:04 UTC",
    ):  # fmt: skip
        assert expected in text


def test_records_left_out_are_named_at_the_top_and_at_the_end(tmp_path: Path) -> None:
    page = page_of(full(), tmp_path)
    top, _, end = page.partition('id="left-out"')
    assert "1 record missing: 103. 1 record failed: 104." in top
    assert "the signal file ends early" in end


def test_the_worst_record_comes_first(tmp_path: Path) -> None:
    page = page_of(full(), tmp_path)
    assert re.findall(r'<th scope="row">(10\d)</th>', page) == ["101", "102", "100"]


def test_records_of_equal_beats_go_by_their_alarms(tmp_path: Path) -> None:
    alarms = {"pause": {"true": 0, "false": 2, "missed": 1}}
    rows = [record("a", 0), record("c", 0, alarms), record("b", 0)]
    page = page_of(full() | {"per_record": rows}, tmp_path)
    assert re.findall(r'<th scope="row">([abc])</th>', page) == ["c", "a", "b"]
    assert "1 / 2" in page


def test_a_long_table_states_what_it_leaves_out(tmp_path: Path) -> None:
    rows = [record(f"r{at:04d}", at % 7) for at in range(300)]
    page = page_of(full() | {"per_record": rows}, tmp_path)
    assert page.count('<th scope="row">r0') == 250
    assert "The 50 best records are left out here" in page


def test_an_error_is_described_drawn_and_marked(tmp_path: Path) -> None:
    page = page_of(full(), tmp_path)
    text = "".join(read(page).text)
    assert "A missed beat: ventricular ectopic (V)" in text
    assert "record 102 at 1:02:03.5" in text
    paper = [svg for svg in drawings(page) if svg.get("class") == "paper"]
    assert len(paper) == 2
    (_, _, width, _) = map(float, paper[0].get("viewBox", "").split())
    assert width == pytest.approx(1000 / RATE * 25 + 19)  # 25 mm/s beside the calibration pulse
    near = [group for group in paper[0].iter("g") if group.get("class") == "mark near"]
    assert [group[1].text for group in near] == ["V", "none"]
    traces = [path.get("d", "") for path in paper[0].iter("path") if path.get("class") == "trace"]
    assert traces[1].count("M") == 2  # the gap in the signal is a gap in the line


def test_the_time_of_a_miss_follows_from_its_sample_where_it_is_not_given(tmp_path: Path) -> None:
    result = full()
    del result["worst"][0]["seconds"]
    assert "record 101 at 0:00:08.0, sample 2,000" in page_of(result, tmp_path)
    assert "record 101, sample 2,000" in page_of(result, tmp_path, no_strip)


def test_a_subset_from_a_file_is_named_without_its_folder(tmp_path: Path) -> None:
    page = page_of(full() | {"subset": "some/where/hard.txt"}, tmp_path)
    assert "<h1>mitdb (hard.txt)</h1>" in page


@pytest.mark.parametrize(
    "given",
    [None, StripOf(RATE, np.empty(0), 0, []), StripOf(RATE, np.full(9, np.nan), 0, [])],
    ids=["none", "empty", "nan"],
)
def test_a_miss_without_signal_is_still_named(given: StripOf | None, tmp_path: Path) -> None:
    page = page_of(full(), tmp_path, lambda *_: given)
    assert page.count("There is no signal to show.") == 2


def test_at_most_ten_strips(tmp_path: Path) -> None:
    page = page_of(full() | {"worst": full()["worst"] * 9}, tmp_path)
    assert page.count('class="strip"') == 10


def test_a_figure_that_is_missing_breaks_its_curve(tmp_path: Path) -> None:
    curves = [
        element.get("d", "")
        for svg in drawings(page_of(full(), tmp_path))
        for element in svg.iter("path")
        if element.get("class") == "curve se"
    ]
    assert [(d.count("M"), d.count("L")) for d in curves] == [(2, 0), (1, 2)]


def test_the_same_result_gives_the_same_bytes_and_is_not_changed(tmp_path: Path) -> None:
    result = full()
    kept = copy.deepcopy(result)
    first = write_report(result, tmp_path / "a", strip).read_bytes()
    assert write_report(result, tmp_path / "b", strip).read_bytes() == first
    assert write_report(result, tmp_path / "a", no_strip).read_bytes() != first
    assert result == kept


def test_the_rhythms_of_short_records(tmp_path: Path) -> None:
    scored = full() | {
        "rhythm_f1": {
            "mean": 61.6, "f1": {"N": 80.0, "A": 50.0, "O": 54.8, "~": None}, "labels": "NAO~",
            "confusion": [[8, 1, 1, 0], [1, 3, 2, 0], [2, 2, 6, 0], [0, 0, 0, 0]],
        }
    }  # fmt: skip
    page = page_of(scored, tmp_path, no_strip)
    assert "Rhythm of short records" in page
    assert "<strong>61.6</strong>" in page
    assert "Atrial fibrillation (A)" in page


def test_the_time_to_a_label_is_drawn(tmp_path: Path) -> None:
    latency = {"median": 0.44, "p95": 0.44, "worst": 0.47, "step_s": 0.02}
    counts = [0] * 21 + [1, 900, 99]
    page = page_of(full() | {"latency_s": latency | {"counts": counts}}, tmp_path, no_strip)
    assert "Time to a label: 1,000 beats, most between 0.44 and 0.46 s" in page
    assert "0.46 to 0.48 s: 99 beats" in page
    assert "0.38 to 0.40 s" not in page
