"""Sections of the report that are tables or single figures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tocsin_agent.drawing.markup import Markup, joined, tag
from tocsin_agent.lab.evaluate.report.markup import grouped, note, section, table_of
from tocsin_agent.lab.evaluate.report.plots import alarm_bar, curves, heat_map, histogram, share_bar
from tocsin_agent.lab.evaluate.report.words import (
    BEAT_KINDS,
    CLASS_NAMES,
    counted,
    decimals,
    finite,
    in_words,
    or_dash,
)

_ROWS_AT_MOST = 250  # of the table by record; some databases hold thousands
_RHYTHMS = {"af": "Atrial fibrillation", "vf": "Ventricular flutter or fibrillation"}
_OUTCOMES = ("tp", "fp", "tn", "fn")
_QUANTILES = {"median": "Median s", "p95": "95 % within s", "worst": "Worst s"}


def rhythms_section(result: Mapping[str, Any]) -> Markup:
    """Return the section on episodes of fibrillation."""
    rows = [
        (
            name,
            *(
                _with_count(result[kind], key)
                for key in ("episode_se", "episode_ppv", "duration_se", "duration_ppv")
            ),
        )
        for kind, name in _RHYTHMS.items()
        if result.get(kind)
    ]
    if not rows:
        return Markup()
    return section(
        "Rhythms",
        table_of(["", "Episode Se %", "Episode +P %", "Duration Se %", "Duration +P %"], rows),
        note(
            "Episodes: the share of the experts’ episodes that the agent found (Se), and the share "
            "of the agent’s episodes that were real (+P). Duration: the same in seconds, so that a "
            "long episode found late weighs more."
        ),
    )


def _with_count(score: Mapping[str, Any], key: str) -> str:
    """Write a percentage with the episodes, or seconds, that it rests on, where they are known."""
    pool = (score.get("counts") or {}).get(key)
    of = "" if pool is None else f" of {decimals(pool[1], 1 if key.startswith('duration') else 0)}"
    return decimals(score.get(key)) + of + (" s" if of and key.startswith("duration") else "")


def challenge_section(result: Mapping[str, Any]) -> Markup:
    """Return the section with the score of CinC 2015."""
    challenge = result.get("challenge_score")
    if not challenge:
        return Markup()
    rows = [
        (
            in_words(str(kind)),
            *(counted(row.get(key)) for key in _OUTCOMES),
            decimals(row.get("score"), 3),
        )
        for kind, row in (challenge.get("by_type") or {}).items()
    ]
    overall = (
        "All",
        *(counted(challenge.get(key)) if key in challenge else "" for key in _OUTCOMES),
        tag("strong", decimals(challenge.get("score"), 3)),
    )
    return section(
        "Challenge score",
        table_of(
            [
                "Alarm",
                "True, kept",
                "False, kept",
                "False, suppressed",
                "True, suppressed",
                "Score",
            ],
            [*rows, overall],
        ),
        note(
            "PhysioNet Challenge 2015, real time: (TP + TN) / (TP + TN + FP + 5 FN), 1 at best. "
            "A true alarm that is suppressed costs five times as much as a false one that is kept."
        ),
    )


def rhythm_f1_section(result: Mapping[str, Any]) -> Markup:
    """Return the section with the score of CinC 2017."""
    score = result.get("rhythm_f1")
    if not score:
        return Markup()
    names = {"N": "Normal", "A": "Atrial fibrillation", "O": "Other", "~": "Too noisy"}
    matrix = zip(score["labels"], score["confusion"], strict=True)
    rows = [
        (f"{names[label]} ({label})", decimals(score["f1"][label], 1), *map(counted, row))
        for label, row in matrix
    ]
    total = ("Mean of N, A and O", tag("strong", decimals(score["mean"], 1)), *[""] * len(rows))
    answers = [f"Agent {label}" for label in score["labels"]]
    return section(
        "Rhythm of short records",
        table_of(["Reference", "F1 %", *answers], [*rows, total]),
        note(
            "PhysioNet Challenge 2017: one rhythm per record, derived from the agent’s alarms and "
            "labels. F1 gives missed and false records the same weight."
        ),
    )


def alarms_section(result: Mapping[str, Any]) -> Markup:
    """Return the section on alarms."""
    alarms: Mapping[str, Mapping[str, Any]] = result.get("alarms") or {}
    if not alarms:
        return section("Alarms", note("No alarm was judged."))
    most = max(
        sum(finite(row.get(key)) or 0 for key in ("true", "missed", "false"))
        for row in alarms.values()
    )
    rows = [
        (
            in_words(code),
            alarm_bar(in_words(code), row, most),
            *(counted(row.get(key)) for key in ("true", "missed", "false")),
            decimals(row.get("false_per_24h")),
            *(decimals((row.get("delay_s") or {}).get(key), 1) for key in _QUANTILES),
        )
        for code, row in alarms.items()
    ]
    head = ["Alarm", "", "True", "Missed", "False", "False per 24 h", *_QUANTILES.values()]
    legend = joined(
        (
            tag("span", tag("i", class_=f"key {key}"), f" {word}", class_="legend")
            for key, word in (("true", "true"), ("missed", "missed"), ("false", "false"))
        ),
        " ",
    )
    return section(
        "Alarms",
        tag("p", legend),
        table_of(head, rows, "alarms"),
        note(
            "An alarm is due when the agent’s rules, applied to the experts’ labels, raise it. "
            "True: due and raised. Missed: due and not raised. False: raised and not due; per 24 h "
            "is the number for one patient in a day. The last three columns are the seconds from "
            "the time at which the alarm’s definition holds to the alarm."
        ),
    )


def latency_section(result: Mapping[str, Any]) -> Markup:
    """Return the section on the time until a beat is labelled."""
    latency = result.get("latency_s")
    if not latency:
        return Markup()
    words = {"median": "half within", "p95": "95 % within", "worst": "the slowest"}
    facts = [
        tag("div", tag("dt", word), tag("dd", decimals(latency.get(key), 2, " s")))
        for key, word in words.items()
    ]
    return section(
        "Time to a label",
        tag("dl", *facts, class_="facts"),
        tag("figure", histogram(latency["counts"], latency["step_s"]), class_="heat")
        if latency.get("counts")
        else "",
        note("The signal time from the R peak of a beat until the agent reports its label."),
    )


def records_section(result: Mapping[str, Any]) -> Markup:
    """Return the section with the figures of each record, the worst first."""
    rows = sorted(result.get("per_record") or (), key=_badness)
    if not rows:
        return section("By record", note("No record was judged."))
    shown = [
        (
            row.get("record"),
            *(
                cell
                for kind in ("qrs", "veb")
                for cell in (
                    share_bar(row, kind, "se"),
                    share_bar(row, kind, "ppv"),
                    _wrong(row.get(kind)),
                )
            ),
            *(decimals((row.get("sveb") or {}).get(key)) for key in ("se", "ppv")),
            _wrong_alarms(row),
        )
        for row in rows[:_ROWS_AT_MOST]
    ]
    beats = [tag("th", text, scope="col", class_="figure") for text in ("Se %", "+P %")]
    wrong = tag("th", "miss. / false", scope="col", class_="figure", title="missed and false beats")
    heads = [tag("th", "Record", scope="col"), *beats, wrong, *beats, wrong, *beats, wrong]
    groups = [
        tag("td"),
        *(
            tag("th", name, scope="colgroup", colspan=span, class_="group")
            for name, span in (("QRS", 3), ("VEB", 3), ("SVEB", 2), ("Alarms", 1))
        ),
    ]
    left = len(rows) - len(shown)
    return section(
        "By record",
        note(
            "In order of wrong beats (QRS and VEB, missed and false) per hour, then of wrong "
            "alarms, the worst first.",
            f" The {counted(left)} best records are left out here; the JSON contains them."
            if left
            else "",
        ),
        grouped(groups, table_of(heads, shown, "records")),
    )


def _badness(row: Mapping[str, Any]) -> tuple[float, float, str]:
    hours = finite(row.get("hours")) or 0.0
    beats = sum(
        finite((row.get(kind) or {}).get(key)) or 0
        for kind in ("qrs", "veb")
        for key in ("fn", "fp")
    )
    missed, false = _alarm_totals(row)
    scale = 1 / hours if hours > 0 else 1.0
    return -beats * scale, -(missed + false) * scale, str(row.get("record"))


def _alarm_totals(row: Mapping[str, Any]) -> tuple[float, float]:
    alarms = (row.get("alarms") or {}).values()
    missed, false = (
        sum(finite(alarm.get(key)) or 0 for alarm in alarms) for key in ("missed", "false")
    )
    return missed, false


def _wrong_alarms(row: Mapping[str, Any]) -> str:
    missed, false = _alarm_totals(row)
    return f"{counted(missed)} / {counted(false)}" if row.get("alarms") else "–"


def _wrong(beats: Mapping[str, Any] | None) -> str:
    return f"{counted(beats.get('fn'))} / {counted(beats.get('fp'))}" if beats else "–"


def confusion_section(result: Mapping[str, Any]) -> Markup:
    """Return the section with the confusion matrix."""
    confusion = result.get("confusion") or {}
    labels, matrix = str(confusion.get("labels") or ""), confusion.get("matrix") or []
    if not any(any(row) for row in matrix):
        return Markup()
    names = ", ".join(f"{label} {CLASS_NAMES.get(label, label)}" for label in labels)
    return section(
        "Confusion of beat classes",
        tag("figure", heat_map(labels, matrix), class_="heat"),
        note(
            "Rows are the experts’ labels (reference), columns the agent’s (test); on the diagonal "
            f"they agree. Shade: the share of the row. {names}."
        ),
    )


def noise_section(result: Mapping[str, Any]) -> Markup:
    """Return the section with the figures over the signal-to-noise ratio."""
    rows = sorted(
        (row for row in result.get("snr") or () if finite(row.get("snr_db")) is not None),
        key=lambda row: float(row["snr_db"]),
    )
    if not rows:
        return Markup()
    charts = [
        tag("figure", tag("figcaption", BEAT_KINDS[kind][1]), curves(rows, kind))
        for kind in ("qrs", "veb")
        if any(row.get(kind) for row in rows)
    ]
    figures = [
        (
            f"{row['snr_db']:g} dB",
            *(
                decimals((row.get(kind) or {}).get(key))
                for kind in ("qrs", "veb")
                for key in ("se", "ppv")
            ),
        )
        for row in reversed(rows)
    ]
    return section(
        "In noise",
        tag("div", *charts, class_="charts"),
        table_of(["SNR", "QRS Se %", "QRS +P %", "VEB Se %", "VEB +P %"], figures),
        note(
            "Noise of known strength is added to clean signals. SNR is the power of the beats over "
            "that of the noise: at 24 dB the noise is hardly visible, at 0 dB both are equal."
        ),
    )


def left_out_section(result: Mapping[str, Any]) -> Markup:
    """Return the section that names every record that is not in the figures."""
    missing, failed = list(result.get("missing") or ()), dict(result.get("failed") or {})
    if missing or failed:
        content = [
            tag("h3", f"Missing ({counted(len(missing))})") if missing else "",
            tag("p", ", ".join(map(str, missing)), class_="names") if missing else "",
            tag("h3", f"Failed ({counted(len(failed))})") if failed else "",
            tag(
                "dl",
                *(joined((tag("dt", name), tag("dd", why))) for name, why in failed.items()),
                class_="words",
            )
            if failed
            else "",
        ]
    else:
        content = [note("None: every selected record is in these figures.")]
    return tag("section", tag("h2", "Records left out"), *content, id="left-out")


def software_section(result: Mapping[str, Any]) -> Markup:
    """Return the section on the software that was evaluated."""
    software = result.get("software") or {}
    models = dict(software.get("models") or {})
    return section(
        "Software",
        tag(
            "dl",
            tag("dt", "tocsin"),
            tag("dd", or_dash(software.get("version"))),
            *(
                joined((tag("dt", f"model {name}"), tag("dd", tag("code", digest))))
                for name, digest in sorted(models.items())
            ),
            tag("dt", "schema"),
            tag("dd", or_dash(result.get("schema"))),
            tag("dt", "made at"),
            tag("dd", or_dash(result.get("generated_at"))),
            class_="words",
        ),
        note("For evaluation only. These figures hold for these records and this version."),
    )
