"""What a process loads, and what each folder offers: the parts of the import rules that need a run.

The rules between folders are in `pyproject.toml`, checked by import-linter.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = {"numpy", "onnxruntime", "paho", "sqlite3", "scipy", "wfdb"}

NOT_ON_A_GATEWAY = {
    *("tocsin_agent.lab", "tocsin_agent.team", "tocsin_training"),
    *("wfdb", "neurokit2", "scipy", "pandas", "sklearn", "matplotlib", "torch", "onnx"),
    *("sleepecg", "iotcore", "distributed", "serial", "bleak", "pylsl", "cryptography", "tqdm"),
}
"""What `tocsin run` of a source without an extra loads nothing of."""

_RUN = """
import atexit, sys
from pathlib import Path
atexit.register(lambda: Path(sys.argv[1]).write_text("\\n".join(sys.modules)))
from tocsin_agent.cli import cli
cli.main(sys.argv[2:])
"""

CONFIG = """
site = "ward3"
device = "bed7"
[source]
uri = "synthetic:sinus"
speed = "max"
[mqtt]
host = "127.0.0.1"
port = 9
[outbox]
path = "outbox.db"
"""


def loaded(folder: Path, *args: str, code: int = 0) -> set[str]:
    """Return the modules that a process of `tocsin` has loaded at its end."""
    listed = folder / "modules"
    command = [sys.executable, "-c", _RUN, str(listed), *args]
    ended = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=120, check=False
    )
    assert ended.returncode == code, ended.stderr
    return set(listed.read_text().splitlines())


def belonging(modules: set[str], packages: set[str]) -> set[str]:
    """Return the modules that are one of some packages, or in one."""
    return {name for name in modules if any(f"{name}.".startswith(f"{p}.") for p in packages)}


@pytest.fixture
def config(tmp_path: Path) -> Path:
    file = tmp_path / "tocsin.toml"
    file.write_text(CONFIG, encoding="utf-8")
    return file


def test_the_package_alone_loads_nothing_heavy() -> None:
    program = "import sys, tocsin_agent; print('\\n'.join(sys.modules))"
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True
    )
    assert belonging(set(ended.stdout.splitlines()), HEAVY) == set()


@pytest.mark.parametrize(("text", "code"), [(CONFIG, 0), (CONFIG + "[log]\nlevl = 1\n", 3)])
def test_config_check_loads_neither_models_nor_broker_nor_database(
    tmp_path: Path, config: Path, text: str, code: int
) -> None:
    config.write_text(text, encoding="utf-8")
    modules = loaded(tmp_path, "config", "check", str(config), code=code)
    assert belonging(modules, HEAVY - {"numpy"}) == set()


def test_run_loads_nothing_that_a_gateway_does_not_need(tmp_path: Path, config: Path) -> None:
    modules = loaded(tmp_path, "run", "--config", str(config))
    assert {"tocsin_agent.delivery.publisher", "tocsin_agent.monitor.patient"} <= modules
    assert belonging(modules, NOT_ON_A_GATEWAY) == set()


def test_config_check_needs_no_home_and_no_environment(tmp_path: Path, config: Path) -> None:
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": os.environ.get("PYTHONPATH", "")}
    command = [sys.executable, "-m", "tocsin_agent", "config", "check", str(config)]
    subprocess.run(command, cwd=tmp_path, env=environment, timeout=60, check=True)
