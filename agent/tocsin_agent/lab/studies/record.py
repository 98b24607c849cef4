"""Judge the agent on mitdb, svdb and a part of vfdb and record the result: `make accuracy`.

The result is written to `tests/accuracy/recorded.json`, with which `tests/accuracy` compares later
versions. The tables of `docs/evaluation/` between the marks of this module are rewritten from it.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tocsin_agent.lab import alarm_page
from tocsin_agent.lab.ec57.beats import Score
from tocsin_agent.lab.evaluate import evaluate, select
from tocsin_agent.lab.evaluate.evaluation import gross
from tocsin_agent.lab.patients import DS2
from tocsin_agent.lab.studies import CHECKOUT

RECORDED = CHECKOUT / "tests" / "accuracy" / "recorded.json"
PUBLISHED = CHECKOUT / "docs" / "evaluation"
CROSS_VALIDATED = CHECKOUT / "models" / "tocsin_training" / "agent" / "cross-validation.json"
DATABASES = ("mitdb", "svdb", "vfdb")
VFDB = ("418", "422", "607", "611")
"""Flutter, fibrillation, asystole and a slow tachycardia. The shipped model was trained on them:
the result guards against regressions and is no measure of accuracy."""
_KEPT = ("qrs", "veb", "sveb", "vf", "alarms", "latency_s", "missing", "failed", "per_record")


def measure(database: str) -> dict[str, Any]:
    """Return the figures of a database that are recorded, for mitdb also those of DS2 alone."""
    selection = select(database)
    result = evaluate(selection._replace(records=VFDB) if database == "vfdb" else selection)
    measured = {key: result[key] for key in _KEPT}
    if database == "mitdb":
        of_ds2 = [r for r in result["per_record"] if r["record"] in DS2]
        measured["ds2"] = {kind: _gross(r[kind] for r in of_ds2) for kind in ("qrs", "veb", "sveb")}
    return measured


def _gross(scores: Iterable[dict[str, Any]]) -> dict[str, Any] | None:
    return gross([Score(s["tp"], s["fn"], s["fp"]) for s in scores])


def published(recorded: dict[str, Any]) -> dict[Path, str]:
    """Return the pages with recorded tables, rewritten: of the evaluation, and of the alarms."""
    pages = {}
    for name, table in (("beats", _beats(recorded)), ("alarms", _alarms(recorded["mitdb"]))):
        path = PUBLISHED / f"{name}.md"
        begin, end = f"<!-- {name}: make accuracy -->", f"<!-- {name} -->"
        before, _, rest = path.read_text(encoding="utf-8").partition(begin)
        _, _, after = rest.partition(end)
        pages[path] = "\n".join((before + begin, *table, end + after))
    reference = CHECKOUT / alarm_page.PAGE
    text = reference.read_text(encoding="utf-8")
    return pages | {reference: alarm_page.render_page(text, recorded)}


def _beats(recorded: dict[str, Any]) -> list[str]:
    mitdb, svdb = recorded["mitdb"], recorded["svdb"]
    rows = (
        (f"QRS, mitdb, {len(mitdb['per_record'])} records", mitdb["qrs"]),
        (f"QRS, svdb, {len(svdb['per_record'])} records", svdb["qrs"]),
        ("VEB, DS2 of mitdb: 22 patients not trained on", mitdb["ds2"]["veb"]),
        ("SVEB, DS2 of mitdb", mitdb["ds2"]["sveb"]),
    )
    lines = ["| what | Se % | +P % | missed | false |", "|---|---|---|---|---|"]
    for what, score in rows:
        lines.append(_row(what, score, score["ci95"], score["fn"], score["fp"]))
    # The shipped model is trained on svdb: these agents' models are trained without the patient.
    validated = json.loads(CROSS_VALIDATED.read_text(encoding="utf-8"))["svdb"]
    for kind in ("veb", "sveb"):
        score = validated[kind]
        what = f"{kind.upper()}, svdb, cross-validated by patient, first lead"
        interval = validated["intervals"][kind]
        lines.append(_row(what, score, interval, score["missed"], score["false"]))
    return lines


def _row(
    what: str, score: dict[str, float], interval: dict[str, list[float]], missed: int, false: int
) -> str:
    shares = (
        f"{score[key]:.2f} ({interval[key][0]:.2f}–{interval[key][1]:.2f})" for key in ("se", "ppv")
    )
    return f"| {what} | {' | '.join(shares)} | {missed:,} | {false:,} |"


def _alarms(mitdb: dict[str, Any]) -> list[str]:
    lines = [
        "| alarm | true | false | missed | false in 24 h | delay s, median | 95 % within | worst |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for code, alarm in mitdb["alarms"].items():
        delay = alarm["delay_s"] or {}
        delays = (f"{delay[key]:.2f}" if delay else "–" for key in ("median", "p95", "worst"))
        counts = " | ".join(str(alarm[key]) for key in ("true", "false", "missed"))
        lines.append(
            f"| `{code}` | {counts} | {alarm['false_per_24h']:.1f} | {' | '.join(delays)} |"
        )
    return lines


def main() -> None:
    """Write `recorded.json` and the tables of the documentation, and show the gross figures."""
    result = {database: measure(database) for database in DATABASES}
    RECORDED.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    for path, page in published(result).items():
        path.write_text(page, encoding="utf-8")
    for database, measured in result.items():
        scores = {database: measured} | (
            {"mitdb DS2": measured["ds2"]} if "ds2" in measured else {}
        )
        for name, given in scores.items():
            for kind in ("qrs", "veb", "sveb"):
                if given[kind] is None:
                    continue
                se, ppv = given[kind]["se"], given[kind]["ppv"]
                sys.stdout.write(f"{name:10} {kind:5} Se {se:6.2f}  +P {ppv:6.2f}\n")


if __name__ == "__main__":
    main()
