"""A Debian on this machine: a root from the package sources of the machine, booted by systemd.

It needs root, mmdebstrap, and a kernel that gives namespaces. No package source is written down
here: those of this machine are used, with the options that its apt has.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Self

PATIENCE_S = 120.0
RELEASE = "bookworm"
_APT = Path("/etc/apt")
_INCLUDED = "systemd,systemd-sysv,dbus,init-system-helpers"
_BOOT = r"""
set -e
root=$1
mount --make-rprivate /
mount --bind "$root" "$root"
mount -t proc proc "$root/proc"
mount -t sysfs -o ro sysfs "$root/sys"
groups=$root/sys/fs/cgroup
if [ -e /sys/fs/cgroup/cgroup.controllers ]; then
  mount -t cgroup2 cgroup2 "$groups"
else
  mount -t tmpfs -o mode=755 tmpfs "$groups"
  mkdir "$groups"/unified "$groups"/systemd "$groups"/devices
  mount -t cgroup2 cgroup2 "$groups/unified"
  mount -t cgroup -o none,name=systemd cgroup "$groups/systemd"
  mount -t cgroup -o devices cgroup "$groups/devices"
fi
mount -t tmpfs tmpfs "$root/run"
mount -t tmpfs -o mode=755 tmpfs "$root/dev"
for name in null zero full random urandom tty; do
  touch "$root/dev/$name"
  mount --bind "/dev/$name" "$root/dev/$name"
done
mkdir "$root/dev/pts" "$root/dev/shm"
mount -t devpts -o newinstance,ptmxmode=666 devpts "$root/dev/pts"
ln -s pts/ptmx "$root/dev/ptmx"
ip link set lo up || true
mkdir -p "$root/before"
cd "$root"
pivot_root . before
umount -l /before
exec env -i container=other PATH=/usr/sbin:/usr/bin:/sbin:/bin \
  /lib/systemd/systemd --unit=multi-user.target --show-status=no
"""


class CannotError(Exception):
    """This machine cannot make or boot a Debian; says why."""


class Machine:
    """A booted Debian; a context manager that ends it and removes its files.

    Parameters
    ----------
    folder : Path
        An empty folder for its files.
    """

    def __init__(self, folder: Path) -> None:
        self.root = folder / "root"
        self._log = folder / "boot.log"
        self._process: subprocess.Popen[bytes] | None = None
        self._first = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._first:
            os.kill(self._first, signal.SIGKILL)  # every process of its namespace ends with it
        if self._process is not None:
            self._process.wait(PATIENCE_S)

    def make(self, *packages: Path, more: tuple[str, ...] = ()) -> None:
        """Make a clean Debian and install packages in it by apt, as an administrator does."""
        program = shutil.which("mmdebstrap")
        if program is None or os.geteuid() != 0:
            raise CannotError("a Debian cannot be made here: that needs root and mmdebstrap")
        sources = [*_APT.glob("sources.list.d/*.sources"), *_APT.glob("sources.list.d/*.list")]
        if (_APT / "sources.list").is_file():
            sources.append(_APT / "sources.list")
        options = [f"--aptopt={file}" for file in sorted((_APT / "apt.conf.d").iterdir())]
        made = subprocess.run(
            [
                *(program, "--quiet", "--variant=apt", "--skip=cleanup/apt/lists", *options),
                *(f"--include={_INCLUDED}", RELEASE, str(self.root), *map(str, sources)),
            ],
            capture_output=True,
            text=True,
            check=False,
        )
        if made.returncode:
            raise CannotError(f"mmdebstrap failed: {made.stderr[-800:]}")
        policy = self.root / "usr/sbin/policy-rc.d"
        policy.write_text("#!/bin/sh\nexit 101\n")  # nothing starts before the machine does
        policy.chmod(0o755)
        for package in packages:
            shutil.copy(package, self.root / "root")
        names = [f"/root/{package.name}" for package in packages]
        install = ["apt-get", "install", "-qq", "--yes", "--no-install-recommends", *names, *more]
        subprocess.run(
            ["chroot", str(self.root), *install],
            env={"PATH": os.environ["PATH"], "DEBIAN_FRONTEND": "noninteractive"},
            check=True,
            capture_output=True,
        )
        policy.unlink()

    def boot(self) -> None:
        """Start it: systemd as process 1, a network with a loopback only."""
        separate = [f"--{kind}" for kind in ("mount", "pid", "uts", "ipc", "net", "cgroup")]
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [
                    "unshare",
                    *separate,
                    "--fork",
                    "--kill-child",
                    "bash",
                    "-c",
                    _BOOT,
                    "boot",
                    str(self.root),
                ],
                stdout=log,
                stderr=log,
            )
        parent = self._process.pid
        children = Path(f"/proc/{parent}/task/{parent}/children")

        def up() -> bool:
            if self._process is not None and self._process.poll() is not None:
                raise CannotError(f"systemd does not start here: {self._log.read_text()[-400:]}")
            found = children.read_text().split()
            self._first = int(found[0]) if found else 0
            state = self.run("systemctl", "is-system-running", check=False) if found else ""
            return state.strip() in {"running", "degraded"}

        wait_for(up, "the machine is up")

    def run(self, *command: str, check: bool = True, timeout_s: float = PATIENCE_S) -> str:
        """Run a command as root inside, and return what it prints."""
        done = subprocess.run(
            [*self._inside(), *command],
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout_s,
        )
        if check and done.returncode:
            text = f"{done.stdout}{done.stderr}"
            raise AssertionError(f"{' '.join(command)}: exit code {done.returncode}: {text}")
        return done.stdout

    def start(self, *command: str) -> subprocess.Popen[str]:
        """Start a command as root inside."""
        return subprocess.Popen([*self._inside(), *command], stdout=subprocess.PIPE, text=True)

    def _inside(self) -> list[str]:
        enter = ["nsenter", "-t", str(self._first), "--mount", "--pid", "--uts", "--ipc", "--net"]
        return [*enter, "--root", "--wd=/", "env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin"]


def wait_for(condition: Callable[[], object], what: str, timeout_s: float = PATIENCE_S) -> None:
    """Wait for a condition that must become true."""
    deadline_s = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline_s:
            raise AssertionError(f"not within {timeout_s:g} s: {what}")
        time.sleep(0.1)
