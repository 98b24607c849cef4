"""`tocsin model`."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner, Result

from support.vendors import Vendor
from tocsin_agent.cli import ExitCode, cli
from tocsin_agent.updates.store import ModelStore, State


@pytest.fixture
def vendor(tmp_path: Path) -> Vendor:
    return Vendor(tmp_path)


def run(*args: object) -> Result:
    return CliRunner().invoke(cli, ["model", *map(str, args)])


def test_the_command_from_signing_to_rollback(vendor: Vendor, tmp_path: Path) -> None:
    config = tmp_path / "tocsin.toml"
    config.write_text(
        'site = "s"\ndevice = "d"\n[source]\nuri = "excerpt"\n[model]\n'
        f'folder = "{tmp_path / "models"}"\npublic_key = "{vendor.public_key}"\n'
    )
    path = vendor.release(tmp_path / "b")
    path.with_suffix(".sig").unlink()
    refused = run("verify", path, "--public-key", vendor.public_key)
    assert (refused.exit_code, "beats.sig" in refused.output) == (ExitCode.MODEL, True)
    assert run("sign", path, "--key", vendor.private_key, "--release", 7).exit_code == 0
    assert "accepted" in run("verify", path, "--config", config).output
    installed = run("install", path, "--config", config, "--json")
    assert installed.exit_code == 0, installed.output
    stated = msgspec.json.decode(installed.output)
    shown = msgspec.json.decode(run("show", "--config", config, "--json").output)
    assert shown["beats"]["in_use"] == stated["id"]
    assert shown["vf"]["installed"] is None
    assert stated["id"] in run("show", "--config", config).output
    assert "shipped" in run("rollback", "beats", "--config", config).output
    assert run("rollback", "beats", "--config", config).exit_code == ExitCode.MODEL
    assert ModelStore(tmp_path / "models", vendor.public_key).state("beats") == State(
        left=(stated["sha256"][:16],), newest=7
    )
    older = vendor.release(tmp_path / "older", "older", card=lambda card: card.update(release=6))
    assert run("install", older, "--config", config).exit_code == ExitCode.MODEL
    assert run("install", older, "--config", config, "--older").exit_code == 0
    assert run("rollback", "af", "--config", config).exit_code == ExitCode.MODEL


def test_without_a_key_every_model_is_refused(vendor: Vendor, tmp_path: Path) -> None:
    path, config = vendor.release(tmp_path / "b"), tmp_path / "tocsin.toml"
    config.write_text('site = "s"\ndevice = "d"\n[source]\nuri = "excerpt"\n')
    for command in ("install", "verify"):
        refused = run(command, path, "--config", config)
        assert refused.exit_code == ExitCode.CONFIGURATION
        assert "public_key" in refused.output
    config.write_text(config.read_text() + '[model]\nfolder = "models"\n')
    refused = run("install", path, "--config", config)
    assert refused.exit_code == ExitCode.CONFIGURATION
    assert "folder without public_key" in refused.output
