"""The report page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tocsin_agent.drawing.markup import Markup, tag, void
from tocsin_agent.lab.evaluate.report.markup import note, section
from tocsin_agent.lab.evaluate.report.paper import StripSource, strips_section
from tocsin_agent.lab.evaluate.report.plots import scale_start, whisker
from tocsin_agent.lab.evaluate.report.style import STYLE
from tocsin_agent.lab.evaluate.report.tables import (
    alarms_section,
    challenge_section,
    confusion_section,
    latency_section,
    left_out_section,
    noise_section,
    records_section,
    rhythm_f1_section,
    rhythms_section,
    software_section,
)
from tocsin_agent.lab.evaluate.report.words import (
    BEAT_KINDS,
    counted,
    decimals,
    ends_of,
    finite,
    how_many,
    interval_in_words,
    moment,
    name_of,
    or_dash,
)

_NAMES_AT_MOST = 12  # in the note at the top; the full list is at the end


def page(result: Mapping[str, Any], strip_of: StripSource) -> str:
    """Return the whole page."""
    title = f"{name_of(result)} – tocsin evaluation"
    policy = "default-src 'none'; style-src 'unsafe-inline'"
    head = tag(
        "head",
        Markup('<meta charset="utf-8">'),
        void("meta", http_equiv="Content-Security-Policy", content=policy),
        void("meta", name="viewport", content="width=device-width, initial-scale=1"),
        void("meta", name="color-scheme", content="light dark"),
        tag("title", title),
        tag("style", Markup(STYLE)),
    )
    main = tag(
        "main",
        _header(result),
        _left_out_note(result),
        _headline(result) if "qrs" in result else "",
        rhythms_section(result),
        challenge_section(result),
        rhythm_f1_section(result),
        alarms_section(result) if "alarms" in result else "",
        latency_section(result),
        records_section(result) if "per_record" in result else "",
        confusion_section(result),
        noise_section(result),
        strips_section(result, strip_of),
        left_out_section(result) if "missing" in result else "",
        software_section(result),
    )
    return "<!DOCTYPE html>\n" + tag("html", head, tag("body", main), lang="en") + "\n"


def _header(result: Mapping[str, Any]) -> Markup:
    leads = str(or_dash(result.get("leads")))
    facts = {
        "Records": counted(len(result.get("records") or ())),
        "Signal": decimals(result.get("hours"), 1, " h"),
        "Leads": f"no. {leads}" if leads[:1].isdigit() else leads,
        "Version": or_dash((result.get("software") or {}).get("version")),
        "Made": moment(result.get("generated_at")),
    }
    return tag(
        "header",
        tag("p", "tocsin evaluation", class_="eyebrow"),
        tag("h1", name_of(result)),
        tag(
            "dl",
            *(tag("div", tag("dt", name), tag("dd", value)) for name, value in facts.items()),
            class_="facts",
        ),
        note(
            "The agent processed every record as the signal of a patient, and its labels were "
            "compared with those of the database’s experts as in ANSI/AAMI EC57. "
            "To repeat the evaluation:"
        ),
        tag("pre", tag("code", or_dash(result.get("command")))),
    )


def _left_out_note(result: Mapping[str, Any]) -> Markup:
    missing, failed = list(result.get("missing") or ()), list(result.get("failed") or ())
    if not missing and not failed:
        return Markup()
    sentences = [
        f"{how_many(len(names), 'record')} {what}: {', '.join(map(str, names[:_NAMES_AT_MOST]))}"
        + (f" and {len(names) - _NAMES_AT_MOST} more" if len(names) > _NAMES_AT_MOST else "")
        + "."
        for names, what in ((missing, "missing"), (failed, "failed"))
        if names
    ]
    return tag(
        "p",
        tag("strong", "Not in these figures. "),
        " ".join(sentences),
        " ",
        tag("a", "See the list.", href="#left-out"),
        class_="warning",
        role="note",
    )


def _headline(result: Mapping[str, Any]) -> Markup:
    judged = {kind: result[kind] for kind in BEAT_KINDS if result.get(kind)}
    if not any(finite(row.get(key)) for row in judged.values() for key in ("tp", "fn", "fp")):
        return section("Beats", note("The reference has no beat labels."))
    cards = [_card(kind, row) for kind, row in judged.items()]
    return section(
        "Beats",
        tag("div", *cards, class_="cards"),
        tag(
            "dl",
            tag("dt", "Se, sensitivity"),
            tag("dd", "The share of the experts’ beats that the agent found."),
            tag("dt", "+P, positive predictivity"),
            tag("dd", "The share of the agent’s beats that the experts marked too."),
            tag("dt", "95 % interval"),
            tag(
                "dd",
                "The range of the figure for other patients like these, by bootstrap over whole "
                "records, because the beats of one patient are alike.",
            ),
            class_="words",
        ),
        note("All records together; every beat has the same weight (gross)."),
    )


def _card(kind: str, beats: Mapping[str, Any]) -> Markup:
    short, title, many, meaning = BEAT_KINDS[kind]
    tp, fn, fp = (finite(beats.get(key)) or 0 for key in ("tp", "fn", "fp"))
    ci95 = beats.get("ci95") or {}
    ends = [ends_of(ci95.get(key)) for key in ("se", "ppv")]
    lowest = [finite(beats.get("se")), finite(beats.get("ppv")), *(low for low, _ in ends)]
    floor = scale_start([value for value in lowest if value is not None])
    rows = [
        tag(
            "div",
            tag("span", sign, class_="sign"),
            tag(
                "span",
                decimals(beats.get(key)),
                tag("small", " %" if finite(beats.get(key)) is not None else ""),
                class_=f"big {key}",
            ),
            tag("span", interval_in_words(low, high), class_="interval"),
            whisker(f"{short} {sign}", key, finite(beats.get(key)), (low, high), floor),
            class_="value",
        )
        for key, sign, (low, high) in zip(("se", "ppv"), ("Se", "+P"), ends, strict=True)
    ]
    return tag(
        "div",
        tag("h3", f"{title} ", tag("abbr", short)),
        tag("p", meaning, class_="meaning"),
        *rows,
        tag("p", _counts_in_words(tp, fn, fp, many), class_="meaning"),
        class_="card",
    )


def _counts_in_words(tp: float, fn: float, fp: float, many: str) -> str:
    if not tp + fn + fp:
        return f"Neither the experts nor the agent marked any {many}."
    sensitivity = (
        f"Of {counted(tp + fn)} {many}, {counted(tp)} found and {counted(fn)} missed."
        if tp + fn
        else f"The experts marked no {many}."
    )
    predictivity = (
        f" Of {counted(tp + fp)} marked, {counted(fp)} {'was' if fp == 1 else 'were'} wrong."
        if tp + fp
        else " The agent marked none."
    )
    return sensitivity + predictivity
