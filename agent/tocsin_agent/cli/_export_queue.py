"""`tocsin export queue`: what waits, and what was refused."""

from __future__ import annotations

from pathlib import Path

import click

from tocsin_agent.cli import ExitCode


@click.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--retry", is_flag=True, help="Send again what was refused.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def queue(file: Path, retry: bool, as_json: bool) -> int:
    """Show what a queue of `tocsin export fhir` or `hl7` with --follow holds, also while it runs.

    Exit code 5 while something is set aside.
    """
    import msgspec

    from tocsin_agent.messages.printable import clean
    from tocsin_agent.team.export.queue import Queue

    with Queue(file) as opened:
        again = opened.retry_refused() if retry else 0
        counts, aside = opened.counts(), opened.set_aside()
    if as_json:
        refused = [dict(zip(("key", "reason", "at"), one, strict=True)) for one in aside]
        click.echo(msgspec.json.encode(counts._asdict() | {"set_aside": refused}))
    else:
        click.echo(f"{counts.waiting} waiting, {counts.sent} sent, {counts.refused} refused")
        for key, reason, at in aside:
            click.echo(f"{at}  {clean(key)}: {clean(reason)}")
        if again:
            click.echo(f"{again} wait again")
    return ExitCode.DELIVERY if aside else ExitCode.OK
