"""The agent is updated while it monitors: a real bundle, a real broker, real processes.

The version in the bundle is this code, with its packages, run from its slot alone.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from support.agent_bundles import bundle, site
from support.agents import Running, keys
from support.brokers import Mosquitto, Recorder, free_port, quick, until
from support.live_device import LiveDevice
from support.programs import PATIENCE_S, child_environment
from support.vendors import Vendor
from tocsin_agent.cli import ExitCode
from tocsin_agent.delivery.audit import VERSION, read_audit
from tocsin_agent.messages.alert import Key
from tocsin_agent.updates.slot_state import PACKAGE
from tocsin_agent.updates.slots import Slots

pytestmark = pytest.mark.broker

PATIENT = """
name = "patient"
rate_hz = 250
leads = ["II", "V1"]
segments = [{ seconds = 10 }, { seconds = 8, rhythm = "asystole" }, { seconds = 2 }]
"""


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("tree")
    yield site(folder)
    shutil.rmtree(folder)


class Bed:
    """A gateway with an agent that runs, and the commands of a person there."""

    def __init__(self, folder: Path, port: int, uri: str, shadow_s: float) -> None:
        (folder / "keys").mkdir()
        self.vendor = Vendor(folder / "keys")
        self.slots = Slots(folder / "agent")
        self.config = folder / "tocsin.toml"
        self.running = Running(
            folder,
            port,
            uri=uri,
            more=f'[update]\nfolder = "{self.slots.folder}"\n'
            f'keys = ["{self.vendor.public_key}"]\nshadow_s = {shadow_s}\nhealthy_s = 2\n',
            environment=child_environment(),
        )

    def tocsin(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "tocsin_agent", *arguments, "--config", str(self.config)],
            env=child_environment(),
            capture_output=True,
            text=True,
            timeout=3 * PATIENCE_S,
            check=False,
        )

    def version(self) -> str:
        """Return the slot of the process that runs."""
        command = Path(f"/proc/{self.running.process.pid}/cmdline").read_bytes()
        found = [slot for slot in ("a", "b") if f"/agent/{slot}/site".encode() in command]
        return found[0] if found else PACKAGE

    def versions(self) -> str:
        """Return what the audit trail has on versions."""
        found = [e.detail for e in read_audit(self.running.outbox) if e.event == VERSION]
        return "\n".join(found)


def started(bed: Bed) -> str:
    """Return the version that was chosen, once it runs."""
    state = bed.slots.state()
    known = state.trial is None or state.trial.starts > 0
    return state.running if known and state.running == bed.version() else ""


def asystoles(recorder: Recorder) -> int:
    return len([alert for alert in recorder.team() if alert.code == "asystole"])


def spoil(tree: Path, folder: Path, module: str, change: Callable[[str], str]) -> Path:
    """Return a copy of a version in which one module is another."""
    shutil.copytree(tree, folder, copy_function=os.link)
    path = folder / "tocsin_agent" / module
    for compiled in (path.parent / "__pycache__").glob(f"{path.stem}.*"):
        compiled.unlink()
    text = path.read_text()
    path.unlink()  # it is a link
    path.write_text(change(text))
    return folder


def test_an_update_is_compared_tried_and_kept_and_no_alert_is_lost(
    tmp_path: Path, mosquitto: Mosquitto, tree: Path
) -> None:
    """A device that one process can read sends all the time."""
    new, port, patient = tmp_path / "new.bundle", free_port(), tmp_path / "patient.toml"
    patient.write_text(PATIENT)
    bed = Bed(tmp_path, mosquitto.port, f"tcp://127.0.0.1:{port}", shadow_s=6)
    with (
        Recorder(quick(mosquitto.port)) as recorder,
        LiveDevice(port, str(patient)) as device,
        bed.running as agent,
    ):
        bundle(tree, new, bed.vendor.private_key, release=3)
        until(lambda: asystoles(recorder), what="an alert of the package")
        done = bed.tocsin("update", "agent", str(new))
        assert done.returncode == ExitCode.OK, done.stderr + agent.log_text()
        assert "compared on samples of bed7 and a scripted patient" in done.stderr
        assert "no difference" in done.stderr
        assert bed.version() == "a"
        assert agent.process.poll() is None, "the same process"
        before = asystoles(recorder)
        until(lambda: asystoles(recorder) > before + 1, what="alerts of the new version")
        state = json.loads(bed.tocsin("update", "status", "--json").stdout)
        assert (state["confirmed"], state["previous"], state["newest"]) == ("a", PACKAGE, 3)
        assert state["unusable"] == {"a": ""}

        # It passes the comparison, fails at work, and gives its place back by itself.
        broken = spoil(
            tree,
            tmp_path / "broken",
            "cli/run.py",
            lambda text: text.replace("gateway.run(stop)", "raise OSError"),
        )
        bundle(broken, new, bed.vendor.private_key, release=4)
        done = bed.tocsin("update", "agent", str(new))
        assert done.returncode == ExitCode.UPDATE, done.stderr
        assert "ended before it was confirmed; a is in use again" in done.stderr
        until(lambda: bed.tocsin("health").returncode == ExitCode.OK, what="a is healthy again")
        assert bed.version() == "a"

        done = bed.tocsin("update", "back")
        assert done.returncode == ExitCode.OK, done.stderr
        assert bed.version() == PACKAGE
        until(lambda: "package (release 0) is kept" in bed.versions(), what="it is recorded")
        device.stopped_alarming.set()
        until(lambda: agent.pending() == 0, what="everything is sent")
        agent.signal(signal.SIGTERM)
        assert agent.ended() == ExitCode.OK

        def committed() -> set[Key]:
            found = (e for e in read_audit(agent.outbox) if e.event == "committed")
            return {(str(e.alert_id), e.sequence or 0) for e in found}

        until(
            lambda: set(keys(recorder.team())) == committed(),
            what="what was committed has arrived, and nothing else",
        )
    for text in ("runs, in package", "runs, in a", "compared on samples", "a (release 3) is kept"):
        assert text in bed.versions()


def test_a_version_that_misses_alarms_is_refused_and_none_of_its_alerts_is_sent(
    tmp_path: Path, mosquitto: Mosquitto, tree: Path
) -> None:
    deaf = spoil(
        tree,
        tmp_path / "deaf",
        "monitor/rhythm/rate.py",
        lambda text: text.replace("limits.bradycardia_beats,", "1000 + limits.bradycardia_beats,"),
    )
    new = tmp_path / "new.bundle"
    bed = Bed(tmp_path, mosquitto.port, "synthetic:sinus", shadow_s=3)
    with Recorder(quick(mosquitto.port)) as recorder, bed.running:
        bundle(deaf, new, bed.vendor.private_key, release=1)
        until(lambda: bed.tocsin("health").returncode == ExitCode.OK, what="the agent is healthy")
        done = bed.tocsin("update", "agent", str(new))
        assert done.returncode == ExitCode.UPDATE, done.stderr
        assert "scripted: extreme_bradycardia" in done.stderr
        assert "is missing" in done.stderr
        assert bed.version() == PACKAGE
        assert not bed.slots.path("a").exists()
        until(lambda: "is missing" in bed.versions(), what="the audit trail has it")
        assert recorder.team() == [], "the scripted patient was for nobody"


def test_a_version_that_is_killed_while_it_is_tried_gives_way_at_the_next_start(
    tmp_path: Path, mosquitto: Mosquitto, tree: Path
) -> None:
    new = tmp_path / "new.bundle"
    bed = Bed(tmp_path, mosquitto.port, "synthetic:sinus", shadow_s=0)
    bundle(tree, new, bed.vendor.private_key, release=1)
    with bed.running as agent:
        agent.process.kill()
        agent.ended()
        done = bed.tocsin("update", "agent", str(new))
        assert done.returncode == ExitCode.UPDATE
        assert "--offline" in done.stderr, "no agent runs: what can be done is said"
        done = bed.tocsin("update", "agent", str(new), "--offline")
        assert done.returncode == ExitCode.OK, done.stderr
        for expected in ("a", PACKAGE):
            agent.start_again()
            until(lambda: started(bed) == expected, what=f"{expected} runs")  # noqa: B023
            agent.process.kill()
            agent.ended()
        assert "ended before" in bed.slots.state().left
