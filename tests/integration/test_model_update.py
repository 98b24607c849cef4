"""A vendor updates the model of a running agent: SIGHUP, and no alert is lost or doubled."""

from __future__ import annotations

import signal
from pathlib import Path

import msgspec
import pytest

from support.agents import Running, keys, replayed
from support.brokers import Ear, Mosquitto, quick, until
from support.vendors import Vendor
from tocsin_agent.cli import ExitCode
from tocsin_agent.messages.alert import Phase
from tocsin_agent.messages.topics import Branch
from tocsin_agent.updates.store import ModelStore, verify

pytestmark = pytest.mark.broker


def test_sighup_changes_the_model_and_loses_no_alert(tmp_path: Path, mosquitto: Mosquitto) -> None:
    vendor, folder = Vendor(tmp_path), tmp_path / "models"
    more = f'[model]\nfolder = "{folder}"\npublic_key = "{vendor.public_key}"\n'
    rang = replayed("excerpt")
    with (
        Ear(quick(mosquitto.port)) as ear,
        Running(tmp_path, mosquitto.port, speed="30.0", more=more) as agent,
    ):
        until(lambda: len(ear.team()) >= 1, 20.0, "it rings")
        bad = vendor.release(folder, "bad")
        bad.with_suffix(".sig").write_bytes(bytes(64))
        agent.signal(signal.SIGHUP)
        until(lambda: "no signature" in agent.said(), 10.0, "the unsigned one is refused")
        path = vendor.release(folder, "good")
        agent.signal(signal.SIGHUP)
        until(lambda: "other models from sample" in agent.said(), 10.0, "the signed one is used")
        assert agent.ended(60.0) == ExitCode.OK, agent.said()
        stated = [msgspec.json.decode(info)["models"] for info in ear.payloads(Branch.INFO)]
    good, team = verify(path, vendor.public_key), ear.team()
    assert stated[-1]["beats"] == good.sha256, "what is retained names the model in use"
    assert len(stated) == 2
    assert sorted(keys(team)) == sorted(keys(rang)), "the same model in another file: same alerts"
    models = {a.evidence.model for a in team if a.phase is not Phase.END}
    assert good.id in models
    assert len(models) == 2
    assert "model_failed" not in {a.code for a in team}
    assert ModelStore(folder, vendor.public_key).state("beats").current == good.sha256[:16]


def test_health_tells_which_models_are_in_use(tmp_path: Path, mosquitto: Mosquitto) -> None:
    vendor, folder = Vendor(tmp_path), tmp_path / "models"
    path = vendor.release(folder, "b")
    more = f'[model]\nfolder = "{folder}"\npublic_key = "{vendor.public_key}"\n'
    with (
        Ear(quick(mosquitto.port)) as ear,
        Running(tmp_path, mosquitto.port, speed="1.0", more=more, health_s=0.2),
    ):
        until(lambda: ear.payloads(Branch.HEALTH), 20.0, "it tells its health")
        told = msgspec.json.decode(ear.payloads(Branch.HEALTH)[-1])
    assert told["models"]["in_use"]["beats"] == verify(path, vendor.public_key).id
