"""Records judged on a Dask cluster: real schedulers and workers, one of which is killed."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import distributed
import pytest

import tocsin_agent
from support.patients import write_record
from tocsin_agent.cli import cli
from tocsin_agent.errors import SourceError, SourceFault
from tocsin_agent.lab.evaluate import Selection, evaluate, fleet, select
from tocsin_agent.lab.evaluate.judge import Task

RECORDS = 8


class Cluster:
    """A scheduler and its workers, each a process of its own on the loopback."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._processes: list[subprocess.Popen[bytes]] = []
        self.address = ""

    def start(self) -> None:
        at = self._folder / "scheduler.json"
        self.scheduler = self._run("scheduler", "--port", "0", "--scheduler-file", str(at))
        deadline = time.monotonic() + 120.0
        while not at.is_file() or not at.read_text().endswith("}"):
            said = (self._folder / "log").read_text()
            assert self.scheduler.poll() is None, said
            assert time.monotonic() < deadline, said
            time.sleep(0.05)
        self.address = json.loads(at.read_text())["address"]

    def add_worker(self, name: str, program: Path | None = None) -> subprocess.Popen[bytes]:
        """Start a worker; `program` is a folder of packages that it finds before ours."""
        return self._run(
            "worker", self.address, "--no-nanny", "--nthreads", "1", "--name", name,
            "--memory-limit", "0", "--local-directory", str(self._folder / name), program=program,
        )  # fmt: skip

    def stop(self) -> None:
        for process in self._processes:
            process.kill()
            process.wait(10.0)

    def _run(
        self, role: str, *arguments: str, program: Path | None = None
    ) -> subprocess.Popen[bytes]:
        alone = ("--host", "127.0.0.1", "--no-dashboard", "--dashboard-address", "127.0.0.1:0")
        found = [str(program or ""), *sys.path]
        with (self._folder / "log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", f"distributed.cli.dask_{role}", *arguments, *alone],
                env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, found))},
                stdout=log,
                stderr=log,
            )
        self._processes.append(process)
        return process


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    folder = tmp_path / "cluster"
    folder.mkdir()
    cluster = Cluster(folder)
    watchdog = threading.Timer(300.0, cluster.stop)  # ends a test that waits for it without end
    try:
        cluster.start()
        watchdog.start()
        yield cluster
    finally:
        watchdog.cancel()
        cluster.stop()


@pytest.fixture
def selection(tmp_path: Path) -> Selection:
    for n in range(RECORDS):
        write_record(tmp_path / "db", f"r{n}", seconds=310.0 + 10.0 * n)
    (tmp_path / "db" / "r3.dat").unlink()
    return select("db", tmp_path)


@pytest.fixture
def unread(tmp_path: Path) -> Selection:
    """Give a record that nobody comes to read."""
    return Selection("db", tmp_path, ("r0",), ())


def test_a_worker_that_dies_takes_no_record_with_it(cluster: Cluster, selection: Selection) -> None:
    workers = {name: cluster.add_worker(name) for name in ("a", "b")}
    local = evaluate(selection, jobs=2)
    seen: list[int] = []
    in_hand: list[int] = []
    with distributed.Client(cluster.address, timeout=60.0, set_as_default=False) as observer:
        observer.wait_for_workers(2, timeout=120.0)
        known = observer.scheduler_info()["workers"]
        address = next(at for at, worker in known.items() if worker["name"] == "a")

        def kill(done: int, of: int) -> None:
            assert of == RECORDS
            seen.append(done)
            if done == 1:
                in_hand.append(len(observer.processing()[address]))
                workers["a"].send_signal(signal.SIGKILL)
                workers["a"].wait(5.0)

        result = evaluate(selection, scheduler=cluster.address, progress=kill)
    assert in_hand[0] > 0, "it died with records in hand"
    assert seen == list(range(1, RECORDS + 1))
    assert list(result["failed"]) == ["r3"]
    assert result == local


def test_a_record_that_kills_its_workers_is_named(
    cluster: Cluster, selection: Selection, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(ours: str, task: Task) -> None:  # noqa: ARG001
        os._exit(1)

    monkeypatch.setattr(fleet, "judge_as", die)
    for name in "abcd":  # Dask gives a record up with its fourth worker
        cluster.add_worker(name)
    result = evaluate(selection._replace(records=("r0",)), scheduler=cluster.address)
    assert "its workers died" in result["failed"]["r0"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("__init__.py", '"0.', '"7.'), r"runs tocsin 7\."),
        (("lab/evaluate/challenge.py", "290.0", "280.0"), "install the same"),
        (("lab/evaluate/fleet.py", "def software", "def software_of_old"), "cannot be asked"),
    ],
    ids=["version", "code", "too old"],
)
def test_a_worker_with_another_tocsin_is_refused(
    cluster: Cluster, unread: Selection, tmp_path: Path, change: tuple[str, str, str], said: str
) -> None:
    there, (file, was, becomes) = Path(tocsin_agent.__file__).parent, change
    shutil.copytree(there, tmp_path / "other" / there.name)
    path = tmp_path / "other" / there.name / file
    assert was in path.read_text()
    path.write_text(path.read_text().replace(was, becomes))
    cluster.add_worker("other", tmp_path / "other")
    with pytest.raises(SourceError, match=said) as caught:
        evaluate(unread, scheduler=cluster.address)
    assert caught.value.reason is SourceFault.MISMATCH


def test_a_scheduler_that_goes_away_is_said(cluster: Cluster, selection: Selection) -> None:
    cluster.add_worker("a")

    def kill(done: int, of: int) -> None:  # noqa: ARG001
        cluster.scheduler.kill()

    with pytest.raises(SourceError, match="went away") as caught:
        evaluate(selection, scheduler=cluster.address, progress=kill)
    assert caught.value.reason is SourceFault.LOST


def test_a_cluster_without_workers_is_said(
    cluster: Cluster, unread: Selection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fleet, "CONNECT_S", 1.0)
    with pytest.raises(SourceError, match="has no worker") as caught:
        evaluate(unread, scheduler=cluster.address)
    assert caught.value.reason is SourceFault.UNREACHABLE


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (None, "trying to connect"),
        (b"", "it says nothing"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", ""),
        (bytes(64), ""),
    ],
    ids=["closed", "mute", "http", "zeros"],
)
def test_what_is_no_scheduler_is_said_soon(
    unread: Selection, monkeypatch: pytest.MonkeyPatch, answer: bytes | None, why: str
) -> None:
    """A closed port, a mute one, and others that speak of something else."""
    monkeypatch.setattr(fleet, "CONNECT_S", 1.0)
    with socket.create_server(("127.0.0.1", 0)) as server:
        host, port = server.getsockname()

        def serve() -> None:
            with suppress(OSError):
                while True:
                    link, _ = server.accept()
                    kept.append(link)
                    link.sendall(answer or b"")

        kept: list[socket.socket] = []
        if answer is None:
            server.close()
        else:
            threading.Thread(target=serve, daemon=True).start()
        began = time.monotonic()
        with pytest.raises(SourceError, match="no Dask scheduler answers") as caught:
            evaluate(unread, scheduler=f"{host}:{port}")
        with suppress(OSError):
            server.shutdown(socket.SHUT_RDWR)
        for link in kept:
            link.close()
    assert why in str(caught.value)
    assert caught.value.reason is SourceFault.UNREACHABLE
    assert time.monotonic() - began < 5.0


def test_what_is_no_address_is_said(unread: Selection) -> None:
    with pytest.raises(SourceError, match="ftp") as caught:
        evaluate(unread, scheduler="ftp://here:1")
    assert caught.value.reason is SourceFault.UNREACHABLE


def test_without_the_extra_its_name_is_said(
    unread: Selection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(SourceError, match=r"tocsin\[fleet\]") as caught:
        evaluate(unread, scheduler="127.0.0.1:1")
    assert caught.value.reason is SourceFault.MISSING_EXTRA


def test_processes_here_and_a_cluster_exclude_each_other(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as left:
        cli.main(["evaluate", "x", "--jobs", "2", "--scheduler", "127.0.0.1:1"])
    assert left.value.code == 2
    assert "--jobs" in capsys.readouterr().err


def test_a_worker_that_comes_late_tells_that_it_is_another() -> None:
    task = Task("nowhere/r0", "r0", False, None)
    assert fleet.judge_as("tocsin 0.0", task) == fleet.OtherSoftware(fleet.software())
    assert "r0" in str(fleet.judge_as(fleet.software(), task))
