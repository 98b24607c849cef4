"""The version of a slot runs with its own packages alone, and gives its place back if it fails."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from support.programs import PATIENCE_S
from tocsin_agent.runtime.launch import (
    LAUNCHER_VARIABLE,
    SLOT_VARIABLE,
    TRIED_VARIABLE,
    VersionWatch,
    command_of,
    launch,
)
from tocsin_agent.updates.probation import Condition, Probation
from tocsin_agent.updates.settings import UpdateSettings
from tocsin_agent.updates.slot_state import Trial
from tocsin_agent.updates.slots import Slots


def version(folder: Path, code: str) -> list[str]:
    """Make a slot whose `tocsin` is some code, and return its command line."""
    cli = folder / "a" / "site" / "tocsin_agent" / "cli.py"
    cli.parent.mkdir(parents=True)
    cli.with_name("__init__.py").write_text("")
    cli.write_text(f"import os, sys\ndef main():\n    {code}\n")
    return command_of(Slots(folder), "a", ("run", "--config", "x.toml"))


def ran(command: list[str], environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        env=environment,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )


def test_a_version_sees_no_other_packages_and_writes_no_compiled_files(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "numpy.py").write_text("")
    command = version(tmp_path, "import json; print(json.dumps([sys.argv, sys.path]))")
    done = ran(command, {"PYTHONPATH": str(tmp_path / "elsewhere")})
    argv, path = json.loads(done.stdout)
    assert argv == ["tocsin", "run", "--config", "x.toml"]
    assert path[0] == str(tmp_path / "a" / "site")
    assert not [one for one in path if "site-packages" in one or "elsewhere" in one or not one]
    assert not list(tmp_path.rglob("__pycache__"))


@pytest.mark.parametrize(
    ("code", "left"),
    [
        ("sys.exit(3)", True),
        ("sys.exit(2)", True),
        ("raise ValueError('no')", True),
        ("import nothing_of_that_name", True),
        ("return", False),
        ("sys.exit(0)", False),
        ("sys.exit(130)", False),
    ],
)
def test_a_version_that_is_tried_and_fails_starts_the_one_that_chooses(
    tmp_path: Path, code: str, left: bool
) -> None:
    launcher = [sys.executable, "-c", "import os; print('chosen', *sorted(os.environ))"]
    environment = {
        SLOT_VARIABLE: "a",
        TRIED_VARIABLE: "1",
        LAUNCHER_VARIABLE: json.dumps(launcher),
    }
    done = ran(version(tmp_path, code), environment)
    assert done.stdout.startswith("chosen") is left
    assert "_TOCSIN" not in done.stdout, "the launcher begins anew"
    del environment[TRIED_VARIABLE]
    again = ran(command_of(Slots(tmp_path), "a", ()), environment)
    assert again.stdout == "", "a version in use ends as the package would"


def test_the_package_runs_without_slots_and_a_launched_version_stays(tmp_path: Path) -> None:
    assert launch(UpdateSettings(), os.environ) == "package"
    settings = UpdateSettings(folder=str(tmp_path / "agent"), keys=("/none.pem",))
    assert launch(settings, {}) == "package"
    assert launch(settings, {SLOT_VARIABLE: "b"}) == "b"


def test_a_version_that_is_not_healthy_is_left_on_a_full_disk_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slots = Slots(tmp_path / "agent")
    trial = Trial("a", 7)
    slots.change(lambda state: state.trying(trial, "0.1.0").with_event("something"))
    assert slots.next_start("boot", "0.1.0", lambda _: "") == "a"
    watch = VersionWatch(
        slots,
        "a",
        healthy_s=1.0,
        condition=lambda: Condition("the monitor stands still", frozenset(), frozenset()),
        stop=lambda: None,
        record=lambda _: True,
    )
    watch._probation = Probation("a", 1.0, slots.state(), 0.0, left_after_s=0.0)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("tocsin_agent.updates.slots.replace_file", full)
        assert watch.look(), "this version ends"
        assert slots.next_start("boot", "0.1.0", lambda _: "") == "package"
    assert slots.next_start("boot", "0.1.0", lambda _: "") == "package"
    assert slots.state().trial is None
    assert "ended before it was confirmed" in slots.state().left
