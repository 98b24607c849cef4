"""`tocsin link`: for those who build a device."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tocsin_agent.cli import ExitCode
from tocsin_agent.sources.opening import KINDS, describe_kinds, kind_of

if TYPE_CHECKING:
    from tocsin_agent.lab.device_check import LinkReport

LINK_KINDS = [kind for kind in KINDS if kind.speaks_link_protocol]
_MARKS = {"ok": ("ok   ", "green"), "note": ("note ", "yellow"), "wrong": ("wrong", "red")}


@click.group()
def command() -> None:
    """Check what a device sends, and report what is wrong."""


@command.command()
@click.option(
    "--port",
    "uri",
    required=True,
    help="A device or a capture: "
    + ", ".join(form for kind in LINK_KINDS for form in kind.forms)
    + ".",
)
@click.option("--seconds", type=click.FloatRange(min=1.0), default=30.0, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
@click.option(
    "--report",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Also write the JSON document to this file.",
)
@click.option(
    "--capture",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Copy every byte to this file (FILE.link), to check or replay it later.",
)
def check(
    uri: str, seconds: float, as_json: bool, report: Path | None, capture: Path | None
) -> int:
    """Receive the stream of a device and report what is wrong with it.

    Best with a simulator or a person at rest on the leads, for thirty seconds or more.
    The exit code is 4 if something must be fixed.

    \b
    tocsin link check --port serial:/dev/ttyACM0?baud=921600
    tocsin link check --port tcp://0.0.0.0:7208 --seconds 120 --report holter-17.json
    tocsin link check --port serial:/dev/ttyACM0 --capture holter.link
    """  # noqa: D301 - \b keeps click from joining the lines
    import msgspec

    from tocsin_agent.cli.common import stopped_by_signals
    from tocsin_agent.lab.device_check import judge, receive_capture, receive_live

    kind = kind_of(uri)
    if not kind.speaks_link_protocol:
        raise click.UsageError(
            f"{uri!r} does not speak the link protocol; {describe_kinds(LINK_KINDS)}"
        )
    with contextlib.ExitStack() as stack:
        copy = stack.enter_context(capture.open("wb")) if capture else None
        stop, _ = stack.enter_context(stopped_by_signals())
        received = (
            receive_live(kind.wire(uri), seconds, stop, copy)
            if kind.wire is not None
            else receive_capture(Path(uri).expanduser())
        )
    found = judge(received)
    document = msgspec.json.format(msgspec.json.encode(found), indent=2)
    if report is not None:
        report.write_bytes(document + b"\n")
    if as_json:
        click.echo(document)
    else:
        _print(found)
    return ExitCode.OK if found.is_good else ExitCode.SOURCE


def _print(report: LinkReport) -> None:
    if report.device is not None:
        leads = ", ".join(report.leads)
        click.echo(f"{report.device} ({report.firmware}): {leads} at {report.rate_hz:g} Hz")
    for finding in report.findings:
        mark, colour = _MARKS[finding.level]
        click.echo(f"{click.style(mark, fg=colour, bold=True)}  {finding.text}")
    good = "nothing to fix" if report.is_good else "fix what is marked wrong above"
    click.echo(f"{report.seconds:g} s received: {good}")
