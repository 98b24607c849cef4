"""`make package-test`: install the Debian package in a clean Debian, and use it as a gateway.

Each step prints one line. The machine has systemd, so the service runs with the hardening of its
unit; the device is the simulated device of the link protocol at a serial port.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from package.machine import CannotError, Machine, wait_for
from support.vendors import Vendor
from tocsin_agent.sources.base import EndOfStream
from tocsin_agent.sources.opening import open_source

ROOT = Path(__file__).resolve().parents[2]
PORT = "/dev/ttyECG"
CONFIG = "/etc/tocsin/tocsin.toml"
PATIENT = """
name = "asystole"
rate_hz = 250
leads = ["II", "V1"]

[[segments]]
seconds = 12

[[segments]]
rhythm = "asystole"
seconds = 10

[[segments]]
seconds = 600
"""
"""The scripted patient that the simulated device plays."""
_BRIDGE = ROOT / "firmware-bridge"
_MOST_MB = 200
_MOST_IDLE_MB = 90
_GAIN = 200


def main() -> None:
    """Run all steps; exit code 1 if one fails, or if the machine cannot be made and must be."""
    package = Path(sys.argv[1])
    begun_s = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="tocsin-package-") as name:
        folder = Path(name)
        try:
            with Machine(folder) as machine:
                older, newer = repacked(package, folder, "0.0.1"), repacked(package, folder, "99.0")
                machine.make(package, more=("mosquitto",))
                shutil.copy(older, machine.root / "root/older.deb")
                shutil.copy(newer, machine.root / "root/newer.deb")
                rate_hz = simulated_device(machine.root / "opt")
                machine.boot()
                for line in steps(machine, package, rate_hz):
                    print(f"{time.monotonic() - begun_s:6.1f} s  {line}", flush=True)  # noqa: T201
        except CannotError as error:
            print(f"NOT RUN: {error}", flush=True)  # noqa: T201
            sys.exit(1 if os.environ.get("TOCSIN_REQUIRE_TOOLS") == "1" else 0)


def steps(machine: Machine, package: Path, rate_hz: float) -> Iterator[str]:
    """Do one step after the other, and yield what each has shown."""
    root, run = machine.root, machine.run
    used_mb = sum(
        file.lstat().st_size for folder in ("opt/tocsin",) for file in (root / folder).rglob("*")
    )
    used_mb //= 1024 * 1024
    assert used_mb <= _MOST_MB, f"{used_mb} MB"
    yield f"installed by apt without a download of wheels: {used_mb} MB in /opt/tocsin"

    assert run("id", "-nG", "tocsin").split() == ["tocsin", "dialout"]
    assert run("systemctl", "is-enabled", "tocsin").strip() == "enabled"
    assert run("systemctl", "is-active", "tocsin", check=False).strip() == "inactive"
    yield "user and group are made; enabled, and not started without a configuration"

    device = machine.start(
        *("/opt/simulated_device", "--csv", "/opt/patient.csv", "--rate", f"{rate_hz:g}"),
        *("--resend", "--gain", str(_GAIN), "--link", PORT, "--stay", "3600"),
    )
    wait_for(lambda: run("readlink", "-f", PORT, check=False).strip() != PORT, "the device")
    port = run("readlink", "-f", PORT).strip()
    run("chown", "root:dialout", port)
    run("chmod", "660", port)
    names = ("--site", "ward3", "--device", "bed7", "--source", f"serial:{PORT}")
    reported = run("tocsin", "setup", "--json", *names, "--broker", "127.0.0.1", "--wait", "0")
    checks = {check["name"]: check["detail"] for check in json.loads(reported)}
    assert run("stat", "-c", "%U:%G %a", CONFIG).strip() == "root:tocsin 640"
    yield f"tocsin setup, as the user tocsin: {checks['source']}; {checks['broker']}"

    run("systemctl", "start", "tocsin")
    alert = first_high_alert(machine)
    assert device.poll() is None
    yield f"device at a serial port, alert at mosquitto: {alert['code']}, {alert['text']}"

    assert run("tocsin", "health").startswith("healthy: broker online")
    pid = run("systemctl", "show", "-p", "MainPID", "--value", "tocsin").strip()
    status = run("cat", f"/proc/{pid}/status")
    idle_mb = int(status.split("VmRSS:")[1].split()[0]) // 1024
    assert "NoNewPrivs:\t1" in status
    assert "Seccomp:\t2" in status
    assert idle_mb <= _MOST_IDLE_MB, f"{idle_mb} MB"
    yield f"healthy, and hardened, as tocsin, with {idle_mb} MB resident"

    (root / "etc/default/tocsin").write_text("TOCSIN_LOG_LEVEL=debug\n")
    yield from slots(machine)
    yield from versions(machine, package)
    yield from gone(machine)


def slots(machine: Machine) -> Iterator[str]:
    """Update the agent in its slots, by root, while the hardened service runs."""
    root, run = machine.root, machine.run
    vendor = Vendor(root / "etc/tocsin")
    vendor.private_key.rename(root / "root/vendor.pem")
    run("chmod", "644", "/etc/tocsin/vendor.pub.pem")
    with (root / CONFIG[1:]).open("a") as config:
        config.write(
            '[update]\nfolder = "/var/lib/tocsin/agent"\nkeys = ["/etc/tocsin/vendor.pub.pem"]\n'
            "shadow_s = 5\nhealthy_s = 5\n"
        )
    (site,) = (root / "opt/tocsin/lib").glob("*/site-packages")
    bundle = ("--release", "7", "--expires", "2099-01-01", "--plain", "--out", "/root/new.bundle")
    run("tocsin", "update", "make", f"/{site.relative_to(root)}", *bundle)
    run("tocsin", "update", "sign", "/root/new.bundle", "--key", "/root/vendor.pem")
    run("systemctl", "restart", "tocsin")
    asked = ("systemctl", "show", "-p", "MainPID", "-p", "NRestarts", "--value", "tocsin")
    before = run(*asked)
    wait_for(lambda: run("tocsin", "health", check=False).startswith("healthy"), "it is healthy")
    run("tocsin", "update", "agent", "/root/new.bundle", timeout_s=600)
    pid = run(*asked).split()[0]
    assert "/var/lib/tocsin/agent/a/site" in run("cat", f"/proc/{pid}/cmdline")
    assert "Seccomp:\t2" in run("cat", f"/proc/{pid}/status")
    assert run("stat", "-c", "%U", "/var/lib/tocsin/agent/a/manifest.json").strip() == "tocsin"
    run("tocsin", "update", "back", timeout_s=600)
    assert run(*asked) == before, "systemd has seen one process all the time"
    yield "updated in a slot, and back, by the hardened service: one process all the time"


def versions(machine: Machine, package: Path) -> Iterator[str]:
    """Upgrade, and downgrade, while the service runs."""
    root, run = machine.root, machine.run
    for file, version in (("newer", "99.0"), ("older", "0.0.1"), (package.stem, "")):
        began_s = time.monotonic()
        run("dpkg", "--force-confold", "--install", f"/root/{file}.deb")
        assert run("systemctl", "is-active", "tocsin").strip() == "active"
        took_s = time.monotonic() - began_s
        assert not version or version in run("tocsin", "--version")
        assert (root / "etc/default/tocsin").read_text() == "TOCSIN_LOG_LEVEL=debug\n"
        assert run("test", "-s", "/var/lib/tocsin/outbox.db") == ""
        yield f"{file}.deb: again active after {took_s:.1f} s; what was changed stays"


def gone(machine: Machine) -> Iterator[str]:
    """Remove, then purge."""
    root, run = machine.root, machine.run
    run("dpkg", "--remove", "tocsin")
    assert run("systemctl", "is-active", "tocsin", check=False).strip() == "inactive"
    assert not (root / "opt/tocsin").exists()
    assert (root / "etc/tocsin/tocsin.toml").exists()
    assert (root / "etc/default/tocsin").exists()
    assert (root / "var/lib/tocsin/outbox.db").exists()
    yield "removed: the service has ended; configuration, outbox and audit trail stay"

    run("dpkg", "--purge", "tocsin")
    left = run("find", "/etc", "/opt", "/usr", "/var", "-xdev", "-path", "*tocsin*").split()
    assert not [name for name in left if not name.startswith("/var/lib/systemd")], left
    assert not run("dpkg", "--audit")
    yield "purged: nothing is left but the user"


def first_high_alert(machine: Machine) -> dict[str, str]:
    """Wait at the broker, as a team does, for an alert of high priority."""
    watch = machine.start("tocsin", "watch", "--broker", "127.0.0.1", "--json", "--timeout", "120")
    assert watch.stdout is not None
    try:
        for line in watch.stdout:
            alert: dict[str, str] = json.loads(line).get("alert", {})
            if alert.get("priority") == "high" and alert.get("phase") == "onset":
                return alert
    finally:
        watch.kill()
        watch.wait()
    log = machine.run("journalctl", "-u", "tocsin", "-n", "20", "--no-pager")
    raise AssertionError(f"no alert of high priority within 120 s:\n{log}")


def repacked(package: Path, folder: Path, version: str) -> Path:
    """Return the package with another version, also in its code."""
    content = folder / f"content-{version}"
    subprocess.run(["dpkg-deb", "--raw-extract", str(package), str(content)], check=True)
    control = content / "DEBIAN/control"
    lines = control.read_text().splitlines(keepends=True)
    control.write_text(
        "".join(f"Version: {version}\n" if line.startswith("Version:") else line for line in lines)
    )
    (module,) = content.glob("opt/tocsin/lib/*/site-packages/tocsin_agent/__init__.py")
    text = module.read_text()
    module.write_text(re.sub(r'(?m)^__version__ = ".*"$', f'__version__ = "{version}"', text))
    for compiled in (module.parent / "__pycache__").glob("__init__.*"):
        compiled.unlink()
    made = folder / f"{version}.deb"
    subprocess.run(
        ["dpkg-deb", "-Znone", "--root-owner-group", "--build", str(content), str(made)],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    shutil.rmtree(content)
    return made


def simulated_device(folder: Path) -> float:
    """Build the simulated device and its patient into a folder, and return the rate in Hz."""
    code = [*sorted((_BRIDGE / "src").glob("*.c")), *(_BRIDGE / "examples").glob("*.c")]
    include = (f"-I{_BRIDGE / 'include'}", f"-I{_BRIDGE / 'src'}", f"-I{_BRIDGE / 'examples'}")
    subprocess.run(
        ["gcc", "-O2", "-static", *include, *map(str, code), "-o", f"{folder}/simulated_device"],
        check=True,
    )
    script = folder / "patient.toml"
    script.write_text(PATIENT)
    rows = []
    with open_source(str(script), block_s=30.0) as source:
        rate_hz = source.spec.rate_hz
        while True:
            try:
                block = source.read(1.0)
            except EndOfStream:
                break
            if block is not None:
                counts = np.rint(np.nan_to_num(block.samples_mv[:, :2]) * _GAIN).astype(int)
                rows += [",".join(map(str, row)) for row in counts.tolist()]
    (folder / "patient.csv").write_text("II,V1\n" + "\n".join(rows) + "\n")
    return rate_hz


if __name__ == "__main__":
    main()
