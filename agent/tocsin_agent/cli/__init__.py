"""The command line: one group, its commands imported only when they are asked for."""

from __future__ import annotations

import importlib
import os
import sys
import traceback
from collections.abc import Sequence
from enum import IntEnum
from typing import Any, NoReturn

import click

from tocsin_agent import __version__
from tocsin_agent.errors import ConfigError, DeliveryError, MissingExtraError, SourceError
from tocsin_dsp.errors import SignalError, TocsinError
from tocsin_models.errors import ModelError


class ExitCode(IntEnum):
    """What the process leaves behind; scripts and service managers may rely on it."""

    OK = 0
    UNEXPECTED = 1
    USAGE = 2
    CONFIGURATION = 3
    SOURCE = 4
    DELIVERY = 5
    MODEL = 6
    INTERRUPTED = 130


_BY_ERROR: tuple[tuple[type[TocsinError], ExitCode], ...] = (
    (ConfigError, ExitCode.CONFIGURATION),
    (SourceError, ExitCode.SOURCE),
    (MissingExtraError, ExitCode.SOURCE),
    (SignalError, ExitCode.SOURCE),
    (DeliveryError, ExitCode.DELIVERY),
    (ModelError, ExitCode.MODEL),
)

# Each command is an attribute `command` of `tocsin_agent.cli.NAME`, with _ for -. Its one-line help
# stands here so that `tocsin --help` answers without importing numpy, onnxruntime or paho.
_COMMANDS = {
    "demo": "See it work: a real ECG, a broker and a team's screen, all in here.",
    "replay": "Run recordings through the monitor, paced or as fast as it goes.",
    "run": "Be the agent: watch a source and ring until stopped.",
    "watch": "Show the alerts at a broker as a team reads them.",
    "presence": "Say that a cardiologist is here, or has left.",
    "link": "Check what a device sends, and say what is wrong.",
    "fetch": "Fetch PhysioNet records into the cache.",
    "model": "Check, install and take back models that a vendor signs.",
    "config": "Check, show and describe a configuration.",
    "evaluate": "Run the agent over a database and judge it.",
    "ec57": "Judge annotation files as ANSI/AAMI EC57 asks.",
    "waves": "Judge how well P, QRS and T waves are delineated.",
    "noise-stress": "Hear how well beats are found as noise grows.",
    "bench": "Measure speed, latency and weight on this machine.",
}


def exit_code_for(error: TocsinError) -> ExitCode:
    """Return the exit code that an error of the tree leaves behind."""
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
            raise TypeError(f"tocsin_agent.cli.{cmd_name}.command is no click command")
        return command

    def format_commands(
        self,
        ctx: click.Context,  # noqa: ARG002
        formatter: click.HelpFormatter,
    ) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(_COMMANDS.items()))

    def main(self, args: Sequence[str] | None = None, **extra: Any) -> NoReturn:  # type: ignore[override] # noqa: ANN401
        """Run, and leave with a documented exit code; see `ExitCode`."""
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
        except Exception:  # noqa: BLE001 - a defect: its traceback is what a report needs
            traceback.print_exc()
            click.echo("tocsin: this should not have happened; please report the above", err=True)
            code = ExitCode.UNEXPECTED
        sys.exit(code)


@click.group(
    cls=_LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Exit codes: 0 ok, 1 unexpected, 2 usage, 3 configuration, 4 source, 5 delivery, "
    "6 model, 130 interrupted.",
)
@click.version_option(__version__, prog_name="tocsin", message="%(prog)s %(version)s")
@click.option("--debug", is_flag=True, help="Show tracebacks of errors that have a clear message.")
def cli(debug: bool) -> None:
    """Listen to an ECG where no cardiologist is, and ring when it matters.

    \b
    tocsin demo                          see it work, in twenty seconds
    tocsin replay mitdb/208 --speed max  what would have rung in this record
    tocsin run --config tocsin.toml      be the agent on a gateway
    tocsin watch --broker HOST:PORT      what a team sees
    """  # noqa: D301 - \b keeps click from joining the lines


def main() -> NoReturn:
    """Enter the program `tocsin`."""
    # One patient needs one thread, and on a gateway a pool of them costs memory: before numpy.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    cli.main()
