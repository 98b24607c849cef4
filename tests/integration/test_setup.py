"""`tocsin setup` writes a configuration, checks what it names, and sends a test alert."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from support.brokers import Mosquitto, free_port, until
from support.programs import PATIENCE_S, child_environment
from tocsin_agent.cli import ExitCode
from tocsin_agent.config.config import load_config
from tocsin_agent.config.several import load_patients
from tocsin_agent.runtime.inquiry import socket_of

pytestmark = pytest.mark.broker
TOCSIN = (sys.executable, "-m", "tocsin_agent")


def setup(
    folder: Path, *arguments: str, passwords: tuple[str, ...] = ()
) -> tuple[int, dict[str, dict[str, object]]]:
    for user in passwords:
        (folder / f"{user}.password").write_text("secret")
    command = [*TOCSIN, "setup", "--json", "--config", str(folder / "tocsin.toml")]
    names: tuple[str, ...] = ("--site", "ward3", "--outbox", str(folder / "o.db"))
    if "--bed" not in arguments:
        names += ("--device", "bed7")
    done = subprocess.run(
        [*command, *names, *arguments],
        env=child_environment(),
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert done.stdout, done.stderr
    return done.returncode, {check["name"]: check for check in json.loads(done.stdout)}


def test_somebody_accepts_the_test_alert(tmp_path: Path, mosquitto: Mosquitto) -> None:
    broker = ("--broker", f"127.0.0.1:{mosquitto.port}")
    watch = subprocess.Popen(
        [*TOCSIN, "watch", *broker, "--json"],
        env=child_environment(),
        stdout=subprocess.PIPE,
        text=True,
    )
    until(lambda: mosquitto.logged(b"Sending SUBACK"), what="the watch is subscribed")
    shown, ended = list[dict[str, object]](), threading.Event()

    def accept() -> None:
        assert watch.stdout is not None
        for line in watch.stdout:
            alert = json.loads(line).get("alert", {})
            if alert.get("phase") == "onset" and alert["code"] == "asystole":
                shown.append(alert)
                answer = ("ack", str(alert["alert_id"]), "--as", "dr-k", *broker)
                while not ended.is_set():  # the device may not have listed it as open yet
                    command = [*TOCSIN, *answer]
                    done = subprocess.run(command, env=child_environment(), check=False)
                    if not done.returncode:
                        return
                return

    person = threading.Thread(target=accept, daemon=True)
    person.start()
    try:
        code, checks = setup(
            tmp_path,
            "--source",
            "synthetic:sinus",
            "--location",
            "Bed 7",
            "--home-assistant",
            *broker,
        )
    finally:
        ended.set()
        watch.terminate()
        person.join(PATIENCE_S)
        watch.communicate(timeout=PATIENCE_S)
    assert code == ExitCode.OK, checks
    assert checks["test alert"]["detail"] == "accepted by dr-k"
    assert "homeassistant/device/tocsin_ward3_bed7/config" in str(checks["home assistant"])
    assert "sinus" in str(checks["source"]["detail"])
    assert shown[0]["synthetic"] is True
    assert shown[0]["location"] == "TEST Bed 7"
    config = load_config(tmp_path / "tocsin.toml")
    assert (config.site, config.device, config.location) == ("ward3", "bed7", "Bed 7")
    assert config.mqtt.port == mosquitto.port
    assert (tmp_path / "tocsin.toml").stat().st_mode & 0o777 == 0o640


def test_what_fails_is_named_with_its_exit_code(tmp_path: Path, mosquitto: Mosquitto) -> None:
    broker = ("--broker", f"127.0.0.1:{mosquitto.port}", "--source-wait", "1", "--wait", "3")
    silent = f"udp://127.0.0.1:{free_port()}"
    code, checks = setup(tmp_path, "--source", silent, *broker)
    assert code == ExitCode.SOURCE
    assert checks["source"]["ok"] is False
    assert checks["broker"]["ok"] is True
    assert "no receiver confirmed" in str(checks["test alert"]["detail"])
    absent = ("--broker", f"127.0.0.1:{free_port()}")
    code, checks = setup(tmp_path, "--force", "--source", "synthetic:sinus", *absent)
    assert code == ExitCode.DELIVERY
    assert "test alert" not in checks
    code, checks = setup(tmp_path, "--force", "--source", "serial:", *absent)
    assert code == ExitCode.SOURCE
    until(lambda: not (tmp_path / ".tocsin.toml.new").exists())


def test_the_socket_of_a_killed_agent_is_no_running_one(
    tmp_path: Path, mosquitto: Mosquitto
) -> None:
    with socket.socket(socket.AF_UNIX) as left_behind:
        left_behind.bind(str(socket_of(tmp_path / "o.db")))
    broker = ("--broker", f"127.0.0.1:{mosquitto.port}")
    code, checks = setup(tmp_path, *broker, "--source", "synthetic", "--wait", "0")
    assert "agent" not in checks
    assert code == ExitCode.OK


def test_several_patients_are_written_and_each_is_tried(
    tmp_path: Path, mosquitto: Mosquitto
) -> None:
    code, checks = setup(
        tmp_path,
        *("--bed", "bed7=synthetic:sinus", "--bed", "bed8=tcp://127.0.0.1:1"),
        *("--username", "{device}", "--password-file", str(tmp_path / "{device}.password")),
        *("--broker", f"127.0.0.1:{mosquitto.port}", "--wait", "0", "--source-wait", "0.5"),
        passwords=("bed7", "bed8"),
    )
    beds = load_patients(tmp_path / "tocsin.toml")
    assert [(one.device, one.source.uri, one.mqtt.username) for one in beds] == [
        ("bed7", "synthetic:sinus", "bed7"),
        ("bed8", "tcp://127.0.0.1:1", "bed8"),
    ]
    assert checks["bed7: source"]["ok"]
    assert checks["bed7: broker"]["ok"]
    assert checks["bed8: broker"]["ok"]
    assert not checks["bed8: source"]["ok"], "nothing connects"
    assert code == ExitCode.SOURCE


def test_beds_that_are_one_leave_no_file(tmp_path: Path) -> None:
    beds = ("--bed", "bed7=synthetic", "--bed", "bed7=synthetic")
    command = [*TOCSIN, "setup", "--json", "--config", str(tmp_path / "t.toml"), "--site", "w"]
    done = subprocess.run(
        [*command, *beds],
        env=child_environment(),
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert done.returncode == ExitCode.CONFIGURATION
    assert "two [[patient]] have the device 'bed7'" in done.stderr
    assert list(tmp_path.iterdir()) == []


def written(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Write a configuration without a try of source, broker or alert; they are not there."""
    command = [*TOCSIN, "setup", "--json", "--config", str(folder / "t.toml"), "--wait", "0"]
    return subprocess.run(
        [
            *command,
            "--site",
            "w",
            "--source-wait",
            "0",
            "--outbox",
            str(folder / "o.db"),
            *arguments,
        ],
        env=child_environment(),
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )


@pytest.mark.parametrize("beds", [("--bed", "bed7=synthetic"), ("--device", "bed7")])
def test_the_name_of_a_device_takes_its_place_in_the_names_of_files(
    tmp_path: Path, beds: tuple[str, ...]
) -> None:
    more = () if "--bed" in beds else ("--source", "synthetic")
    files = [str(tmp_path / f"{{device}}.{kind}") for kind in ("pem", "key")]
    done = written(
        tmp_path,
        *(*beds, *more, "--broker", "127.0.0.1:9", "--tls", "--username", "{device}"),
        *("--cert-file", files[0], "--key-file", files[1]),
    )
    (config,) = load_patients(tmp_path / "t.toml")
    assert config.mqtt.tls is not None, done.stderr
    assert config.mqtt.username == "bed7"
    assert config.mqtt.tls.cert_file == str(tmp_path / "bed7.pem")
    assert config.mqtt.tls.key_file == str(tmp_path / "bed7.key")


@pytest.mark.parametrize("bed", ["bed7", "=synthetic", "a/b=synthetic", '"\n=x'])
def test_a_bed_that_is_none_is_refused_and_leaves_the_file_as_it_was(
    tmp_path: Path, bed: str
) -> None:
    (tmp_path / "t.toml").write_text("before")
    done = written(tmp_path, "--bed", bed, "--force", "--broker", "127.0.0.1:9")
    assert done.returncode in {ExitCode.USAGE, ExitCode.CONFIGURATION}, done.stdout
    assert "Traceback" not in done.stderr
    assert (tmp_path / "t.toml").read_text() == "before"
    assert [path.name for path in tmp_path.iterdir()] == ["t.toml"]


def test_a_file_that_is_there_is_used_and_that_is_said(tmp_path: Path) -> None:
    broker = ("--broker", "127.0.0.1:9")
    (tmp_path / ".t.toml.new").write_text("of a setup that was interrupted")
    (tmp_path / ".t.toml.new").chmod(0o666)
    assert "there already" not in written(tmp_path, "--bed", "bed7=synthetic", *broker).stderr
    assert (tmp_path / "t.toml").stat().st_mode & 0o777 == 0o640
    done = written(tmp_path, "--bed", "bed7=synthetic", "--bed", "bed8=synthetic", *broker)
    assert "there already and is used as it is; --force" in done.stderr
    assert [one.device for one in load_patients(tmp_path / "t.toml")] == ["bed7"]
