"""`tocsin config`: check and show a configuration."""

from __future__ import annotations

from pathlib import Path

import click


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
def check(file: Path) -> None:
    """Check a configuration.

    The first error is reported with its key, its value and what is expected.
    """
    from tocsin_agent.config.config import config_hash, load_config

    config = load_config(file)
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
    import msgspec

    from tocsin_agent.config.config import load_config
    from tocsin_agent.config.page import masked, render_example, render_values

    if file is None:
        if as_json:
            raise click.UsageError("--json needs a FILE, or TOCSIN_CONFIG in the environment")
        click.echo(render_example(), nl=False)
        return
    config = load_config(file)
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(masked(config)), indent=2))
    else:
        click.echo(render_values(config), nl=False)


@command.command("schema")
def schema() -> None:
    """Print the JSON Schema of the configuration."""
    import msgspec

    from tocsin_agent.config.config import Config

    click.echo(msgspec.json.format(msgspec.json.encode(msgspec.json.schema(Config)), indent=2))
