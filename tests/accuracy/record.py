"""Measure on all 48 records of mitdb and write what was measured: `make accuracy`."""

from __future__ import annotations

import json
import multiprocessing
import os
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

TESTS = Path(__file__).resolve().parents[1]
RECORDED = Path(__file__).with_name("recorded.json")


def measure_all() -> dict[str, Any]:
    """Replay every record; give counts per record and gross, and the worst first in `ranking`."""
    from accuracy.compare import DS2, PACED, add_up, replay  # found once tests/ is on the path
    from tocsin_agent.sources.places import record_roots
    from tocsin_models import load_beat_model

    folder = next(root / "mitdb" for root in record_roots() if (root / "mitdb").is_dir())
    names = sorted(path.stem for path in folder.glob("[12]??.hea"))
    # A fresh interpreter each: onnxruntime's threads do not survive a fork.
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(os.cpu_count(), mp_context=spawn) as pool:
        replays = list(pool.map(replay, [f"mitdb/{name}" for name in names]))
    counts = {name: result.counts for name, result in zip(names, replays, strict=True)}
    gross = {
        "qrs": _scores("qrs", add_up(list(counts.values()))._asdict()),
        "ds2": {
            kind: _scores(kind, add_up([counts[name] for name in DS2])._asdict())
            for kind in ("veb", "sveb")
        },
    }
    alarms = {name: result.alarms for name, result in zip(names, replays, strict=True)}
    model = load_beat_model()
    return {
        "how": "whole monitor, all leads, from 5:00, 150 ms; `make accuracy` writes this file",
        "model": f"{model.name}@{model.sha256[:12]}",
        "gross": gross,
        "records": {
            name: {
                **{
                    key: value
                    for key, value in counts[name]._asdict().items()
                    if name not in PACED or key.startswith("qrs")
                },
                "alarms": alarms[name],
            }
            for name in names
        },
    }


def _scores(kind: str, counts: dict[str, int]) -> dict[str, float]:
    tp, fn, fp = (counts[f"{kind}_{part}"] for part in ("tp", "fn", "fp"))
    return {
        "se": round(100 * tp / (tp + fn), 3),
        "ppv": round(100 * tp / (tp + fp), 3),
        "tp": tp,
        "fn": fn,
        "fp": fp,
    }


def main() -> None:
    """Write `recorded.json` and show the records, worst first."""
    result = measure_all()
    lines = json.dumps(result, indent=1)
    RECORDED.write_text(lines + "\n", encoding="utf-8")
    out = sys.stdout.write
    out(f"{result['model']}\n")
    gross = {"QRS, 48 records": result["gross"]["qrs"]}
    gross |= {f"{kind.upper()}, DS2": given for kind, given in result["gross"]["ds2"].items()}
    for name, scores in gross.items():
        out(f"{name:16} Se {scores['se']:.2f} %  +P {scores['ppv']:.2f} %\n")
    out("worst first: record, QRS missed and false, VEB missed and false\n")
    worst = sorted(
        result["records"].items(), key=lambda item: -(item[1]["qrs_fn"] + item[1]["qrs_fp"])
    )
    for name, record in worst:
        veb = f"{record.get('veb_fn', '-'):>5} {record.get('veb_fp', '-'):>5}"
        out(f"  {name}  {record['qrs_fn']:>5} {record['qrs_fp']:>5}  {veb}\n")


if __name__ == "__main__":
    sys.path.insert(0, str(TESTS))
    main()
