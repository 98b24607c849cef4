from __future__ import annotations

import hashlib
import json
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import wfdb
from click.testing import CliRunner

from tocsin_agent.cli.fetch import command
from tocsin_agent.errors import SourceError, SourceFault
from tocsin_agent.lab.fetch import FetchedRecord, Fetcher
from tocsin_agent.sources.opening import open_source


@dataclass
class PhysioNet:
    """A small PhysioNet on the loopback that can be made to misbehave."""

    files: dict[str, bytes]
    url: str = ""
    requests: list[tuple[str, str | None]] = field(default_factory=list)
    cut: dict[str, list[int]] = field(default_factory=dict)  # bytes to send, one entry a request
    status: dict[str, int] = field(default_factory=dict)
    ranges: bool = True

    def asked_for(self, ending: str) -> list[str | None]:
        return [offset for path, offset in self.requests if path.endswith(ending)]


def _handler(server: PhysioNet) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path, offset = self.path.lstrip("/"), self.headers.get("Range")
            server.requests.append((path, offset))
            status = server.status.get(path, 200 if path in server.files else 404)
            if status != 200:
                self.send_error(status)
                return
            content = server.files[path]
            first = 0
            if offset and server.ranges:
                first = int(offset.removeprefix("bytes=").removesuffix("-"))
                if first >= len(content):
                    self.send_error(416)
                    return
                self.send_response(206)
            else:
                self.send_response(200)
            self.send_header("Content-Length", str(len(content) - first))
            self.end_headers()
            cuts = server.cut.get(path)
            self.wfile.write(content[first : first + cuts.pop(0)] if cuts else content[first:])

        def log_message(self, *_: object) -> None: ...

    return Handler


def _record(folder: Path, name: str, seed: int) -> None:
    samples = np.rint(np.random.default_rng(seed).normal(0, 100, (5000, 1))) / 200
    wfdb.wrsamp(
        name,
        fs=360,
        units=["mV"],
        sig_name=["MLII"],
        p_signal=samples,
        fmt=["16"],
        adc_gain=[200.0],
        baseline=[0],
        write_dir=str(folder),
    )
    wfdb.wrann(name, "atr", np.array([10, 400]), symbol=["N", "V"], write_dir=str(folder))


@pytest.fixture
def physionet(tmp_path: Path) -> Iterator[PhysioNet]:
    source = tmp_path / "origin"
    source.mkdir()
    _record(source, "100", 1)
    _record(source, "101", 2)
    (source / "RECORDS").write_text("100\n101\n")
    (source / "100.xws").write_text("a viewer's script")
    files = {f"files/mitdb/1.0.0/{path.name}": path.read_bytes() for path in source.iterdir()}
    sums = "".join(
        f"{hashlib.sha256(content).hexdigest()} {name.rsplit('/', 1)[1]}\n"
        for name, content in files.items()
    )
    files["files/mitdb/1.0.0/SHA256SUMS.txt"] = sums.encode()
    files["content/mitdb/"] = b"<p>Published: Feb. 24, 2005. Version: 1.0.0</p>"
    server = PhysioNet(files)
    http = ThreadingHTTPServer(("127.0.0.1", 0), _handler(server))
    server.url = f"http://127.0.0.1:{http.server_address[1]}"
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    http.shutdown()
    thread.join()
    http.server_close()


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def fetch(physionet: PhysioNet, cache: Path, *names: str) -> list[FetchedRecord]:
    return list(Fetcher(cache, base_url=physionet.url, timeout_s=5.0).fetch(names))


def test_a_record_arrives_whole_and_can_be_read(
    physionet: PhysioNet, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    [fetched] = fetch(physionet, cache, "mitdb/100")
    assert fetched.record == "mitdb/100"
    assert sorted(path.name for path in fetched.files) == ["100.atr", "100.dat", "100.hea"]
    assert fetched.fetched_bytes == sum(path.stat().st_size for path in fetched.files)
    assert not list(cache.rglob("*.part"))
    monkeypatch.setenv("TOCSIN_RECORDS", str(cache))
    with open_source("mitdb/100", block_s=60) as source:
        block = source.read(0)
    assert block is not None
    assert len(block) == 5000


def test_a_database_is_all_its_records(physionet: PhysioNet, cache: Path) -> None:
    assert [r.record for r in fetch(physionet, cache, "mitdb")] == ["mitdb/100", "mitdb/101"]


def test_what_is_there_needs_no_network(physionet: PhysioNet, cache: Path) -> None:
    fetch(physionet, cache, "mitdb/100")
    physionet.requests.clear()
    [again] = fetch(physionet, cache, "mitdb/100")
    assert again.fetched_bytes == 0
    assert physionet.requests == []


def test_a_file_spoilt_in_the_cache_is_fetched_again(physionet: PhysioNet, cache: Path) -> None:
    fetch(physionet, cache, "mitdb/100")
    (cache / "mitdb" / "100.dat").write_bytes(b"spoilt")
    fetch(physionet, cache, "mitdb/100")
    assert (cache / "mitdb" / "100.dat").read_bytes() == physionet.files[
        "files/mitdb/1.0.0/100.dat"
    ]


def test_a_wrong_checksum_leaves_nothing_behind(physionet: PhysioNet, cache: Path) -> None:
    name = "files/mitdb/1.0.0/100.dat"
    content = bytearray(physionet.files[name])
    content[77] ^= 1
    physionet.files[name] = bytes(content)
    with pytest.raises(SourceError, match=r"100\.dat arrived with SHA-256") as caught:
        fetch(physionet, cache, "mitdb/100")
    assert caught.value.reason is SourceFault.CHECKSUM
    assert not (cache / "mitdb" / "100.dat").exists()
    assert not list(cache.rglob("*.part"))


def test_a_broken_transfer_goes_on_where_it_broke(physionet: PhysioNet, cache: Path) -> None:
    physionet.cut["files/mitdb/1.0.0/100.dat"] = [3000, 2000]
    fetch(physionet, cache, "mitdb/100")
    assert physionet.asked_for("100.dat") == [None, "bytes=3000-", "bytes=5000-"]
    assert (cache / "mitdb" / "100.dat").read_bytes() == physionet.files[
        "files/mitdb/1.0.0/100.dat"
    ]


def test_a_transfer_that_breaks_for_good_is_kept_for_the_next_run(
    physionet: PhysioNet, cache: Path
) -> None:
    physionet.cut["files/mitdb/1.0.0/100.dat"] = [3000, 2000, 1000]
    with pytest.raises(SourceError, match="broke after 6000 of 10000 bytes") as caught:
        fetch(physionet, cache, "mitdb/100")
    assert caught.value.reason is SourceFault.TRUNCATED
    assert not (cache / "mitdb" / "100.dat").exists()
    fetch(physionet, cache, "mitdb/100")
    assert physionet.asked_for("100.dat")[-1] == "bytes=6000-"
    assert (cache / "mitdb" / "100.dat").exists()


def test_a_server_without_ranges_begins_again(physionet: PhysioNet, cache: Path) -> None:
    physionet.ranges = False
    physionet.cut["files/mitdb/1.0.0/100.dat"] = [3000]
    fetch(physionet, cache, "mitdb/100")
    assert (cache / "mitdb" / "100.dat").stat().st_size == 10_000


def test_a_part_that_is_too_long_is_thrown_away(physionet: PhysioNet, cache: Path) -> None:
    (cache / "mitdb").mkdir(parents=True)
    (cache / "mitdb" / ".100.dat.part").write_bytes(bytes(20_000))
    fetch(physionet, cache, "mitdb/100")
    assert (cache / "mitdb" / "100.dat").stat().st_size == 10_000


@pytest.mark.parametrize(
    ("name", "reason", "says"),
    [
        ("mitdb/999", SourceFault.NOT_FOUND, "no record '999'"),
        ("nodb/1", SourceFault.NOT_FOUND, "does not exist"),
        ("../etc/passwd", SourceFault.MALFORMED, "not a PhysioNet name"),
        ("mitdb/../x", SourceFault.MALFORMED, "not a PhysioNet name"),
    ],
)
def test_a_name_that_is_not_there_is_said(
    name: str, reason: SourceFault, says: str, physionet: PhysioNet, cache: Path
) -> None:
    with pytest.raises(SourceError, match=says) as caught:
        fetch(physionet, cache, name)
    assert caught.value.reason is reason


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (404, SourceFault.NOT_FOUND),
        (403, SourceFault.NOT_FOUND),
        (503, SourceFault.UNREACHABLE),
    ],
)
def test_the_refusal_of_a_server_has_its_own_reason(
    status: int, reason: SourceFault, physionet: PhysioNet, cache: Path
) -> None:
    physionet.status["files/mitdb/1.0.0/100.dat"] = status
    with pytest.raises(SourceError) as caught:
        fetch(physionet, cache, "mitdb/100")
    assert caught.value.reason is reason


def test_what_the_server_lists_cannot_lead_out_of_the_cache(
    physionet: PhysioNet, cache: Path
) -> None:
    base, evil = "files/mitdb/1.0.0", b"evil 0 360 0\n"
    old = hashlib.sha256(physionet.files[f"{base}/RECORDS"]).hexdigest()
    new = hashlib.sha256(b"../../evil\n").hexdigest()
    sums = physionet.files[f"{base}/SHA256SUMS.txt"].decode().replace(old, new)
    sums += f"{hashlib.sha256(evil).hexdigest()} ../../evil.hea\n"
    physionet.files |= {
        f"{base}/RECORDS": b"../../evil\n",
        f"{base}/SHA256SUMS.txt": sums.encode(),
        f"{base}/../../evil.hea": evil,
    }
    with pytest.raises(SourceError, match="has no record"):
        fetch(physionet, cache, "mitdb")
    assert not list(cache.parent.rglob("evil*"))


def test_without_a_network_the_message_says_what_to_do(cache: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: refused at once
        port = taken.getsockname()[1]
        with pytest.raises(SourceError, match="check the network or name a mirror") as caught:
            list(Fetcher(cache, base_url=f"http://127.0.0.1:{port}").fetch(["mitdb/100"]))
    assert caught.value.reason is SourceFault.UNREACHABLE


def test_an_address_of_another_kind_is_refused(cache: Path) -> None:
    with pytest.raises(SourceError, match="http"):
        Fetcher(cache, base_url="file:///etc")


def test_the_command_tells_people_and_machines(physionet: PhysioNet, cache: Path) -> None:
    options = ["--cache", str(cache), "--mirror", physionet.url]
    result = CliRunner().invoke(command, ["mitdb/100", *options])
    assert result.exit_code == 0, result.output
    assert "mitdb/100: 3 files" in result.output
    machine = CliRunner().invoke(command, ["mitdb", "--json", *options])
    document = json.loads(machine.stdout)
    assert [r["record"] for r in document["records"]] == ["mitdb/100", "mitdb/101"]
    assert document["records"][0]["fetched_bytes"] == 0
    assert document["records"][1]["fetched_bytes"] > 10_000
