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
from support.programs import PATIENCE_S
from tocsin_agent.cli import cli
from tocsin_agent.errors import LabError, MissingExtraError
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
        deadline = time.monotonic() + PATIENCE_S
        while not at.is_file() or not at.read_text().endswith("}"):
            log = (self._folder / "log").read_text()
            assert self.scheduler.poll() is None, log
            assert time.monotonic() < deadline, log
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
            process.wait(PATIENCE_S)

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
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    monkeypatch.setattr(fleet, "CONNECT_S", PATIENCE_S)
    monkeypatch.setattr(fleet, "WORKER_S", PATIENCE_S)  # it imports numpy and dask first
    folder = tmp_path / "cluster"
    folder.mkdir()
    cluster = Cluster(folder)
    watchdog = threading.Timer(
        2 * PATIENCE_S, cluster.stop
    )  # ends a test that waits for it without end
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
    """Return a record that no worker reads."""
    return Selection("db", tmp_path, ("r0",), ())


def test_the_records_of_a_worker_that_dies_are_judged(
    cluster: Cluster, selection: Selection
) -> None:
    workers = {name: cluster.add_worker(name) for name in ("a", "b")}
    local = evaluate(selection, jobs=2)
    progress: list[int] = []
    in_hand: list[int] = []
    with distributed.Client(cluster.address, timeout=PATIENCE_S, set_as_default=False) as observer:
        observer.wait_for_workers(2, timeout=PATIENCE_S)
        known = observer.scheduler_info()["workers"]
        address = next(at for at, worker in known.items() if worker["name"] == "a")

        def kill(done: int, of: int) -> None:
            assert of == RECORDS
            progress.append(done)
            if done == 1:
                in_hand.append(len(observer.processing()[address]))
                workers["a"].send_signal(signal.SIGKILL)
                workers["a"].wait(PATIENCE_S)

        result = evaluate(selection, scheduler=cluster.address, progress=kill)
    assert in_hand[0] > 0, "it died with records in hand"
    assert progress == list(range(1, RECORDS + 1))
    assert list(result["failed"]) == ["r3"]
    assert result == local


def test_a_record_that_kills_its_workers_is_named(
    cluster: Cluster, selection: Selection, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(expected: str, task: Task) -> None:  # noqa: ARG001
        os._exit(1)

    monkeypatch.setattr(fleet, "judge_with", die)
    for name in "abcd":  # Dask gives a record up with its fourth worker
        cluster.add_worker(name)
    result = evaluate(selection._replace(records=("r0",)), scheduler=cluster.address)
    assert "its workers died" in result["failed"]["r0"]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (("__init__.py", '"0.', '"7.'), r"runs tocsin 7\."),
        (("lab/evaluate/challenge.py", "300.0", "280.0"), "install the same"),
        (("lab/evaluate/fleet.py", "def software", "def software_of_old"), "an unknown version"),
    ],
    ids=["version", "code", "too old"],
)
def test_a_worker_with_another_tocsin_is_refused(
    cluster: Cluster, unread: Selection, tmp_path: Path, change: tuple[str, str, str], reason: str
) -> None:
    there, (file, was, becomes) = Path(tocsin_agent.__file__).parent, change
    shutil.copytree(there, tmp_path / "other" / there.name)
    path = tmp_path / "other" / there.name / file
    assert was in path.read_text()
    path.write_text(path.read_text().replace(was, becomes))
    cluster.add_worker("other", tmp_path / "other")
    with pytest.raises(LabError, match=reason):
        evaluate(unread, scheduler=cluster.address)


def test_a_lost_scheduler_is_an_error(cluster: Cluster, selection: Selection) -> None:
    cluster.add_worker("a")

    def kill(done: int, of: int) -> None:  # noqa: ARG001
        cluster.scheduler.kill()

    with pytest.raises(LabError, match="is lost"):
        evaluate(selection, scheduler=cluster.address, progress=kill)


def test_a_cluster_without_workers_is_an_error(
    cluster: Cluster, unread: Selection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fleet, "WORKER_S", 0.1)
    with pytest.raises(LabError, match="has no worker"):
        evaluate(unread, scheduler=cluster.address)


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (None, "trying to connect"),
        (b"", "no answer"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", ""),
        (bytes(64), ""),
    ],
    ids=["closed", "mute", "http", "zeros"],
)
def test_a_port_that_is_no_scheduler_is_an_error_soon(
    unread: Selection, monkeypatch: pytest.MonkeyPatch, answer: bytes | None, why: str
) -> None:
    """A closed port, a silent one, and ports of other services."""
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
        with pytest.raises(LabError, match="no Dask scheduler answers") as caught:
            evaluate(unread, scheduler=f"{host}:{port}")
        with suppress(OSError):
            server.shutdown(socket.SHUT_RDWR)
        for link in kept:
            link.close()
    assert why in str(caught.value)
    assert time.monotonic() - began < 60.0  # without the handshake it blocks without end


def test_an_invalid_address_is_an_error(unread: Selection) -> None:
    with pytest.raises(LabError, match="ftp"):
        evaluate(unread, scheduler="ftp://here:1")


def test_a_missing_extra_is_named(unread: Selection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(MissingExtraError, match=r"tocsin\[fleet\]"):
        evaluate(unread, scheduler="127.0.0.1:1")


def test_processes_here_and_a_cluster_exclude_each_other(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as left:
        cli.main(["evaluate", "x", "--jobs", "2", "--scheduler", "127.0.0.1:1"])
    assert left.value.code == 2
    assert "--jobs" in capsys.readouterr().err


def test_a_worker_with_other_software_answers_with_its_version() -> None:
    task = Task("nowhere/r0", "r0", False, None)
    assert fleet.judge_with("tocsin 0.0", task) == fleet.OtherSoftware(fleet.software())
    assert "r0" in str(fleet.judge_with(fleet.software(), task))
