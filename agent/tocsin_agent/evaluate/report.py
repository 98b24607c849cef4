"""An evaluation as one HTML file that anyone can open, read, print and pass on.

The file holds everything it shows: no script, no font, no image and no address is fetched, and the
page's own content security policy forbids it. Plots are inline SVG. The same result and the same
signals give the same bytes.
"""

from __future__ import annotations

import html
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

FILE_NAME = "evaluation.html"

_ROWS_AT_MOST = 250  # of the table by record; some databases hold thousands
_STRIPS_AT_MOST = 10
_NAMES_AT_MOST = 12  # in the note at the top; the full list stands at the end
_MATCH_WINDOW_S = 0.15  # EC57:2012 4.3.2: what belongs to the beat in question

# What no document can hold (controls, lone surrogates of undecodable file names, non-characters)
# and what would reorder the text around it.
_UNPRINTABLE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]"
)

_CLASS_NAMES = {
    "N": "normal",
    "S": "supraventricular ectopic",
    "V": "ventricular ectopic",
    "F": "fusion",
    "Q": "unclassifiable",
    "O": "no beat",
    "X": "not analysed",
}
_BEAT_KINDS = {
    "qrs": ("QRS", "Beats found", "beats", "Every heartbeat, whatever its class."),
    "veb": (
        "VEB",
        "Ventricular ectopic beats",
        "ventricular ectopic beats",
        "Extra beats that start in the lower chambers.",
    ),
    "sveb": (
        "SVEB",
        "Supraventricular ectopic beats",
        "supraventricular ectopic beats",
        "Early beats that start above the lower chambers.",
    ),
}
_RHYTHMS = {"af": "Atrial fibrillation", "vf": "Ventricular flutter or fibrillation"}


class StripOf(NamedTuple):
    """A stretch of one lead, with the beats that the reference and the test mark in it.

    Parameters
    ----------
    rate_hz : float
        Sampling rate of `samples_mv`.
    samples_mv : ndarray
        Samples in millivolts; NaN where there is none.
    start_sample : int
        Index in the record of the first sample.
    marks : list of (int, str, str)
        Index in the record, label, and ``"reference"`` or ``"test"``.
    """

    rate_hz: float
    samples_mv: NDArray[np.float64]
    start_sample: int
    marks: list[tuple[int, str, str]]


StripSource = Callable[[str, int], StripOf | None]


class _Markup(str):
    """Text that is markup already; any other text is escaped when it becomes content."""

    __slots__ = ()


def write_report(result: dict[str, Any], directory: Path, strip_of: StripSource) -> Path:
    """Write an evaluation as one self-contained HTML file.

    Parameters
    ----------
    result : dict
        An evaluation of schema ``tocsin/evaluation/v1``.
    directory : Path
        Where to write; made if missing.
    strip_of : callable
        Gives the signal around a sample of a record, or None where there is none to show.

    Returns
    -------
    Path
        The file written, ``evaluation.html``.
    """
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / FILE_NAME
    path.write_text(_page(result, strip_of), encoding="utf-8", newline="\n")
    return path


def _page(result: Mapping[str, Any], strip_of: StripSource) -> str:
    title = f"{_name_of(result)} – tocsin evaluation"
    policy = "default-src 'none'; style-src 'unsafe-inline'"
    head = _tag(
        "head",
        _Markup('<meta charset="utf-8">'),
        _void("meta", http_equiv="Content-Security-Policy", content=policy),
        _void("meta", name="viewport", content="width=device-width, initial-scale=1"),
        _void("meta", name="color-scheme", content="light dark"),
        _tag("title", title),
        _tag("style", _Markup(_STYLE)),
    )
    main = _tag(
        "main",
        _header(result),
        _left_out_note(result),
        _headline(result),
        _rhythms(result),
        _challenge(result),
        _alarms(result),
        _latency(result),
        _by_record(result),
        _confusion(result),
        _noise(result),
        _worst(result, strip_of),
        _left_out(result),
        _software(result),
    )
    return "<!DOCTYPE html>\n" + _tag("html", head, _tag("body", main), lang="en") + "\n"


# -- markup


def _text(text: object) -> _Markup:
    if isinstance(text, _Markup):
        return text
    return _Markup(html.escape(_UNPRINTABLE.sub("\ufffd", str(text))))


def _attributes(attributes: Mapping[str, object]) -> str:
    named = ((name.rstrip("_").replace("_", "-"), value) for name, value in attributes.items())
    return "".join(f' {name}="{_text(value)}"' for name, value in named if value is not None)


def _tag(name: str, /, *content: object, **attributes: object) -> _Markup:
    inside = "".join(map(_text, content))
    end = "\n" if name in _BLOCKS else ""
    return _Markup(f"<{name}{_attributes(attributes)}>{inside}</{name}>{end}")


def _void(name: str, /, **attributes: object) -> _Markup:
    return _Markup(f"<{name}{_attributes(attributes)}>\n")


def _join(parts: Iterable[object], between: str = "") -> _Markup:
    return _Markup(_text(between).join(map(_text, parts)))


_BLOCKS = frozenset({"section", "header", "figure", "table", "tr", "p", "h1", "h2", "style", "svg"})


def _section(heading: str, *content: object, class_: str | None = None) -> _Markup:
    return _tag("section", _tag("h2", heading), *content, class_=class_)


def _note(*content: object) -> _Markup:
    return _tag("p", *content, class_="note")


def _svg(
    width: float, height: float, title: str, *content: object, **attributes: object
) -> _Markup:
    box = f"0 0 {_coordinate(width)} {_coordinate(height)}"
    return _tag("svg", _tag("title", title), *content, viewBox=box, role="img", **attributes)


def _table(head: Sequence[object], rows: Iterable[Sequence[object]], class_: str = "") -> _Markup:
    """Make a table: the first column names the row, the others are figures."""
    columns = [
        cell
        if isinstance(cell, _Markup)
        else _tag("th", cell, scope="col", class_=None if at == 0 else "figure")
        for at, cell in enumerate(head)
    ]
    body = [
        _tag(
            "tr",
            _tag("th", row[0], scope="row"),
            *(_tag("td", cell, class_="figure") for cell in row[1:]),
        )
        for row in rows
    ]
    table = _tag(
        "table",
        _tag("thead", _tag("tr", *columns)),
        _tag("tbody", *body),
        class_=class_ or None,
    )
    return _tag("div", table, class_="wide")


# -- figures in words


def _known(value: object) -> object:
    return "–" if value is None or value == "" else value


def _number(value: object) -> float | None:
    """Give a finite number, or None for null, NaN and anything that is no number."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if math.isfinite(value) else None


def _decimals(value: object, digits: int = 2, unit: str = "") -> str:
    number = _number(value)
    return "–" if number is None else f"{number:,.{digits}f}{unit}"


def _count(value: object) -> str:
    return _decimals(value, 0)


def _coordinate(value: float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".")


def _times(count: float, one: str, many: str | None = None) -> str:
    return f"{_count(count)} {one if count == 1 else many or one + 's'}"


def _clock(seconds: float) -> str:
    tenths = round(max(seconds, 0.0) * 10)
    hours, minutes = tenths // 36000, tenths // 600 % 60
    return f"{hours}:{minutes:02d}:{tenths // 10 % 60:02d}.{tenths % 10}"


def _name_of(result: Mapping[str, Any]) -> str:
    subset = result.get("subset")
    name = PurePath(str(subset)).name if subset else ""  # a subset may be a file of names
    return f"{result.get('database')}" + (f" ({name})" if name else "")


def _plain(code: str) -> str:
    words = code.replace("_", " ").strip()
    return words[:1].upper() + words[1:]


# -- the sections, from top to bottom


def _header(result: Mapping[str, Any]) -> _Markup:
    leads = str(_known(result.get("leads")))
    facts = {
        "Records": _count(len(result.get("records") or ())),
        "Signal": _decimals(result.get("hours"), 1, " h"),
        "Leads": f"no. {leads}" if leads[:1].isdigit() else leads,
        "Version": _known((result.get("software") or {}).get("version")),
        "Made": _moment(result.get("generated_at")),
    }
    return _tag(
        "header",
        _tag("p", "tocsin evaluation", class_="eyebrow"),
        _tag("h1", _name_of(result)),
        _tag(
            "dl",
            *(_tag("div", _tag("dt", name), _tag("dd", value)) for name, value in facts.items()),
            class_="facts",
        ),
        _note(
            "The agent listened to every record as it would to a patient, and its labels were "
            "compared with those of the database’s experts, as ANSI/AAMI EC57 asks. "
            "This makes it again:"
        ),
        _tag("pre", _tag("code", _known(result.get("command")))),
    )


def _moment(iso: object) -> str:
    shown = re.fullmatch(r"(\d{4}-\d\d-\d\d)T(\d\d:\d\d)(?::\d\d(?:\.\d+)?)?(Z|\+00:00)?", str(iso))
    if not shown:
        return str(_known(iso))
    return f"{shown[1]} {shown[2]}" + (" UTC" if shown[3] else "")


def _left_out_note(result: Mapping[str, Any]) -> _Markup:
    missing, failed = list(result.get("missing") or ()), list(result.get("failed") or ())
    if not missing and not failed:
        return _Markup()
    said = [
        f"{_times(len(names), 'record')} {what}: {', '.join(map(str, names[:_NAMES_AT_MOST]))}"
        + (f" and {len(names) - _NAMES_AT_MOST} more" if len(names) > _NAMES_AT_MOST else "")
        + "."
        for names, what in ((missing, "missing"), (failed, "failed"))
        if names
    ]
    return _tag(
        "p",
        _tag("strong", "Not in these figures. "),
        " ".join(said),
        " ",
        _tag("a", "See the list.", href="#left-out"),
        class_="warning",
        role="note",
    )


def _headline(result: Mapping[str, Any]) -> _Markup:
    judged = {kind: result[kind] for kind in _BEAT_KINDS if result.get(kind)}
    if not any(_number(row.get(key)) for row in judged.values() for key in ("tp", "fn", "fp")):
        return _section("Beats", _note("There are no beat labels here to compare with."))
    cards = [_card(kind, row) for kind, row in judged.items()]
    return _section(
        "Beats",
        _tag("div", *cards, class_="cards"),
        _tag(
            "dl",
            _tag("dt", "Se, sensitivity"),
            _tag("dd", "Of what the experts marked, the share that the agent found."),
            _tag("dt", "+P, positive predictivity"),
            _tag("dd", "Of what the agent marked, the share that the experts marked too."),
            _tag("dt", "95 % interval"),
            _tag(
                "dd",
                "How far the figure could move with other patients like these. Whole records are "
                "drawn at random again and again, because the beats of one patient are alike.",
            ),
            class_="words",
        ),
        _note("All records taken together, every beat counting the same (gross)."),
    )


def _card(kind: str, beats: Mapping[str, Any]) -> _Markup:
    short, title, many, meaning = _BEAT_KINDS[kind]
    tp, fn, fp = (_number(beats.get(key)) or 0 for key in ("tp", "fn", "fp"))
    ci95 = beats.get("ci95") or {}
    ends = [_interval(ci95.get(key)) for key in ("se", "ppv")]
    lowest = [_number(beats.get("se")), _number(beats.get("ppv")), *(low for low, _ in ends)]
    floor = _floor([value for value in lowest if value is not None])
    rows = [
        _tag(
            "div",
            _tag("span", sign, class_="sign"),
            _tag(
                "span",
                _decimals(beats.get(key)),
                _tag("small", " %" if _number(beats.get(key)) is not None else ""),
                class_=f"big {key}",
            ),
            _tag("span", _interval_words(low, high), class_="interval"),
            _whisker(f"{short} {sign}", key, _number(beats.get(key)), (low, high), floor),
            class_="value",
        )
        for key, sign, (low, high) in zip(("se", "ppv"), ("Se", "+P"), ends, strict=True)
    ]
    return _tag(
        "div",
        _tag("h3", f"{title} ", _tag("abbr", short)),
        _tag("p", meaning, class_="meaning"),
        *rows,
        _tag("p", _counts_in_words(tp, fn, fp, many), class_="meaning"),
        class_="card",
    )


def _counts_in_words(tp: float, fn: float, fp: float, many: str) -> str:
    if not tp + fn + fp:
        return f"Neither the experts nor the agent marked any {many}."
    there = (
        f"Of {_count(tp + fn)} {many}, {_count(tp)} found and {_count(fn)} missed."
        if tp + fn
        else f"The experts marked no {many}."
    )
    told = (
        f" Of {_count(tp + fp)} marked, {_count(fp)} {'was' if fp == 1 else 'were'} wrong."
        if tp + fp
        else " The agent marked none."
    )
    return there + told


def _interval(ends: object) -> tuple[float | None, float | None]:
    if not isinstance(ends, Sequence) or len(ends) != 2:
        return None, None
    low, high = _number(ends[0]), _number(ends[1])
    return (None, None) if low is None or high is None else (low, high)


def _interval_words(low: float | None, high: float | None) -> str:
    return "no interval" if low is None or high is None else f"{low:.2f} – {high:.2f}"


def _floor(values: Sequence[float]) -> float:
    """Choose where the scale of a card starts: as near to 100 as everything shown allows."""
    lowest = min(values, default=0.0)
    return next((start for start in (99.0, 95.0, 90.0, 80.0, 50.0) if lowest >= start), 0.0)


def _whisker(
    name: str,
    key: str,
    value: float | None,
    ends: tuple[float | None, float | None],
    floor: float,
) -> _Markup:
    """Draw a figure and its interval on a scale from `floor` to 100."""
    width, height, margin = 240.0, 30.0, 6.0

    def at(percent: float) -> str:
        share = (min(max(percent, floor), 100.0) - floor) / (100.0 - floor)
        return _coordinate(margin + share * (width - 2 * margin))

    low, high = ends
    parts = [_line(at(floor), 10, at(100), 10, "axis")]
    parts += [
        _line(at(tick), 7, at(tick), 13, "axis") for tick in (floor, (floor + 100) / 2, 100.0)
    ]
    if low is not None and high is not None:
        parts.append(_line(at(low), 10, at(high), 10, f"range {key}"))
    if value is not None:
        parts.append(_tag("circle", cx=at(value), cy=10, r=5, class_=f"dot {key}"))
    parts.append(_tag("text", f"{floor:g}", x=at(floor), y=27, class_="tick"))
    parts.append(_tag("text", "100 %", x=at(100), y=27, class_="tick end"))
    said = f"{name} {_decimals(value)} percent, 95 % interval {_interval_words(low, high)}"
    return _svg(width, height, said, *parts, class_="whisker")


def _line(x1: object, y1: object, x2: object, y2: object, class_: str) -> _Markup:
    return _tag("line", x1=x1, y1=y1, x2=x2, y2=y2, class_=class_)


def _rhythms(result: Mapping[str, Any]) -> _Markup:
    rows = [
        (
            name,
            *(
                _decimals(result[kind].get(key))
                for key in ("episode_se", "episode_ppv", "duration_se", "duration_ppv")
            ),
        )
        for kind, name in _RHYTHMS.items()
        if result.get(kind)
    ]
    if not rows:
        return _Markup()
    return _section(
        "Rhythms",
        _table(["", "Episode Se %", "Episode +P %", "Duration Se %", "Duration +P %"], rows),
        _note(
            "Episodes: of the experts’ episodes, the share that the agent noticed (Se), and of its "
            "own the share that were real (+P). Duration: the same, counted in seconds, so that a "
            "long episode found late weighs more."
        ),
    )


def _challenge(result: Mapping[str, Any]) -> _Markup:
    challenge = result.get("challenge_score")
    if not challenge:
        return _Markup()
    rows = [
        (
            _plain(str(kind)),
            *(_count(row.get(key)) for key in _OUTCOMES),
            _decimals(row.get("score"), 3),
        )
        for kind, row in (challenge.get("by_type") or {}).items()
    ]
    overall = (
        "All",
        *(_count(challenge.get(key)) if key in challenge else "" for key in _OUTCOMES),
        _tag("strong", _decimals(challenge.get("score"), 3)),
    )
    return _section(
        "Challenge score",
        _table(
            ["Alarm", "Real, kept", "False, kept", "False, silenced", "Real, silenced", "Score"],
            [*rows, overall],
        ),
        _note(
            "PhysioNet Challenge 2015, real time: (TP + TN) / (TP + TN + FP + 5 FN), 1 at best. "
            "An alarm silenced that was real costs five times a false one let through."
        ),
    )


_OUTCOMES = ("tp", "fp", "tn", "fn")


def _alarms(result: Mapping[str, Any]) -> _Markup:
    alarms: Mapping[str, Mapping[str, Any]] = result.get("alarms") or {}
    if not alarms:
        return _section("Alarms", _note("No alarm was judged."))
    most = max(
        sum(_number(row.get(key)) or 0 for key in ("true", "missed", "false"))
        for row in alarms.values()
    )
    rows = [
        (
            _plain(code),
            _alarm_bar(_plain(code), row, most),
            *(_count(row.get(key)) for key in ("true", "missed", "false")),
            _decimals(row.get("false_per_24h")),
            *(_decimals((row.get("delay_s") or {}).get(key), 1) for key in _QUANTILES),
        )
        for code, row in alarms.items()
    ]
    head = ["Alarm", "", "True", "Missed", "False", "False per 24 h", *_QUANTILES.values()]
    legend = _join(
        (
            _tag("span", _tag("i", class_=f"key {key}"), f" {word}", class_="legend")
            for key, word in (("true", "true"), ("missed", "missed"), ("false", "false"))
        ),
        " ",
    )
    return _section(
        "Alarms",
        _tag("p", legend),
        _table(head, rows, "alarms"),
        _note(
            "The agent’s own rules, applied to the experts’ labels, say when an alarm is due. "
            "True: due, and it rang. Missed: due, and it did not ring. False: it rang and was not "
            "due; per 24 h is what one patient’s bed would hear in a day. The last three columns "
            "are the seconds from the moment when the condition begins to the alarm."
        ),
    )


_QUANTILES = {"median": "Median s", "p95": "95 % within s", "worst": "Worst s"}


def _alarm_bar(name: str, row: Mapping[str, Any], most: float) -> _Markup:
    width, height, x = 150.0, 10.0, 0.0
    parts = []
    for key in ("true", "missed", "false"):
        length = (_number(row.get(key)) or 0) / most * width if most else 0.0
        if length:
            parts.append(_bar(x, length, height, f"alarm-{key}"))
        x += length
    said = ", ".join(f"{_count(row.get(key))} {key}" for key in ("true", "missed", "false"))
    return _svg(width, height, f"{name}: {said}", *parts, class_="bar alarm")


def _bar(x: float, length: float, height: float, class_: str) -> _Markup:
    x_, width = _coordinate(x), _coordinate(length)
    return _tag("rect", x=x_, y=0, width=width, height=_coordinate(height), class_=class_)


def _latency(result: Mapping[str, Any]) -> _Markup:
    latency = result.get("latency_s")
    if not latency:
        return _Markup()
    words = {"median": "half within", "p95": "95 % within", "worst": "the slowest"}
    facts = [
        _tag("div", _tag("dt", word), _tag("dd", _decimals(latency.get(key), 2, " s")))
        for key, word in words.items()
    ]
    return _section(
        "Time to a label",
        _tag("dl", *facts, class_="facts"),
        _note("How much signal passes from a heartbeat until the agent has told its class."),
    )


def _by_record(result: Mapping[str, Any]) -> _Markup:
    rows = sorted(result.get("per_record") or (), key=_badness)
    if not rows:
        return _section("By record", _note("No record was judged."))
    shown = [
        (
            row.get("record"),
            *(
                cell
                for kind in ("qrs", "veb")
                for cell in (
                    _share(row, kind, "se"),
                    _share(row, kind, "ppv"),
                    _wrong(row.get(kind)),
                )
            ),
            *(_decimals((row.get("sveb") or {}).get(key)) for key in ("se", "ppv")),
            _wrong_alarms(row),
        )
        for row in rows[:_ROWS_AT_MOST]
    ]
    beats = [_tag("th", text, scope="col", class_="figure") for text in ("Se %", "+P %")]
    wrong = _tag(
        "th", "miss. / false", scope="col", class_="figure", title="missed and false beats"
    )
    heads = [_tag("th", "Record", scope="col"), *beats, wrong, *beats, wrong, *beats, wrong]
    groups = [
        _tag("td"),
        *(
            _tag("th", name, scope="colgroup", colspan=span, class_="group")
            for name, span in (("QRS", 3), ("VEB", 3), ("SVEB", 2), ("Alarms", 1))
        ),
    ]
    left = len(rows) - len(shown)
    return _section(
        "By record",
        _note(
            "The worst first: by wrong beats (QRS and VEB, missed and false) in an hour, then by "
            "wrong alarms.",
            f" The {_count(left)} best records are left out here; the JSON has them."
            if left
            else "",
        ),
        _grouped(groups, _table(heads, shown, "records")),
    )


def _grouped(groups: Sequence[_Markup], table: _Markup) -> _Markup:
    return _Markup(table.replace("<thead>", "<thead>" + _tag("tr", *groups, class_="groups"), 1))


def _badness(row: Mapping[str, Any]) -> tuple[float, float, str]:
    hours = _number(row.get("hours")) or 0.0
    beats = sum(
        _number((row.get(kind) or {}).get(key)) or 0
        for kind in ("qrs", "veb")
        for key in ("fn", "fp")
    )
    missed, false = _alarm_totals(row)
    scale = 1 / hours if hours > 0 else 1.0
    return -beats * scale, -(missed + false) * scale, str(row.get("record"))


def _alarm_totals(row: Mapping[str, Any]) -> tuple[float, float]:
    alarms = (row.get("alarms") or {}).values()
    missed, false = (
        sum(_number(alarm.get(key)) or 0 for alarm in alarms) for key in ("missed", "false")
    )
    return missed, false


def _wrong_alarms(row: Mapping[str, Any]) -> str:
    missed, false = _alarm_totals(row)
    return f"{_count(missed)} / {_count(false)}" if row.get("alarms") else "–"


def _wrong(beats: Mapping[str, Any] | None) -> str:
    return f"{_count(beats.get('fn'))} / {_count(beats.get('fp'))}" if beats else "–"


def _share(row: Mapping[str, Any], kind: str, key: str) -> _Markup:
    """Give a percentage and its bar from 0 to 100, what lacks drawn in the colour of errors."""
    value = _number((row.get(kind) or {}).get(key))
    if value is None:
        return _text("–")
    width, height = 60.0, 8.0
    share = min(max(value, 0.0), 100.0) / 100 * width
    parts = [_bar(share, width - share, height, "lacks")] if share < width else []
    parts += [_bar(0, share, height, f"fill {key}")] if share else []
    sign = "Se" if key == "se" else "+P"
    title = f"{row.get('record')}: {kind.upper()} {sign} {value:.2f} %"
    return _join((_svg(width, height, title, *parts, class_="bar"), _tag("span", f"{value:.2f}")))


def _confusion(result: Mapping[str, Any]) -> _Markup:
    confusion = result.get("confusion") or {}
    labels, matrix = str(confusion.get("labels") or ""), confusion.get("matrix") or []
    if not any(any(row) for row in matrix):
        return _Markup()
    names = ", ".join(f"{label} {_CLASS_NAMES.get(label, label)}" for label in labels)
    return _section(
        "Which beats are taken for which",
        _tag("figure", _heat_map(labels, matrix), class_="heat"),
        _note(
            "A row is what the experts say (reference), a column what the agent says (test). On "
            f"the diagonal they agree. Shade: the share of the row. {names}."
        ),
    )


def _heat_map(labels: str, matrix: Sequence[Sequence[int]]) -> _Markup:
    cell_w, cell_h, left, top = 74.0, 38.0, 76.0, 46.0
    parts = [
        _tag("text", "test", x=_coordinate(left + cell_w * len(labels) / 2), y=14, class_="axis"),
        _tag("text", "reference", x=0, y=_coordinate(top - 12), class_="axis start"),
        _tag(
            "text", "all", x=_coordinate(left + cell_w * (len(labels) + 0.5)), y=34, class_="axis"
        ),
    ]
    for at, label in enumerate(labels):
        x, y = left + cell_w * (at + 0.5), top + cell_h * (at + 0.5) + 5
        parts.append(_tag("text", label, x=_coordinate(x), y=34, class_="label"))
        parts.append(
            _tag("text", label, x=_coordinate(left - 16), y=_coordinate(y), class_="label")
        )
    for at, row in enumerate(matrix):
        total = sum(row)
        y = top + cell_h * at
        for to, count in enumerate(row):
            # the root lets one beat in a hundred be seen, half strength keeps the figure legible
            share = math.sqrt(count / total) * 0.6 if total else 0.0
            parts.append(
                _heat_cell(
                    (left + cell_w * to, y, cell_w, cell_h),
                    count,
                    share,
                    "agrees" if at == to else "errs",
                    f"{labels[at : at + 1]} taken for {labels[to : to + 1]}: {_count(count)}",
                )
            )
        x = left + cell_w * (len(row) + 0.5)
        parts.append(
            _tag(
                "text",
                _count(total),
                x=_coordinate(x),
                y=_coordinate(y + cell_h / 2 + 5),
                class_="total",
            )
        )
    width, height = left + cell_w * (len(labels) + 1), top + cell_h * len(matrix) + 2
    title = "Confusion matrix: rows are the experts’ classes, columns the agent’s"
    return _svg(width, height, title, *parts, class_="chart")


def _heat_cell(
    place: tuple[float, float, float, float],
    count: int,
    strength: float,
    class_: str,
    title: str,
) -> _Markup:
    x, y, width, height = place
    return _tag(
        "g",
        _tag("title", title),
        _tag(
            "rect",
            x=_coordinate(x + 1),
            y=_coordinate(y + 1),
            width=_coordinate(width - 2),
            height=_coordinate(height - 2),
            rx=3,
            fill_opacity=f"{strength:.3f}",
            class_=class_,
        ),
        _tag(
            "text",
            _count(count) if count else "·",
            x=_coordinate(x + width / 2),
            y=_coordinate(y + height / 2 + 5),
            class_="count" if count else "none",
        ),
    )


def _noise(result: Mapping[str, Any]) -> _Markup:
    rows = sorted(
        (row for row in result.get("snr") or () if _number(row.get("snr_db")) is not None),
        key=lambda row: float(row["snr_db"]),
    )
    if not rows:
        return _Markup()
    charts = [
        _tag("figure", _tag("figcaption", _BEAT_KINDS[kind][1]), _curves(rows, kind))
        for kind in ("qrs", "veb")
        if any(row.get(kind) for row in rows)
    ]
    figures = [
        (
            f"{row['snr_db']:g} dB",
            *(
                _decimals((row.get(kind) or {}).get(key))
                for kind in ("qrs", "veb")
                for key in ("se", "ppv")
            ),
        )
        for row in reversed(rows)
    ]
    return _section(
        "In noise",
        _tag("div", *charts, class_="charts"),
        _table(["SNR", "QRS Se %", "QRS +P %", "VEB Se %", "VEB +P %"], figures),
        _note(
            "Noise of known strength is added to clean signals. SNR is how much stronger the "
            "heartbeats are than the noise: at 24 dB one hardly sees it, at 0 dB both are alike."
        ),
    )


def _curves(rows: Sequence[Mapping[str, Any]], kind: str) -> _Markup:
    """Draw Se and +P over the signal-to-noise ratio."""
    width, height, left, right, top, bottom = 440.0, 270.0, 40.0, 34.0, 12.0, 42.0
    ratios = [float(row["snr_db"]) for row in rows]
    low, high = min(ratios), max(ratios)

    def across(ratio: float) -> float:
        share = (ratio - low) / (high - low) if high > low else 0.5
        return left + share * (width - left - right)

    def up(percent: float) -> float:
        return top + (1 - min(max(percent, 0.0), 100.0) / 100) * (height - top - bottom)

    parts: list[_Markup] = []
    for percent in range(0, 101, 20):
        y = _coordinate(up(percent))
        parts.append(_line(_coordinate(left), y, _coordinate(width - right), y, "grid"))
        parts.append(_tag("text", percent, x=left - 8, y=_coordinate(up(percent) + 4), class_="y"))
    parts += [
        _tag("text", f"{ratio:g}", x=_coordinate(across(ratio)), y=height - bottom + 18, class_="x")
        for ratio in dict.fromkeys(ratios)
    ]
    middle = _coordinate((left + width - right) / 2)
    parts.append(_tag("text", "SNR in dB", x=middle, y=height - 5, class_="x"))
    ends: dict[str, float] = {}
    for key in ("se", "ppv"):
        points = [
            (across(ratio), None if value is None else up(value))
            for ratio, row in zip(ratios, rows, strict=True)
            for value in (_number((row.get(kind) or {}).get(key)),)
        ]
        parts.append(_tag("path", d=_path(points), class_=f"curve {key}"))
        known = [(x, y) for x, y in points if y is not None]
        parts += [_marker(x, y, key) for x, y in known]
        if known:
            ends[key] = known[-1][1]
    parts += _curve_names(ends, width - right + 9)
    values = ", ".join(
        f"{row['snr_db']:g} dB Se {_decimals((row.get(kind) or {}).get('se'))} "
        f"+P {_decimals((row.get(kind) or {}).get('ppv'))}"
        for row in rows
    )
    title = f"{kind.upper()} over signal-to-noise ratio: {values}"
    return _svg(width, height, title, *parts, class_="chart")


def _marker(x: float, y: float, key: str) -> _Markup:
    """Draw a point: round for Se, square for +P, so that it does not take colour to tell."""
    if key == "se":
        return _tag("circle", cx=_coordinate(x), cy=_coordinate(y), r=4, class_="dot se")
    corner = {"x": _coordinate(x - 3.5), "y": _coordinate(y - 3.5)}
    return _tag("rect", **corner, width=7, height=7, class_="dot ppv")


def _curve_names(ends: Mapping[str, float], x: float) -> list[_Markup]:
    """Name each curve at its end, the two names at least a line apart."""
    heights = dict(ends)
    if len(heights) == 2 and abs(heights["se"] - heights["ppv"]) < 14:
        upper, lower = sorted(heights, key=lambda key: (heights[key], key == "ppv"))
        heights[lower] = heights[upper] + 14
    names = {"se": "Se", "ppv": "+P"}
    return [
        _tag("text", names[key], x=_coordinate(x), y=_coordinate(y + 4), class_=f"name {key}")
        for key, y in heights.items()
    ]


def _path(points: Iterable[tuple[float, float | None]]) -> str:
    """Give the path through points; where one has no height, the path breaks."""
    steps, pen = [], "M"
    for x, y in points:
        if y is None:
            pen = "M"
            continue
        steps.append(f"{pen}{_coordinate(x)} {_coordinate(y)}")
        pen = "L"
    return "".join(steps)


# -- the strips


_PAPER_MM_S, _PAPER_MM_MV = 25.0, 10.0
_GUTTER_MM, _ROW_MM = 19.0, 8.0


def _worst(result: Mapping[str, Any], strip_of: StripSource) -> _Markup:
    misses = list(result.get("worst") or ())[:_STRIPS_AT_MOST]
    if not misses:
        return _Markup()
    figures = [
        _miss(at, miss, strip_of(str(miss["record"]), int(miss["sample"])))
        for at, miss in enumerate(misses, 1)
    ]
    return _section(
        "The worst misses",
        _note(
            "As on ECG paper: 25 mm is a second, 10 mm is a millivolt, at true size where the page "
            "is wide enough. Above the signal the experts’ labels (reference), below it the "
            "agent’s (test)."
        ),
        *figures,
        class_="strips",
    )


def _miss(at: int, miss: Mapping[str, Any], strip: StripOf | None) -> _Markup:
    seconds = _number(miss.get("seconds"))
    if seconds is None and strip is not None and strip.rate_hz > 0:
        seconds = miss["sample"] / strip.rate_hz
    where = f"record {miss['record']}" + ("" if seconds is None else f" at {_clock(seconds)}")
    what = _miss_in_words(str(miss.get("reference")), str(miss.get("test")))
    usable = strip is not None and strip.rate_hz > 0 and bool(np.isfinite(strip.samples_mv).any())
    return _tag(
        "figure",
        _tag(
            "figcaption",
            _tag("b", f"{at}. "),
            what,
            _tag("span", f"{where}, sample {_count(miss['sample'])}", class_="where"),
        ),
        _strip(miss, strip, f"{what} ({where})")
        if strip is not None and usable
        else _tag("p", "There is no signal to show.", class_="absent"),
        class_="strip",
    )


def _miss_in_words(reference: str, test: str) -> str:
    real, told = (_CLASS_NAMES.get(label, label) for label in (reference, test))
    if test == "O":
        return f"A beat that the agent did not find: {real} ({reference})"
    if test == "X":
        return f"A beat in signal that the agent did not analyse: {real} ({reference})"
    if reference in {"O", "X"}:
        return f"A beat that is not there, told by the agent: {told} ({test})"
    return f"A {real} beat ({reference}) taken for {told} ({test})"


def _strip(miss: Mapping[str, Any], strip: StripOf, title: str) -> _Markup:
    samples = np.asarray(strip.samples_mv, dtype=np.float64)
    finite = samples[np.isfinite(samples)]
    middle = float(np.median(finite))
    above, below = (
        min(max(5.0 * math.ceil((reach * _PAPER_MM_MV + 2.0) / 5.0), 10.0), 25.0)
        for reach in (float(finite.max()) - middle, middle - float(finite.min()))
    )
    paper = (math.ceil(len(samples) / strip.rate_hz * _PAPER_MM_S), above + below)

    def across(sample: float) -> float:
        return _GUTTER_MM + (sample - strip.start_sample) / strip.rate_hz * _PAPER_MM_S

    heights = _ROW_MM + above - np.clip((samples - middle) * _PAPER_MM_MV, -below, above)
    points = (
        (across(strip.start_sample + at), float(y) if math.isfinite(y) else None)
        for at, y in enumerate(heights)
    )
    half = _MATCH_WINDOW_S * _PAPER_MM_S
    focus = across(int(miss["sample"]))
    width, height = _GUTTER_MM + paper[0], paper[1] + 2 * _ROW_MM
    parts = [
        *_grid(*paper),
        _tag(
            "rect",
            x=_coordinate(focus - half),
            y=0,
            width=_coordinate(2 * half),
            height=_coordinate(height),
            class_="focus",
        ),
        *_calibration(above),
        _tag("text", "reference", x=_GUTTER_MM - 2, y=5.4, class_="row"),
        _tag("text", "test", x=_GUTTER_MM - 2, y=_coordinate(height - 2.6), class_="row"),
        _tag("path", d=_path(points), class_="trace"),
        *_marks(miss, strip, across, height),
    ]
    size = f"width:{_coordinate(width)}mm"
    return _svg(width, height, title, *parts, class_="paper", style=size)


def _grid(width: float, height: float) -> list[_Markup]:
    """Draw the paper: a line each millimetre, a stronger one each fifth."""
    left, top, right, foot = _GUTTER_MM, _ROW_MM, _GUTTER_MM + width, _ROW_MM + height
    page = {"x": left, "y": top, "width": _coordinate(width), "height": _coordinate(height)}
    lines: dict[bool, list[str]] = {False: [], True: []}
    for at in range(int(width) + 1):
        lines[at % 5 == 0].append(f"M{_coordinate(left + at)} {top:g}V{_coordinate(foot)}")
    for at in range(int(height) + 1):
        lines[at % 5 == 0].append(f"M{left:g} {_coordinate(top + at)}H{_coordinate(right)}")
    return [
        _tag("rect", **page, class_="sheet"),
        _tag("path", d="".join(lines[False]), class_="fine"),
        _tag("path", d="".join(lines[True]), class_="coarse"),
    ]


def _calibration(above: float) -> list[_Markup]:
    """Draw the pulse of 1 mV and 0.2 s that begins a strip of paper."""
    foot = _ROW_MM + min(above, 10.0) + max(above - 10.0, 0.0) / 2 + 1.0
    start, rise = _GUTTER_MM - 12.0, foot - _PAPER_MM_MV
    d = f"M{start:g} {foot:g}h2V{rise:g}h5V{foot:g}h2"
    return [
        _tag("path", d=d, class_="trace"),
        _tag("text", "1 mV", x=f"{start + 8:g}", y=f"{foot + 4:g}", class_="row"),
    ]


def _marks(
    miss: Mapping[str, Any],
    strip: StripOf,
    across: Callable[[float], float],
    height: float,
) -> list[_Markup]:
    at_fault, parts = int(miss["sample"]), []
    end = strip.start_sample + len(strip.samples_mv)
    for sample, label, side in strip.marks:
        if strip.start_sample <= sample < end:
            near = abs(sample - at_fault) <= _MATCH_WINDOW_S * strip.rate_hz
            parts.append(_mark(across(sample), label, side, height, near=near))
    for side in ("reference", "test"):
        if miss.get(side) in {"O", "X"}:  # nothing stands there to be labelled
            word = "none" if miss[side] == "O" else "X"
            parts.append(_mark(across(at_fault), word, side, height, near=True))
    return parts


def _mark(x: float, label: str, side: str, height: float, *, near: bool) -> _Markup:
    top = side == "reference"
    y, tick = (5.4, (6.2, _ROW_MM)) if top else (height - 2.6, (height - _ROW_MM, height - 6.2))
    return _tag(
        "g",
        _line(_coordinate(x), _coordinate(tick[0]), _coordinate(x), _coordinate(tick[1]), "stem"),
        _tag("text", label, x=_coordinate(x), y=_coordinate(y)),
        class_="mark near" if near else "mark",
    )


# -- the end of the page


def _left_out(result: Mapping[str, Any]) -> _Markup:
    missing, failed = list(result.get("missing") or ()), dict(result.get("failed") or {})
    if missing or failed:
        content = [
            _tag("h3", f"Missing ({_count(len(missing))})") if missing else "",
            _tag("p", ", ".join(map(str, missing)), class_="names") if missing else "",
            _tag("h3", f"Failed ({_count(len(failed))})") if failed else "",
            _tag(
                "dl",
                *(_join((_tag("dt", name), _tag("dd", why))) for name, why in failed.items()),
                class_="words",
            )
            if failed
            else "",
        ]
    else:
        content = [_note("None: every record that was asked for is in these figures.")]
    return _tag("section", _tag("h2", "Records left out"), *content, id="left-out")


def _software(result: Mapping[str, Any]) -> _Markup:
    software = result.get("software") or {}
    models = dict(software.get("models") or {})
    return _section(
        "Software",
        _tag(
            "dl",
            _tag("dt", "tocsin"),
            _tag("dd", _known(software.get("version"))),
            *(
                _join((_tag("dt", f"model {name}"), _tag("dd", _tag("code", digest))))
                for name, digest in sorted(models.items())
            ),
            _tag("dt", "schema"),
            _tag("dd", _known(result.get("schema"))),
            _tag("dt", "made at"),
            _tag("dd", _known(result.get("generated_at"))),
            class_="words",
        ),
        _note("For evaluation only. These figures hold for these records and this version."),
    )


# -- the looks: custom properties carry the two palettes; print is always light


_STYLE = """
:root {
  color-scheme: light dark;
  --page: #fbfbfa; --sheet: #ffffff; --ink: #1c2127; --soft: #5b6570; --rule: #dfe2e5;
  --se: #1f6f8b; --ppv: #6a55a3; --error: #bf4a30; --agree: #1f6f8b; --track: #e9ecee;
  --paper: #fffafa; --fine: #f6dede; --coarse: #eab9b9; --trace: #16191d;
  --warn-page: #fdf3e7; --warn-rule: #d9923b;
}
@media screen and (prefers-color-scheme: dark) {
  :root {
    --page: #14171a; --sheet: #1b1f23; --ink: #e4e7ea; --soft: #9aa5b0; --rule: #32383e;
    --se: #5fb4d0; --ppv: #a893e0; --error: #ec7f63; --agree: #4fa3c0; --track: #2b3136;
    --paper: #1d191a; --fine: #2d2224; --coarse: #4a3134; --trace: #f0f2f4;
    --warn-page: #2b2318; --warn-rule: #d9923b;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0; background: var(--page); color: var(--ink);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif;
  font-variant-numeric: tabular-nums;
}
main { max-width: 70rem; margin: 0 auto; padding: 2.5rem 1.5rem 4rem; }
section { margin-top: 3.25rem; }
h1 { font-size: 2.4rem; line-height: 1.15; margin: 0 0 1.2rem; font-weight: 650; }
h2 {
  font-size: 1.35rem; margin: 0 0 1rem; padding-bottom: .4rem; font-weight: 620;
  border-bottom: 1px solid var(--rule);
}
h3 { font-size: 1.02rem; margin: 0 0 .2rem; font-weight: 620; }
h1, h2, h3, td, th, dd, figcaption, p { overflow-wrap: break-word; }
.eyebrow { margin: 0; color: var(--soft); letter-spacing: .04em; }
.note { color: var(--soft); max-width: 48rem; font-size: .94rem; }
abbr { display: block; color: var(--soft); font-weight: 400; font-size: .92rem; }
pre {
  margin: .4rem 0 0; padding: .7rem .9rem; background: var(--sheet); white-space: pre-wrap;
  border: 1px solid var(--rule); border-radius: 6px; overflow-wrap: anywhere;
}
code {
  font: .9em/1.5 ui-monospace, "SF Mono", Menlo, Consolas, monospace; overflow-wrap: anywhere;
}
.warning {
  margin: 1.6rem 0 0; padding: .7rem 1rem; background: var(--warn-page);
  border-left: 4px solid var(--warn-rule); border-radius: 3px;
}
.warning a { color: inherit; }
dl { margin: 0; }
dd { margin: 0; min-width: 0; }
.facts { display: flex; flex-wrap: wrap; gap: .6rem 2.6rem; }
.facts dt { color: var(--soft); font-size: .86rem; }
.facts dd { font-size: 1.1rem; }
.words {
  display: grid; grid-template-columns: minmax(8rem, max-content) 1fr; gap: .35rem 1.6rem;
  font-size: .94rem; max-width: 60rem;
}
.words dt { color: var(--soft); }
.cards {
  display: grid; gap: 1.1rem; margin-bottom: 1.4rem;
  grid-template-columns: repeat(auto-fit, minmax(17rem, 1fr));
}
.card {
  background: var(--sheet); border: 1px solid var(--rule); border-radius: 10px;
  padding: 1.1rem 1.2rem .9rem;
}
.card { display: grid; grid-row: span 5; grid-template-rows: subgrid; row-gap: 0; }
.meaning { color: var(--soft); font-size: .92rem; margin: .1rem 0 .7rem; }
.value {
  display: grid; grid-template-columns: 2.1rem auto 1fr; align-items: baseline; column-gap: .4rem;
}
.sign { font-weight: 600; }
.big { font-size: 1.9rem; font-weight: 620; line-height: 1.2; }
.big small { font-size: 1rem; font-weight: 400; }
.big.se { color: var(--se); } .big.ppv { color: var(--ppv); }
.interval { color: var(--soft); font-size: .88rem; justify-self: end; }
.whisker { grid-column: 1 / -1; width: 100%; height: auto; margin-bottom: .5rem; }
svg { display: block; }
svg text { fill: var(--ink); font: 12px system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
.whisker .axis { stroke: var(--rule); stroke-width: 1.5; }
.whisker .range { stroke-width: 6; stroke-linecap: round; opacity: .35; }
.range.se { stroke: var(--se); } .range.ppv { stroke: var(--ppv); }
.dot.se { fill: var(--se); } .dot.ppv { fill: var(--ppv); }
.whisker .tick { font-size: 9.5px; fill: var(--soft); }
.whisker .end { text-anchor: end; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: .94rem; }
th, td { padding: .36rem .55rem; text-align: left; border-bottom: 1px solid var(--rule); }
thead th { color: var(--soft); font-weight: 500; vertical-align: bottom; }
tbody th { font-weight: 560; }
.figure { text-align: right; white-space: nowrap; }
.group { text-align: center; font-weight: 620; }
.groups th, .groups td { border-bottom: 0; padding-bottom: 0; }
.records { font-size: .88rem; }
.records th, .records td { padding: .22rem .45rem; }
.bar {
  display: inline-block; width: 60px; height: 8px; vertical-align: middle; margin-right: .3rem;
}
.bar + span { display: inline-block; min-width: 3.5em; }
.bar.alarm { width: 150px; height: 10px; }
.fill.se, .alarm-true { fill: var(--se); } .fill.ppv { fill: var(--ppv); }
.lacks, .alarm-missed { fill: var(--error); }
.alarm-false { fill: var(--warn-rule); }
.lacks { opacity: .55; }
.legend { color: var(--soft); font-size: .9rem; margin-right: 1.1rem; }
.key { display: inline-block; width: .75rem; height: .75rem; border-radius: 2px; }
.key.true { background: var(--se); } .key.missed { background: var(--error); }
.key.false { background: var(--warn-rule); }
figure { margin: 0; break-inside: avoid; }
figcaption { font-weight: 560; margin-bottom: .3rem; }
.heat svg { width: 100%; max-width: 670px; height: auto; }
.chart text { text-anchor: middle; }
.chart .axis, .chart .x, .chart .y, .chart .total, .chart .none { fill: var(--soft); }
.chart .start { text-anchor: start; }
.chart .y { text-anchor: end; }
.chart .label { font-size: 15px; font-weight: 600; }
.chart .count { font-size: 13px; }
.agrees { fill: var(--agree); stroke: var(--rule); }
.errs { fill: var(--error); stroke: var(--rule); }
.charts { display: grid; gap: 1.5rem; grid-template-columns: repeat(auto-fit, minmax(20rem, 1fr)); }
.charts svg { width: 100%; max-width: 520px; height: auto; }
.charts { margin-bottom: 1rem; }
.grid { stroke: var(--rule); }
.curve { fill: none; stroke-width: 2.2; }
.curve.se { stroke: var(--se); } .curve.ppv { stroke: var(--ppv); stroke-dasharray: 6 4; }
.chart .name { font-weight: 600; font-size: 13px; text-anchor: start; }
.chart .name.se { fill: var(--se); } .chart .name.ppv { fill: var(--ppv); }
.strip { margin-top: 1.7rem; }
.where { color: var(--soft); font-weight: 400; margin-left: .8rem; }
.paper { max-width: 100%; height: auto; }
.sheet { fill: var(--paper); }
.fine { stroke: var(--fine); stroke-width: .12; fill: none; }
.coarse { stroke: var(--coarse); stroke-width: .2; fill: none; }
.trace { stroke: var(--trace); stroke-width: .32; fill: none; stroke-linejoin: round; }
.focus { fill: var(--error); opacity: .16; }
.paper text { font-size: 3.6px; }
.paper .row { fill: var(--soft); font-size: 3px; text-anchor: end; }
.mark text { text-anchor: middle; fill: var(--soft); }
.mark .stem { stroke: var(--soft); stroke-width: .2; }
.near text { fill: var(--error); font-weight: 700; }
.near .stem { stroke: var(--error); stroke-width: .35; }
.absent { color: var(--soft); padding: 1rem; border: 1px dashed var(--rule); border-radius: 6px; }
.names { max-width: 60rem; }
@media print {
  @page { margin: 14mm; }
  body { font-size: 10pt; background: none; }
  main { max-width: none; padding: 0; }
  section { margin-top: 9mm; }
  h2, h3, figcaption, thead { break-after: avoid; }
  .card, tr, .value, figure, .words, .warning { break-inside: avoid; }
  .cards { grid-template-columns: repeat(3, 1fr); gap: 4mm; }
  .charts { grid-template-columns: 1fr 1fr; }
  .big { font-size: 15pt; } .value { grid-template-columns: 6mm 1fr; }
  .interval { grid-column: 1 / -1; justify-self: start; }
  .wide { overflow: visible; }
  .records { font-size: 7.5pt; } .records th, .records td { padding: .5mm 1mm; }
  .bar { width: 36px; } .bar.alarm { width: 80px; }
  .key, .lacks, rect { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
}
"""
