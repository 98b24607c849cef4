"""Write every labelled beat and every alert document of a fixed set of streams, to compare code.

A change that must not change behaviour gives the same files and the same hashes:

    python tests/accuracy/golden.py --out /tmp/before
    python tests/accuracy/golden.py --out /tmp/after --against /tmp/before

The records are found by `TOCSIN_RECORDS` or in the cache of `tocsin fetch`. Streams whose records
are not there are named and left out. The files are large and hold record data: keep them outside
the repository. Exit code 1 if a stream differs from `--against`.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import json
import sys
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
import msgspec

from tocsin_agent.errors import SourceError
from tocsin_agent.monitor import PatientMonitor
from tocsin_agent.monitor.rhythm.limits import Limits
from tocsin_agent.runtime.clock import StreamClock
from tocsin_agent.runtime.document import Identity
from tocsin_agent.runtime.stream import PatientStream
from tocsin_agent.sources.base import EndOfStream
from tocsin_agent.sources.opening import open_source
from tocsin_models import load_models

STREAMS = (
    *(f"mitdb/{n}" for n in ("104", "106", "119", "203", "208", "213", "222", "232")),
    *(f"svdb/{n}" for n in ("800", "803", "820", "865", "892")),
    *(f"vfdb/{n}" for n in ("418", "421", "424", "611")),
    *(f"cinc2015/{n}" for n in ("a142s", "b124s", "t106s")),
    "excerpt",
    "synthetic:demo",
    "synthetic:all_alarms",
)
"""Twenty records of four databases, the packaged excerpt and two scripted patients."""
BLOCK_S = 15.0
BEGAN = datetime(2000, 1, 1, tzinfo=UTC)
WALL_CLOCK = ("published_at",)
MEASURED = (
    *("r_index", "label", "decided_index", "lead", "probability", "qrs_s", "p_score", "pr_s"),
    *("st_mv", "previous_qt_s", "likeness", "premature_percent"),
)
"""What is compared of a beat."""


def run(uri: str) -> dict[str, Any] | None:
    """Return beats and alerts of a stream as JSON-ready values, None if it is not there."""
    try:
        source = open_source(uri, block_s=BLOCK_S)
    except SourceError:
        return None
    beats: list[Any] = []
    alerts: list[dict[str, Any]] = []
    stream: PatientStream | None = None
    with source:
        while True:
            try:
                block = source.read(1.0)
            except EndOfStream:
                break
            if block is None:
                continue
            if stream is None:
                monitor = PatientMonitor(block.spec, Limits(), load_models())
                clock = StreamClock(block.spec.rate_hz, BEGAN)
                stream = PatientStream(block.spec, monitor, clock, Identity("golden", "golden"))
            said = stream.push(block)
            beats += said.report.beats
            alerts += msgspec.to_builtins(said.alerts)
    if stream is None:
        return None
    said = stream.finish()
    beats += said.report.beats
    alerts += msgspec.to_builtins(said.alerts)
    kept = [{k: v for k, v in alert.items() if k not in WALL_CLOCK} for alert in alerts]
    stated = [{name: getattr(beat, name) for name in MEASURED} for beat in beats]
    return {"beats": stated, "alerts": kept}


def main() -> int:
    """Write the files and their hashes; compare with an earlier run."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="folder for the files")
    parser.add_argument("--against", type=Path, help="folder of an earlier run")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--streams", nargs="+", default=STREAMS, metavar="URI", help="default: all")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    hashes: dict[str, str] = {}
    with ProcessPoolExecutor(options.jobs) as pool:
        for uri, result in zip(options.streams, pool.map(run, options.streams), strict=True):
            if result is None:
                click.echo(f"{uri}: not there", err=True)
                continue
            text = json.dumps(result, sort_keys=True).encode()
            hashes[uri] = hashlib.sha256(text).hexdigest()
            name = uri.replace("/", "-").replace(":", "-")
            with gzip.open(options.out / f"{name}.json.gz", "wb", compresslevel=4) as file:
                file.write(text)
            click.echo(
                f"{hashes[uri][:16]} {uri}: {len(result['beats'])} beats, "
                f"{len(result['alerts'])} alerts",
            )
    (options.out / "hashes.json").write_text(json.dumps(hashes, indent=1) + "\n")
    if options.against is None:
        return 0
    before = json.loads((options.against / "hashes.json").read_text())
    before = {uri: digest for uri, digest in before.items() if uri in options.streams}
    differing = [uri for uri in before if hashes.get(uri) != before[uri]]
    click.echo(f"{len(before) - len(differing)} of {len(before)} streams are identical")
    for uri in differing:
        click.echo(f"differs: {uri}")
    return 1 if differing else 0


if __name__ == "__main__":
    sys.exit(main())
