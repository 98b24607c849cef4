"""`make chaos`: inject faults for some minutes and print one table."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import click
import msgspec

from chaos.campaign import Outcome, run
from chaos.ledger import table

_SMALL_DISK = "64m"


@click.command()
@click.option("--seconds", type=click.FloatRange(1), default=300.0, show_default=True)
@click.option("--seed", type=int, default=1, show_default=True, help="The order of the faults.")
@click.option("--beds", type=click.IntRange(1, 16), default=4, show_default=True)
@click.option(
    "--kills",
    type=click.IntRange(0),
    default=0,
    help="Go on until agents, broker and receiver were killed this often each.",
)
@click.option("--keep", type=click.Path(path_type=Path), help="Keep all files in this new folder.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def main(
    seconds: float, seed: int, beds: int, kills: int, keep: Path | None, *, as_json: bool
) -> None:
    """Inject faults into a ward of real agents, and compare what was committed with what was shown.

    Exit code 1 if an alert was lost, shown twice, out of order or invented, or a fault was not
    seen.
    """
    with _folder(keep) as folder, _small_disk(folder) as disk:
        outcome = run(
            folder,
            seconds=seconds,
            seed=seed,
            beds=beds,
            kills=kills,
            small_disk=disk,
            progress=lambda line: click.echo(line, err=True),
        )
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(outcome)).decode())
    else:
        click.echo(_report(outcome, seconds, seed, beds))
    sys.exit(0 if outcome.held else 1)


def _report(outcome: Outcome, seconds: float, seed: int, beds: int) -> str:
    rows = [
        {
            "fault": name,
            "injected": tally.injected,
            "must be seen": tally.owed,
            "seen": tally.seen,
        }
        for name, tally in outcome.tallies.items()
    ]
    verdict = outcome.verdict
    lines = [
        f"{beds} beds, {seconds:g} s of faults, seed {seed}",
        "",
        table(rows),
        "",
        (
            f"committed {verdict.committed}, shown {verdict.shown}: {len(verdict.lost)} lost, "
            f"{len(verdict.twice)} twice, {len(verdict.disordered)} out of order, "
            f"{len(verdict.invented)} invented; {len(verdict.dropped)} of lower priority "
            f"dropped by the killed broker, {len(verdict.destroyed)} destroyed on purpose"
        ),
    ]
    for what in ("lost", "twice", "disordered", "invented", "dropped"):
        keys = getattr(verdict, what)
        lines += [f"  {what}: {alert_id}.{sequence}" for alert_id, sequence in keys[:20]]
    if not outcome.settled:
        lines.append("not settled: an episode of a patient has no end, or an alert still waits")
    lines += [f"not run: {name} (no small disk could be mounted)" for name in outcome.not_run]
    return "\n".join(lines)


@contextlib.contextmanager
def _folder(keep: Path | None) -> Iterator[Path]:
    if keep is not None:
        keep.mkdir(parents=True)
        yield keep.resolve()
        return
    with tempfile.TemporaryDirectory(prefix="tocsin-chaos-") as folder:
        yield Path(folder)


@contextlib.contextmanager
def _small_disk(folder: Path) -> Iterator[Path | None]:
    """Mount a small file system in memory, which needs root; None where that is not allowed."""
    disk = folder / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={_SMALL_DISK}", "tocsin-chaos", str(disk)]
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        yield None
        return
    try:
        yield disk
    finally:
        subprocess.run(["umount", str(disk)], check=False, capture_output=True)


if __name__ == "__main__":
    main()
