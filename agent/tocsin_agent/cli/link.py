"""`tocsin link`: for whoever builds a device."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import click

from tocsin_agent.cli import ExitCode

if TYPE_CHECKING:
    from tocsin_agent.lab.device_check import LinkReport, Received
    from tocsin_agent.sources.devices.protocol.session import Piece, Session

_MARKS = {"ok": ("ok   ", "green"), "note": ("note ", "yellow"), "wrong": ("wrong", "red")}


@click.group()
def command() -> None:
    """Check what a device sends, and say what is wrong."""


@command.command()
@click.option(
    "--port",
    "uri",
    required=True,
    help="serial:PATH?baud=921600, tcp://HOST:PORT, tls://…, udp://HOST:PORT, mqtt://HOST/TOPIC, "
    "or FILE.link.",
)
@click.option("--seconds", type=click.FloatRange(min=1.0), default=30.0, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
@click.option(
    "--report",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write the JSON document to this file, to be filed.",
)
@click.option(
    "--capture",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Keep every byte in this file (FILE.link), to be checked or replayed later.",
)
def check(
    uri: str, seconds: float, as_json: bool, report: Path | None, capture: Path | None
) -> int:
    """Listen to a device and say in plain words what its stream does wrong.

    Best with a simulator or a quiet person on the leads: thirty seconds with a dozen beats.
    Leaves with 4 if something must be mended.

    \b
    tocsin link check --port serial:/dev/ttyACM0?baud=921600
    tocsin link check --port tcp://0.0.0.0:7208 --seconds 120 --report holter-17.json
    tocsin link check --port serial:/dev/ttyACM0 --capture holter.link
    """  # noqa: D301 - \b keeps click from joining the lines
    import msgspec

    from tocsin_agent.cli.common import stopped_by_signals
    from tocsin_agent.lab.device_check import judge

    with contextlib.ExitStack() as stack:
        kept = stack.enter_context(capture.open("wb")) if capture else None
        stop, _ = stack.enter_context(stopped_by_signals())
        heard = _listen(uri, seconds, stop, kept)
    found = judge(heard)
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
    good = "nothing must be mended" if report.is_good else "see what is wrong above"
    click.echo(f"{report.seconds:g} s heard: {good}")


def _listen(uri: str, seconds: float, stop: threading.Event, kept: BinaryIO | None) -> Received:
    """Take in what the device sends, or all of a capture."""
    from tocsin_agent.lab.device_check import Received
    from tocsin_agent.sources.devices.opening import CAPTURE, WIRES
    from tocsin_agent.sources.devices.protocol.session import LinkStatistics, Session

    if uri.partition(":")[0] not in WIRES and not uri.endswith(CAPTURE):
        raise click.UsageError(f"{uri!r} does not speak the link protocol: see --help")
    heard = Received(None, LinkStatistics(), live=not uri.endswith(CAPTURE))
    turns, session, answer = (
        _live(uri, seconds, stop) if heard.live else (_stored(uri), Session(), lambda _: None)
    )
    began_s = time.monotonic()

    def take(pieces: list[Piece], now_s: float) -> None:
        for piece in pieces:
            if heard.pieces and heard.pieces[-1].spec != piece.spec:
                heard.arrivals.clear()
            heard.pieces.append(piece)
            heard.arrivals.append((piece.start_index + len(piece.samples_mv), now_s))

    for data, now_s in turns:
        if kept is not None:
            kept.write(data)
        take(session.feed(data, now_s), now_s)
        answer(session.outgoing(now_s))
    if not heard.live:
        take(session.finish(0.0), 0.0)
    heard.hello, heard.statistics = session.hello, session.statistics
    heard.seconds = time.monotonic() - began_s
    if not heard.live and session.hello is not None:
        heard.seconds = heard.statistics.samples * 1000 / session.hello.rate_mhz
    return heard


def _live(
    uri: str, seconds: float, stop: threading.Event
) -> tuple[Iterator[tuple[bytes, float]], Session, Callable[[bytes], None]]:
    from tocsin_agent.errors import SourceError, SourceFault
    from tocsin_agent.sources.devices.opening import wire_for
    from tocsin_agent.sources.devices.protocol.session import Session

    wire = wire_for(uri)
    wire.open()

    def turns() -> Iterator[tuple[bytes, float]]:
        until_s = time.monotonic() + seconds
        try:
            while (left_s := until_s - time.monotonic()) > 0 and not stop.is_set():
                try:
                    data = wire.read(min(left_s, 0.05))
                except SourceError as error:
                    if error.reason is not SourceFault.LOST:
                        raise
                    wire.open()
                    continue
                yield data, time.monotonic()
        finally:
            wire.close()

    return turns(), Session(ordered=wire.ordered), wire.write


def _stored(uri: str) -> Iterator[tuple[bytes, float]]:
    from tocsin_agent.errors import SourceError, SourceFault

    try:
        data = Path(uri).read_bytes()
    except OSError as error:
        raise SourceError(SourceFault.NOT_FOUND, f"{uri}: {error.strerror}") from error
    yield data, 0.0
