"""Judge the agent on all of mitdb and svdb and write what was measured: `make accuracy`."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tocsin_agent.evaluate import evaluate, select
from tocsin_agent.evaluate.databases import SUBSETS

RECORDED = Path(__file__).with_name("recorded.json")
DATABASES = ("mitdb", "svdb")
_KEPT = ("qrs", "veb", "sveb", "alarms", "latency_s", "missing", "failed", "per_record")


def measure(database: str) -> dict[str, Any]:
    """Judge a database; what a gate needs of it, with the part never seen in training by itself."""
    result = evaluate(select(database))
    measured = {key: result[key] for key in _KEPT}
    if database == "mitdb":
        unseen = set(SUBSETS["ds2"].split())
        of_ds2 = [r for r in result["per_record"] if r["record"] in unseen]
        measured["ds2"] = {kind: _gross(r[kind] for r in of_ds2) for kind in ("qrs", "veb", "sveb")}
    return measured


def _gross(scores: Iterable[dict[str, Any]]) -> dict[str, Any]:
    counts = [(s["tp"], s["fn"], s["fp"]) for s in scores]
    tp, fn, fp = (sum(column) for column in zip(*counts, strict=True))
    se, ppv = round(100 * tp / (tp + fn), 3), round(100 * tp / (tp + fp), 3)
    return {"se": se, "ppv": ppv, "tp": tp, "fn": fn, "fp": fp}


def main() -> None:
    """Write `recorded.json` and show the gross figures."""
    result = {database: measure(database) for database in DATABASES}
    RECORDED.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    for database, measured in result.items():
        scores = {database: measured} | (
            {"mitdb DS2": measured["ds2"]} if "ds2" in measured else {}
        )
        for name, given in scores.items():
            for kind in ("qrs", "veb", "sveb"):
                se, ppv = given[kind]["se"], given[kind]["ppv"]
                sys.stdout.write(f"{name:10} {kind:5} Se {se:6.2f}  +P {ppv:6.2f}\n")


if __name__ == "__main__":
    main()
