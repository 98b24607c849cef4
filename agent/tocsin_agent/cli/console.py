"""`tocsin console`: serves the page of the team, and keeps the file of its people."""

from __future__ import annotations

import logging
import secrets
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tocsin_agent.cli import ExitCode

if TYPE_CHECKING:
    from tocsin_agent.team.console.settings import ConsoleSettings

_FILE = click.Path(path_type=Path, dir_okay=False)
_EXTRA = ("starlette", "uvicorn", "websockets", "argon2")


@click.group("console", invoke_without_command=True)
@click.option(
    "--config",
    "config_file",
    type=_FILE,
    default=None,
    help="TOML file of the console, see docs/console.md.",
)
@click.pass_context
def command(context: click.Context, config_file: Path | None) -> int:
    """Serve one page for a wall, a desk and a phone: beds, alerts, live ECG, answers.

    \b
    tocsin console user add people.toml dr-k --role cardiologist
    tocsin console --config console.toml
    """  # noqa: D301 - \b keeps click from joining the lines
    if context.invoked_subcommand is not None:
        return ExitCode.OK
    if config_file is None:
        raise click.UsageError("--config FILE expected; see docs/console.md")
    settings = _load(config_file)
    need_extra()
    from tocsin_agent.team.console.app import Console
    from tocsin_agent.team.console.serve import Server

    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr
    )
    server = Server(Console(settings))

    def say() -> None:
        click.echo(f"The console is at {server.url}")
        sys.stdout.flush()

    server.run(say)
    return ExitCode.OK


def _load(file: Path) -> ConsoleSettings:
    from tocsin_agent.config.config import load_settings
    from tocsin_agent.errors import ConfigError
    from tocsin_agent.team.console.settings import ConsoleSettings
    from tocsin_agent.team.language import available

    settings = load_settings(file, ConsoleSettings)
    if settings.people.file is None and settings.people.proxy is None:
        raise ConfigError(f"{file}: nobody can log in: give people.file or people.proxy")
    if settings.language not in available():
        raise ConfigError(f"{file}: `language` is one of {', '.join(available())}")
    return settings


def need_extra() -> None:
    """Refuse to go on without the extra, and say how to install it."""
    from tocsin_agent.extras import import_extra

    for module in _EXTRA:
        import_extra(module, "console", "the console")


@command.group("user")
def user() -> None:
    """Add, list and remove the people who may log in; a running console reads the file again."""


@user.command("add")
@click.argument("file", type=_FILE)
@click.argument("name")
@click.option(
    "--role",
    type=click.Choice(["viewer", "responder", "cardiologist", "admin"]),
    default="viewer",
    show_default=True,
)
@click.option("--language", default="", help="en, de or fr.")
@click.option("--generate", is_flag=True, help="Make a password, and print it once.")
def add(file: Path, name: str, role: str, language: str, *, generate: bool) -> None:
    """Add a person to FILE, or give one another role or password, which is asked for."""
    need_extra()
    import msgspec

    from tocsin_agent.team.console.people import (
        User,
        check_name,
        hash_password,
        read_people,
        write_people,
    )
    from tocsin_agent.team.language import available

    if language and language not in available():
        raise click.UsageError(f"--language: one of {', '.join(available())}")
    people = read_people(file)
    check_name(name)
    if generate:
        password = secrets.token_urlsafe(15)
        click.echo(password)
    else:
        password = click.prompt("Password", hide_input=True, confirmation_prompt=True)
    added = msgspec.convert(
        {"role": role, "password": hash_password(password), "language": language}, User
    )
    write_people(file, people | {name: added})
    click.echo(f"{file}: {name} is {role}", err=True)


@user.command("list")
@click.argument("file", type=_FILE)
def show(file: Path) -> None:
    """List the people of FILE."""
    need_extra()
    from tocsin_agent.team.console.people import read_people

    for name, person in sorted(read_people(file).items()):
        click.echo(f"{name}  {person.role}  {person.language}".rstrip())


@user.command("remove")
@click.argument("file", type=_FILE)
@click.argument("name")
def remove(file: Path, name: str) -> None:
    """Remove a person from FILE: their logins end at once."""
    need_extra()
    from tocsin_agent.errors import ConfigError
    from tocsin_agent.team.console.people import read_people, write_people

    people = read_people(file)
    if name not in people:
        raise ConfigError(f"{file}: there is no {name!r}")
    del people[name]
    write_people(file, people)
    click.echo(f"{file}: {name} is removed", err=True)
