"""`tocsin inspect`: what a file or a device holds, and what tocsin would use of it."""

from __future__ import annotations

import logging
import shutil
from typing import TYPE_CHECKING, Any

import click

from tocsin_agent.cli import ExitCode

if TYPE_CHECKING:
    from tocsin_agent.sources.base import Content, Source
    from tocsin_dsp.signal import FloatArray, StreamSpec


@click.command()
@click.argument("uri", metavar="FILE|URI")
@click.option("--leads", help="Names of the leads to use, separated by commas.")
@click.option("--rate-hz", type=float, help="Samples per second; takes precedence over a table.")
@click.option("--unit", default="mV", show_default=True, help="mV, uV, V or counts.")
@click.option("--gain", type=float, help="Counts in a millivolt, with --unit counts.")
@click.option("--baseline", type=float, default=0.0, help="The count that stands for 0 mV.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object.")
def command(uri: str, as_json: bool, **options: Any) -> int:  # noqa: ANN401
    """Show what is in a source, what tocsin would use of it, and what looks wrong.

    FILE or URI is whatever `tocsin replay` or `tocsin run` reads: a record, a file of samples, a
    device. The first 10 s of each lead are drawn. The exit code is 4 where the source cannot be
    read.

    \b
    tocsin inspect mitdb/208
    tocsin inspect ward.csv --rate-hz 250
    tocsin inspect ward.csv --unit counts --gain 200 --baseline 1024 --json
    """  # noqa: D301 - \b keeps click from joining the lines
    from tocsin_agent.sources.files.table_options import TableOptions
    from tocsin_agent.sources.opening import kind_of, open_source
    from tocsin_agent.sources.plausibility import first_seconds

    table = TableOptions(
        options["rate_hz"], None, options["unit"], options["gain"], options["baseline"]
    )
    leads = [name.strip() for name in options["leads"].split(",")] if options["leads"] else None
    notes = _Notes()
    logging.getLogger("tocsin_agent.sources").addHandler(notes)
    logging.getLogger("tocsin_agent.sources").propagate = False
    try:
        with open_source(uri, leads=leads, table=table) as source:
            samples = first_seconds(source)
            found = _found(uri, kind_of(uri).help, source, samples, notes.lines)
    finally:
        logging.getLogger("tocsin_agent.sources").removeHandler(notes)
        logging.getLogger("tocsin_agent.sources").propagate = True
    if as_json:
        import msgspec

        click.echo(msgspec.json.encode(found))
    else:
        _print(found, samples)
    return ExitCode.OK


class _Notes(logging.Handler):
    """Keeps what a source says while it is opened."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


def _found(
    uri: str, kind: str, source: Source, samples: FloatArray, notes: list[str]
) -> dict[str, Any]:
    import numpy as np

    from tocsin_agent.sources.wiring import usual_height_mv

    spec = source.spec
    leads = []
    for column, name in enumerate(spec.leads):
        values = samples[:, column]
        height = usual_height_mv(values, spec.rate_hz)
        leads.append(
            {
                "name": name,
                "height_mv": round(height, 4) if np.isfinite(height) else None,
                "missing": round(float(np.isnan(values).mean()), 4) if len(values) else 1.0,
            }
        )
    return {
        "schema": "tocsin/inspect/v1",
        "uri": uri,
        "kind": kind,
        "stream_id": spec.stream_id,
        "rate_hz": spec.rate_hz,
        "unit": "mV" if spec.calibrated else "nominal mV (not calibrated)",
        "seconds": round(source.seconds, 3) if source.seconds is not None else None,
        "start_utc": source.start_utc.isoformat() if source.start_utc else None,
        "seconds_read": round(len(samples) / spec.rate_hz, 3),
        "leads": leads,
        "signals": [_signal(content) for content in source.contents],
        "notes": notes,
        "suspicions": _suspicions(spec, samples),
    }


def _suspicions(spec: StreamSpec, samples: FloatArray) -> list[dict[str, str]]:
    """Return what looks wrong: amplitude and wiring, then what is no ECG or has another rate."""
    from tocsin_agent.sources.likeness import no_ecg, wrong_rate
    from tocsin_agent.sources.plausibility import suspicions

    found = [{"code": s.code, "lead": s.lead, "text": s.text} for s in suspicions(spec, samples)]
    named = {suspicion["lead"] for suspicion in found}
    left = []
    for column, lead in enumerate(spec.leads):
        values = samples[:, column]
        text = no_ecg(values, spec.rate_hz)
        if text is None:
            left.append(values)
        elif lead not in named:
            found.append({"code": "no_ecg", "lead": lead, "text": text})
    rate = wrong_rate(left, spec.rate_hz)
    if rate is not None:
        found.append({"code": "check_rate", "lead": ", ".join(spec.leads), "text": rate})
    return found


def _signal(content: Content) -> dict[str, Any]:
    return {
        "name": content.name,
        "unit": content.unit or None,
        "rate_hz": content.rate_hz,
        "used": content.used,
        "reason": content.reason or None,
    }


def _length(seconds: float | None) -> str:
    if seconds is None:
        return "not stated"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"


def _print(found: dict[str, Any], samples: FloatArray) -> None:
    _print_facts(found)
    _draw([lead["name"] for lead in found["leads"]], samples)


def _print_facts(found: dict[str, Any]) -> None:
    click.echo(f"{found['uri']}: {found['kind']}")
    click.echo(f"  rate   {found['rate_hz']:g} Hz")
    click.echo(f"  unit   {found['unit']}")
    click.echo(f"  start  {found['start_utc'] or 'not stated'}")
    click.echo(f"  length {_length(found['seconds'])}")
    click.echo(f"  {'lead':<12}{'height':>12}{'missing':>10}")
    for lead in found["leads"]:
        height = "-" if lead["height_mv"] is None else f"{lead['height_mv']:.3g} mV"
        click.echo(f"  {lead['name']:<12}{height:>12}{lead['missing']:>10.0%}")
    for signal in found["signals"]:
        if not signal["used"]:
            size = f" ({signal['rate_hz']:g} Hz)" if signal["rate_hz"] else ""
            click.echo(
                f"  not used: {signal['name'] or 'a column without a name'}{size}: "
                f"{signal['reason']}"
            )
    for note in found["notes"]:
        click.echo(f"  note: {note}")
    for wrong in found["suspicions"]:
        click.echo(f"  {wrong['code']}: {wrong['lead']}: {wrong['text']}")
    if not found["suspicions"]:
        click.echo("  nothing looks wrong in the first 10 s")


def _draw(leads: list[str], samples: FloatArray) -> None:
    """Draw the samples of each lead, over its own range."""
    import numpy as np

    from tocsin_agent.team.trace import draw_trace

    width = max(40, min(shutil.get_terminal_size((100, 24)).columns, 160)) - 2
    for column, lead in enumerate(leads):
        values = samples[:, column]
        present = values[np.isfinite(values)]
        if not len(present):
            continue
        low, high = float(present.min()), float(present.max())
        middle, span = (low + high) / 2, max(high - low, 1e-6)
        click.echo(f"\n  {lead}  {low:+.3g} to {high:+.3g} mV")
        for line in draw_trace(values, width, 5, middle - span / 2, middle + span / 2):
            click.echo(f"  {line}")
