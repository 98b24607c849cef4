"""The command line: one group, whose commands are imported when they are invoked."""

from __future__ import annotations

import importlib
import os
import sys
import traceback
from collections.abc import Sequence
from enum import IntEnum
from typing import Any, NoReturn

import click

from tocsin_agent import __version__, build
from tocsin_agent.errors import (
    ConfigError,
    DeliveryError,
    ExportError,
    LabError,
    MissingExtraError,
    SigningError,
    SourceError,
    UpdateError,
)
from tocsin_dsp.errors import SignalError, TocsinError
from tocsin_models.errors import ModelError


class ExitCode(IntEnum):
    """Exit code of the process; scripts and service managers may rely on it."""

    OK = 0
    UNEXPECTED = 1
    USAGE = 2
    CONFIGURATION = 3
    SOURCE = 4
    DELIVERY = 5
    MODEL = 6
    UPDATE = 7
    INTERRUPTED = 130


_BY_ERROR: tuple[tuple[type[TocsinError], ExitCode], ...] = (
    (ConfigError, ExitCode.CONFIGURATION),
    (SigningError, ExitCode.CONFIGURATION),
    (SourceError, ExitCode.SOURCE),
    (MissingExtraError, ExitCode.SOURCE),
    (LabError, ExitCode.SOURCE),
    (SignalError, ExitCode.SOURCE),
    (DeliveryError, ExitCode.DELIVERY),
    (ExportError, ExitCode.DELIVERY),
    (ModelError, ExitCode.MODEL),
    (UpdateError, ExitCode.UPDATE),
)

# Each command is the attribute `command` of `tocsin_agent.cli.NAME`, with _ for -. The one-line
# help is here so that `tocsin --help` works without importing numpy, onnxruntime or paho.
_SECTIONS = {
    "See it work": {
        "demo": "Replay a real ECG and show the alerts as a team receives them.",
        "replay": "Monitor recordings, in real time or as fast as possible.",
        "inspect": "Show what is in a source, what would be used, and what looks wrong.",
        "fetch": "Fetch PhysioNet records into the cache.",
    },
    "On a gateway": {
        "setup": "Set a gateway up: write and check its configuration, send a test alert.",
        "run": "Run the agent: monitor a source and publish alerts until stopped.",
        "health": "Ask the agent that runs on this machine how it is.",
        "config": "Check and show a configuration.",
        "link": "Check what a device sends, and report what is wrong.",
        "audit": "Print what happened to each alert, when, and by whom.",
    },
    "In a team": {
        "watch": "Show the alerts at a broker, as a team receives them.",
        "board": "Show the beds live: what is active, since when, who has it.",
        "ack": "Answer an alert: accept it, reject it, give it back, or silence its repeats.",
        "console": "Serve the page of the team: beds, alerts, live ECG, answers.",
        "presence": "Take or release the lease that says that a cardiologist is present.",
        "context": "Show or state what is known of a patient: age class, paced, known AF.",
        "trend": "Draw the trends of a patient: rate, ectopy, AF burden, ST, variability.",
        "strip": "Draw the ECG of an alert on paper, as SVG, PNG or PDF.",
        "export": "Write or send alerts and ECG in the formats of other systems.",
    },
    "Keys, models and versions": {
        "identity": "Give a gateway its key and certificate, show and renew them.",
        "key": "Make the keys that sign messages, and say whose are trusted.",
        "model": "Verify, install and roll back signed models.",
        "update": "Update the agent itself: signed, tried beside the old one, undone if it fails.",
    },
    "Judge and improve": {
        "evaluate": "Evaluate the agent on a database.",
        "ec57": "Compare annotation files by ANSI/AAMI EC57.",
        "waves": "Evaluate the delineation of P, QRS and T waves.",
        "noise-stress": "Evaluate beat detection at decreasing signal-to-noise ratios.",
        "bench": "Measure speed, latency, memory and size on this machine.",
        "card": "Write one page for the public: measured on whom, where it fails, what changed.",
        "review": "Let experts review alerts, and make training data of their answers.",
        "pool": "Share ECG with consent, under pseudonyms; check a release; revoke.",
    },
}
_COMMANDS = {name: text for section in _SECTIONS.values() for name, text in section.items()}


def _print_version(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted and not ctx.resilient_parsing:
        click.echo(f"tocsin {__version__} ({build()})")
        ctx.exit()


def exit_code_for(error: TocsinError) -> ExitCode:
    """Return the exit code for an error."""
    return next((code for kind, code in _BY_ERROR if isinstance(error, kind)), ExitCode.UNEXPECTED)


class _LazyGroup(click.Group):
    """A group that imports a command when it is invoked, and turns errors into exit codes."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return list(_COMMANDS)

    def get_command(
        self,
        ctx: click.Context,  # noqa: ARG002
        cmd_name: str,
    ) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        module = cmd_name.replace("-", "_")
        command = importlib.import_module(f"tocsin_agent.cli.{module}").command
        if not isinstance(command, click.Command):
            raise TypeError(f"tocsin_agent.cli.{cmd_name}.command is not a click command")
        return command

    def format_commands(
        self,
        ctx: click.Context,  # noqa: ARG002
        formatter: click.HelpFormatter,
    ) -> None:
        for title, commands in _SECTIONS.items():
            with formatter.section(title):
                formatter.write_dl(list(commands.items()), col_max=14)

    def main(self, args: Sequence[str] | None = None, **extra: Any) -> NoReturn:  # type: ignore[override] # noqa: ANN401
        """Run, and end the process with a documented exit code; see `ExitCode`."""
        debug = "--debug" in (sys.argv[1:] if args is None else args)
        extra["standalone_mode"] = False
        try:
            returned = super().main(args, **extra)
            code = int(returned) if isinstance(returned, int) else ExitCode.OK
        except click.Abort:
            code = ExitCode.INTERRUPTED
        except click.ClickException as error:
            error.show()
            code = ExitCode.USAGE
        except TocsinError as error:
            if debug:
                traceback.print_exc()
            click.echo(f"tocsin: {error}", err=True)
            code = exit_code_for(error)
        except Exception:  # noqa: BLE001 - a defect, to be reported with its traceback
            traceback.print_exc()
            click.echo("tocsin: an unexpected error; please report the lines above", err=True)
            code = ExitCode.UNEXPECTED
        sys.exit(code)


@click.group(
    cls=_LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="`tocsin COMMAND --help` explains a command. Exit codes: 0 ok, 1 unexpected, 2 usage, "
    "3 configuration, 4 source, 5 delivery, "
    "6 model, 7 update, 130 interrupted.",
)
@click.option("--version", is_flag=True, expose_value=False, is_eager=True,
              callback=_print_version,
              help="Show the version, and whether the monitor is compiled.")  # fmt: skip
@click.option("--debug", is_flag=True, help="Show tracebacks of errors that have a clear message.")
def cli(debug: bool) -> None:
    """Monitor an ECG where no cardiologist is present, and publish alerts over MQTT.

    \b
    tocsin demo                          see the agent at work, in 20 seconds
    tocsin replay mitdb/208 --speed max  the alerts of a record
    tocsin run --config tocsin.toml      run the agent on a gateway
    tocsin watch --broker HOST:PORT      show what a team receives
    """  # noqa: D301 - \b keeps click from joining the lines


def main() -> NoReturn:
    """Run the program `tocsin`."""
    # One patient needs one thread; a thread pool costs memory. Read when numpy is imported.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    cli.main()
