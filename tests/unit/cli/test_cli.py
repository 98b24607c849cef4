from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from tocsin_agent import __version__, build
from tocsin_agent.cli import _COMMANDS, ExitCode, cli
from tocsin_agent.errors import (
    ConfigError,
    DeliveryError,
    DeliveryFault,
    MissingExtraError,
    SourceError,
    SourceFault,
)
from tocsin_dsp.errors import SignalError, SignalFault, TocsinError
from tocsin_models.errors import ModelError, ModelFault

ROOT = Path(__file__).parents[3]


def tocsin(*args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tocsin_agent", *args],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        cwd=ROOT,
    )


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ConfigError("x"), ExitCode.CONFIGURATION),
        (SourceError(SourceFault.NOT_FOUND, "x"), ExitCode.SOURCE),
        (SignalError(SignalFault.RATE, "x"), ExitCode.SOURCE),
        (MissingExtraError("replay", "x"), ExitCode.SOURCE),
        (DeliveryError(DeliveryFault.TLS, "x"), ExitCode.DELIVERY),
        (ModelError(ModelFault.HASH, "x"), ExitCode.MODEL),
        (TocsinError("x"), ExitCode.UNEXPECTED),
        (click.UsageError("x"), ExitCode.USAGE),
        (KeyboardInterrupt(), ExitCode.INTERRUPTED),
    ],
)
def test_each_error_has_its_exit_code_and_no_traceback(
    monkeypatch: pytest.MonkeyPatch, error: BaseException, code: ExitCode
) -> None:
    def fail() -> None:
        raise error

    monkeypatch.setattr(cli, "get_command", lambda *_: click.Command("x", callback=fail))
    result = CliRunner().invoke(cli, ["x"])
    assert result.exit_code == code
    assert "Traceback" not in result.stderr
    if isinstance(error, TocsinError):
        assert result.stderr == "tocsin: x\n"


def test_a_defect_shows_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(cli, "get_command", lambda *_: click.Command("x", callback=fail))
    result = CliRunner().invoke(cli, ["x"])
    assert result.exit_code == ExitCode.UNEXPECTED
    assert "ZeroDivisionError" in result.stderr


def test_debug_shows_the_traceback_of_a_clear_error(tmp_path: Path) -> None:
    args = ["config", "check", str(tmp_path / "none")]
    plain, debug = CliRunner().invoke(cli, args), CliRunner().invoke(cli, ["--debug", *args])
    assert plain.exit_code == debug.exit_code == ExitCode.CONFIGURATION
    assert "Traceback" not in plain.stderr
    assert "Traceback" in debug.stderr


def test_help_and_version_import_nothing_heavy() -> None:
    program = (
        "import sys\n"
        "from tocsin_agent.cli import cli\n"
        "try: cli.main(['--help'])\n"
        "except SystemExit as leave: code = leave.code\n"
        "heavy = {'numpy', 'onnxruntime', 'paho', 'msgspec', 'sqlite3'} & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else code)\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=300, check=False
    )
    assert result.returncode == 0, result.stderr
    assert all(name in result.stdout for name in _COMMANDS)
    assert tocsin("--version").stdout == f"tocsin {__version__} ({build()})\n"


def test_unknown_command_is_a_usage_error() -> None:
    result = tocsin("unknown")
    assert result.returncode == ExitCode.USAGE
    assert "No such command 'unknown'" in result.stderr


def test_config_commands(tmp_path: Path) -> None:
    example = tmp_path / "tocsin.toml"
    example.write_text(tocsin("config", "show").stdout, encoding="utf-8")
    checked = tocsin("config", "check", str(example))
    assert checked.returncode == 0
    assert "valid" in checked.stdout
    shown = tocsin("config", "show", str(example), "--json")
    assert json.loads(shown.stdout)["site"] == "clinic-north"
    assert json.loads(tocsin("config", "schema").stdout)["$defs"]["Config"]["properties"]
    assert tocsin("config", "show", "--json").returncode == ExitCode.USAGE


def test_wrong_configuration_is_one_line_and_its_code(tmp_path: Path) -> None:
    wrong = tmp_path / "t.toml"
    wrong.write_text("sight = 1", encoding="utf-8")
    result = tocsin("config", "check", str(wrong))
    assert result.returncode == ExitCode.CONFIGURATION
    assert result.stderr == f"tocsin: {wrong}: unknown key `sight`; did you mean `site`?\n"


def test_a_lease_that_no_agent_would_believe_is_not_offered() -> None:
    for command in ("take", "release"):
        result = tocsin("presence", command, "--site", "s", "--id", "")
        assert result.returncode == ExitCode.USAGE
        assert "the id has 0 characters" in result.stderr
