"""`tocsin health`: ask the agent that runs on this machine how it is."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.option(
    "--config",
    "file",
    type=click.Path(path_type=Path, dir_okay=False),
    envvar="TOCSIN_CONFIG",
    default=Path("/etc/tocsin/tocsin.toml"),
    show_default=True,
    help="The file that the agent runs with; also from the environment, TOCSIN_CONFIG.",
)
@click.option(
    "--folder",
    type=click.Path(path_type=Path, file_okay=False),
    default=None,
    help="The agent's working directory, if outbox.path is relative.  [default: /var/lib/tocsin "
    "if the outbox is there, else this one]",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON: the health message, too.")
def command(file: Path, folder: Path | None, as_json: bool) -> int:
    """Ask the agent that runs on this machine how it is.

    It is healthy while monitoring and delivery turn, and samples flow or `source_lost` is raised. A
    broker that cannot be reached is stated, and is no reason to start the agent again: alerts wait
    in its outbox.

    Exit codes: 0 healthy; 1 not healthy, or no agent answers.
    """
    import os

    import msgspec

    from tocsin_agent.cli import ExitCode
    from tocsin_agent.cli.common import outbox_folder
    from tocsin_agent.config.several import common_outbox, load_patients
    from tocsin_agent.errors import DeliveryError
    from tocsin_agent.runtime.inquiry import Answer, inquire

    outbox = common_outbox(load_patients(file, os.environ))
    found = (folder if folder is not None else outbox_folder(outbox)) / outbox
    try:
        answer = inquire(found)
    except DeliveryError as error:
        answer = Answer(healthy=False, why=str(error), health=None)
    if as_json:
        click.echo(msgspec.json.encode(answer).decode())
    elif answer.healthy:
        health = answer.health or {}
        for device, one in (health if "state" not in health else {"": health}).items():
            name = f"{device}: " if device else ""
            click.echo(
                f"{name}healthy: broker {one.get('state')}, {one.get('pending')} alerts wait"
            )
    else:
        click.echo(f"not healthy: {answer.why}", err=True)
    return ExitCode.OK if answer.healthy else ExitCode.UNEXPECTED
