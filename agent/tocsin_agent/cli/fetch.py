"""`tocsin fetch`: PhysioNet records into the cache."""

from __future__ import annotations

import json
from pathlib import Path

import click

from tocsin_agent.lab.fetch import PHYSIONET_URL


@click.command()
@click.argument("names", metavar="NAME...", nargs=-1, required=True)
@click.option(
    "--cache",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder of the databases.  [default: $XDG_CACHE_HOME/tocsin/records]",
)
@click.option(
    "--mirror",
    default=PHYSIONET_URL,
    show_default=True,
    help="A server with the layout of PhysioNet.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON document on standard output.")
def command(names: tuple[str, ...], cache: Path | None, mirror: str, as_json: bool) -> None:
    """Fetch PhysioNet records into the cache.

    NAME is a record such as `mitdb/208`, or a database such as `mitdb` for all its records.
    Every file is checked against the SHA256SUMS.txt of its database. Files in the cache are kept,
    and a broken transfer continues where it broke. Each database has its own licence: see its page.
    """
    from tocsin_agent.lab.fetch import Fetcher, progress_bars

    done = []
    with progress_bars() as progress:
        fetcher = Fetcher(cache, base_url=mirror, progress=None if as_json else progress)
        for fetched in fetcher.fetch(names):
            done.append(
                {
                    "record": fetched.record,
                    "files": [str(path) for path in fetched.files],
                    "fetched_bytes": fetched.fetched_bytes,
                }
            )
            if not as_json:
                how = (
                    f"{fetched.fetched_bytes:,} bytes"
                    if fetched.fetched_bytes
                    else "in the cache before"
                )
                click.echo(f"{fetched.record}: {len(fetched.files)} files, {how}, checksums match")
    if as_json:
        click.echo(json.dumps({"cache": str(fetcher.cache), "records": done}, indent=2))
    else:
        click.echo(f"in {fetcher.cache}")
