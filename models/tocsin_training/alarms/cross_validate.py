"""The monitor's alarms, the ventricular ones verified by models without the record.

`make cross-validate-alarms` decides each record once (`tocsin_training.alarms.collect`), trains the
models in folds, lets the rules run with their answers and prints the tables of
`docs/evaluation/alarms.md`. A run that was interrupted goes on where it ended. DS2 of mitdb is not
among the records: it chooses nothing.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from tocsin_agent.lab.ec57.annotations import Annotations, read_annotations, read_header
from tocsin_agent.lab.evaluate.alarm_rates import alarm_rates
from tocsin_agent.lab.evaluate.alarm_scoring import judge_alarms
from tocsin_agent.lab.evaluate.challenge import challenge_score
from tocsin_agent.lab.evaluate.judge import Judgement, raised_alarms
from tocsin_agent.lab.evaluate.vf_seconds import in_total, judge_seconds
from tocsin_agent.messages.alert import Priority
from tocsin_agent.monitor.alarms.table import ALARMS
from tocsin_training.alarms.collect import CACHE, NOISY, recorded, selected
from tocsin_training.alarms.examples import group_of
from tocsin_training.alarms.timeline import replay
from tocsin_training.alarms.train import NAME, write_folds
from tocsin_training.alarms.trees import answers

FOLDS = CACHE / "folds"
CHALLENGES, BEATS, QUIET, RHYTHMS = (
    ("cinc2015", "cinc2015_long"), ("mitdb", "svdb"), ("nstdb", NOISY, "leadi_motion"),
    ("cudb", "vfdb"),
)  # fmt: skip
HIGH = tuple(code for code, alarm in ALARMS.items() if alarm.priority is Priority.HIGH)


def judged(database: str) -> list[Judgement]:
    """Judge the records of a database, each by the model without its group."""
    found = []
    for record, kept in recorded(database):
        file = FOLDS / f"{NAME}-{group_of(database, record)}.onnx"
        said = answers(file, kept.x) if len(kept.x) else np.zeros((0, 2), np.float32)
        alerts = replay(kept, said)
        rate, reference = kept.spec.rate_hz, _reference(database, record)
        found.append(
            Judgement(
                record, rate, kept.samples / rate / 3600, None, False, None, None,
                judge_alarms(reference, alerts, kept.samples) if reference else {},
                (), raised_alarms(alerts, rate),
                vf_seconds=judge_seconds(reference, alerts, kept.samples) if reference else None,
            )
        )  # fmt: skip
    print(f"{database}: {len(found)} records judged", file=sys.stderr, flush=True)
    return found


def _reference(database: str, record: str) -> Annotations | None:
    """Return what judges a record by beat or by rhythm, where anything does."""
    if database in (*CHALLENGES, "leadi_motion"):
        return None
    path = selected(database).folder / record
    return read_annotations(path.with_suffix(".atr"), read_header(path.with_suffix(".hea")))


def score(counts: dict[str, Any]) -> float:
    """Return the score of the challenge."""
    right = counts["tp"] + counts["tn"]
    return float(right / (right + counts["fp"] + 5 * counts["fn"]))


def of_challenge(scores: list[dict[str, Any]]) -> list[str]:
    """Return the table of the alarms of intensive care, by type."""
    by_type: dict[str, dict[str, Any]] = {}
    for each in scores:
        for kind, counts in each["by_type"].items():
            sums = by_type.setdefault(kind, {})
            for key in ("tp", "fp", "tn", "fn", "lost", "kept"):
                sums[key] = counts[key] + sums.get(key, type(counts[key])())
    total = {cell: sum(c[cell] for c in by_type.values()) for cell in ("tp", "fp", "tn", "fn")}
    lines = [
        "| alarm | score | true kept / lost | false kept / suppressed | true alarms lost |",
        "|---|---|---|---|---|",
    ]
    for kind, c in [*sorted(by_type.items()), ("all", total)]:
        lost = ", ".join(sorted(c.get("lost", ()))) or "–"
        if kind == "all":
            lost = f"{100 * c['fn'] / (c['tp'] + c['fn']):.1f} %"
        lines.append(
            f"| {kind.replace('_', ' ').lower()} | {score(c):.3f} | {c['tp']} / {c['fn']} "
            f"| {c['fp']} / {c['tn']} | {lost} |"
        )
    before = scores[0]["raised_before"]
    counts = {code: n for code, n in before["by_code"].items() if code in HIGH}
    named = ", ".join(f"`{code}` {n}" for code, n in counts.items())
    hours, high = before["hours"], sum(counts.values())
    return [*lines, "", f"{hours:.1f} h of cinc2015 before the alarms: {high} high ({named})"]


def of_beats(name: str, found: list[Judgement]) -> list[str]:
    """Return the rows of a database annotated by beat: its alarms of high priority."""
    rows = []
    for code in HIGH:
        counts = [j.alarms[code] for j in found if code in j.alarms]
        true, false, missed = (
            sum(c.true for c in counts), sum(c.false for c in counts), sum(c.missed for c in counts)
        )  # fmt: skip
        if true + false + missed:
            where = [f"{j.record}" for j in found if code in j.alarms and j.alarms[code].false]
            rows.append(f"| {name} | `{code}` | {true} | {false} | {missed} | {' '.join(where)} |")
    return rows


def of_rates(database: str, found: list[Judgement]) -> str:
    """Return how often alarms of high priority were raised in a database without true ones."""
    rates = alarm_rates(database, found)
    codes = (f"`{code}` {n['count']}" for code, n in rates["by_code"].items() if code in HIGH)
    return f"| {database} | {rates['hours']:.1f} | {', '.join(codes) or 'none'} |"


def of_fibrillation(database: str, found: list[Judgement]) -> str:
    """Return the row of fibrillation by second."""
    s = in_total([j.vf_seconds for j in found if j.vf_seconds]) or {}
    counts = [j.alarms["ventricular_fibrillation"] for j in found if j.alarms]
    return (
        f"| {database} | {s['se']} | {s['first_30_s_se']} | {s['sp']} "
        f"| {s['episodes_alarmed']} of {s['episodes']} | {s['within_10_s']} "
        f"| {s['delay_s_median']} | {s['vt_seconds_alarmed']} of {s['vt_seconds']} "
        f"| {sum(c.false for c in counts)} |"
    )


def main() -> None:
    """Train in folds, replay, and print the tables."""
    write_folds(FOLDS)
    results = {name: judged(name) for name in (*CHALLENGES, *BEATS, *QUIET, *RHYTHMS)}
    scores = [challenge_score(selected(name).folder, results[name]) or {} for name in CHALLENGES]
    lines = of_challenge(scores)
    lines += [
        "",
        "| records | alarm | true | false | missed | false in |",
        "|---|---|---|---|---|---|",
    ]
    lines += [*of_beats("mitdb DS1", results["mitdb"]), *of_beats("svdb", results["svdb"])]
    lines += ["", "| records | h | raised of high priority |", "|---|---|---|"]
    lines += [of_rates(name, results[name]) for name in QUIET]
    lines += [
        "",
        "| records | Se | first 30 s | Sp | episodes | within 10 s | median s | of VT | false |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    lines += [of_fibrillation(name, results[name]) for name in RHYTHMS]
    print("\n".join(lines))


if __name__ == "__main__":
    main()
