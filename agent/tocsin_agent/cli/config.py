"""`tocsin config`: check and show a configuration."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from tocsin_agent.runtime.preflight import Problem


@click.group("config")
def command() -> None:
    """Check and show a configuration.

    \b
    tocsin config show > tocsin.toml   start from a commented file with every default
    tocsin config check tocsin.toml    check it
    tocsin config show tocsin.toml     show every value that the agent would use
    """  # noqa: D301 - \b keeps click from joining the lines


_FILE = click.Path(path_type=Path, dir_okay=False)


@command.command("check")
@click.argument("file", type=_FILE, envvar="TOCSIN_CONFIG")
@click.option("--file-only", is_flag=True, help="Check the values, not what they name.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def check(ctx: click.Context, file: Path, file_only: bool, as_json: bool) -> None:
    """Check a configuration, and what it names.

    The first wrong value is reported with its key and what is expected. Then everything is checked
    that the agent would open: the source and the packages that it needs, the certificates and the
    password of the broker, the keys of models, the place of the outbox. Nothing is written, no
    connection is made. `--file-only` leaves that out: for a service that shall start, and raise an
    alarm, although its disk is full.

    Exit codes: 0 valid, 3 not valid.
    """
    import os

    import msgspec

    from tocsin_agent.cli import ExitCode
    from tocsin_agent.config.config import config_hash
    from tocsin_agent.config.several import load_patients

    configs = load_patients(file, os.environ)
    found: list[Problem] = []
    if not file_only:
        from tocsin_agent.runtime.preflight import problems_of_all

        found = problems_of_all(configs)
    if as_json:
        shown = {
            "valid": not found,
            "problems": found,
            "configuration": config_hash(configs[0]),
            "devices": [config.device for config in configs],
        }
        click.echo(msgspec.json.encode(shown).decode())
    for problem in found:
        click.echo(f"tocsin: {file}: {problem.key}: {problem.message}", err=True)
    if found:
        ctx.exit(ExitCode.CONFIGURATION)
    if not as_json:
        for config in configs:
            click.echo(
                f"{file}: valid. Device {config.site}/{config.device}, source {config.source.uri}, "
                f"configuration {config_hash(config)[:12]}"
            )


@command.command("show")
@click.argument("file", type=_FILE, envvar="TOCSIN_CONFIG", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print JSON; needs FILE.")
def show(file: Path | None, as_json: bool) -> None:
    """Print the effective values of a configuration.

    Without FILE, print a commented file to start from.
    """
    import os

    import msgspec

    from tocsin_agent.config.page import masked, render_example, render_values
    from tocsin_agent.config.several import load_patients

    if file is None:
        if as_json:
            raise click.UsageError("--json needs a FILE, or TOCSIN_CONFIG in the environment")
        click.echo(render_example(), nl=False)
        return
    configs = load_patients(file, os.environ)
    if as_json:
        values = [masked(config) for config in configs]
        shown = values[0] if len(values) == 1 else values
        click.echo(msgspec.json.format(msgspec.json.encode(shown), indent=2))
        return
    for config in configs:
        if len(configs) > 1:
            click.echo(f"# [[patient]] {config.device}")
        click.echo(render_values(config), nl=len(configs) > 1)


@command.command("schema")
def schema() -> None:
    """Print the JSON Schema of the configuration."""
    import msgspec

    from tocsin_agent.config.config import Config

    click.echo(msgspec.json.format(msgspec.json.encode(msgspec.json.schema(Config)), indent=2))
