"""An update of a model at SIGHUP: no alert is lost, none is sent twice."""

from __future__ import annotations

import signal
from pathlib import Path

import msgspec
import pytest

from support.agents import Running, keys, replayed
from support.brokers import Mosquitto, Recorder, quick, until
from support.vendors import Vendor
from tocsin_agent.cli import ExitCode
from tocsin_agent.delivery.audit import MODELS, read_audit
from tocsin_agent.messages.alert import Phase
from tocsin_agent.messages.topics import Branch
from tocsin_agent.updates.store import ModelStore, verify

pytestmark = pytest.mark.broker


def test_sighup_changes_the_model_and_loses_no_alert(tmp_path: Path, mosquitto: Mosquitto) -> None:
    vendor, folder = Vendor(tmp_path), tmp_path / "models"
    more = f'[model]\nfolder = "{folder}"\npublic_key = "{vendor.public_key}"\n'
    expected = replayed("excerpt")
    with (
        Recorder(quick(mosquitto.port)) as recorder,
        Running(tmp_path, mosquitto.port, speed="30.0", more=more) as agent,
    ):
        until(lambda: len(recorder.team()) >= 1, what="the first alert")
        bad = vendor.release(folder, "bad")
        bad.with_suffix(".sig").write_bytes(bytes(64))
        agent.signal(signal.SIGHUP)
        until(lambda: "no signature" in agent.log_text(), what="the unsigned one is refused")
        path = vendor.release(folder, "good")
        agent.signal(signal.SIGHUP)
        until(lambda: "other models from sample" in agent.log_text(), what="the signed one is used")
        assert agent.ended() == ExitCode.OK, agent.log_text()
        until(lambda: b'"stopped"' in recorder.payloads(Branch.STATUS)[-1], what="all has arrived")
        stated = [msgspec.json.decode(info)["models"] for info in recorder.payloads(Branch.INFO)]
    good, team = verify(path, vendor.public_key), recorder.team()
    assert stated[-1]["beats"] == good.sha256, "the retained message names the model in use"
    assert len(stated) == 2
    used = [e.detail for e in read_audit(agent.outbox) if e.event == MODELS]
    assert [f"beats {good.sha256[:12]}" in detail for detail in used] == [False, True]
    assert sorted(keys(team)) == sorted(keys(expected)), (
        "the same model in another file: same alerts"
    )
    models = {a.evidence.model for a in team if a.phase is not Phase.END} - {None}
    assert good.id in models
    assert len(models) == 2
    assert "model_failed" not in {a.code for a in team}
    assert ModelStore(folder, vendor.public_key).state("beats").current == good.sha256[:16]


def test_health_states_the_models_in_use(tmp_path: Path, mosquitto: Mosquitto) -> None:
    vendor, folder = Vendor(tmp_path), tmp_path / "models"
    path = vendor.release(folder, "b")
    more = f'[model]\nfolder = "{folder}"\npublic_key = "{vendor.public_key}"\n'
    with (
        Recorder(quick(mosquitto.port)) as recorder,
        Running(tmp_path, mosquitto.port, speed="1.0", more=more, health_s=0.2),
    ):
        until(lambda: recorder.payloads(Branch.HEALTH), what="a health message")
        health = msgspec.json.decode(recorder.payloads(Branch.HEALTH)[-1])
    assert health["models"]["in_use"]["beats"] == verify(path, vendor.public_key).id
