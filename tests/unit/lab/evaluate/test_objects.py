"""Databases in an object store: the same result as from a folder, and clear errors."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import fsspec
import pytest
from click.testing import CliRunner

from support.patients import write_record
from tocsin_agent.cli.evaluate import command
from tocsin_agent.errors import SourceError
from tocsin_agent.lab.evaluate.databases import Reference, select_in_store
from tocsin_agent.lab.evaluate.judge import Judgement, Task, judge_or_fail
from tocsin_agent.lab.evaluate.objects import fetched, list_headers


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("store") / "db"
    for name in ("a1", "a2"):
        write_record(folder, name)
    return folder


@pytest.fixture
def store(database: Path) -> Iterator[str]:
    """A store in memory with the records of the database."""
    url = f"memory://bucket-{uuid4().hex}/db"
    memory = fsspec.filesystem("memory")
    memory.put(f"{database}/", url.removeprefix("memory:/") + "/", recursive=True)
    yield url
    memory.rm(url.removeprefix("memory:/"), recursive=True)


def test_a_record_in_a_store_is_judged_as_one_in_a_folder(database: Path, store: str) -> None:
    local = Task(str(database / "a1"), "a1", False, None, Reference("atr"))
    remote = local._replace(path="/nowhere/a1", url=store)
    here, there = judge_or_fail(local), judge_or_fail(remote)
    assert isinstance(here, Judgement)
    assert isinstance(there, Judgement)
    assert here.beats is not None
    assert there.beats is not None
    assert here.beats.qrs == there.beats.qrs
    assert here.beats.qrs.tp > 0
    assert (here.alarms, here.raised, here.labels) == (there.alarms, there.raised, there.labels)


def test_the_records_of_a_store_are_selected(store: str, tmp_path: Path) -> None:
    found = select_in_store(store + "/", tmp_path)
    assert (found.database, found.records, found.url) == ("db", ("a1", "a2"), store)
    (tmp_path / "chosen").write_text("a2 a9")
    some = select_in_store(store, tmp_path, str(tmp_path / "chosen"))
    assert (some.records, some.missing) == (("a2",), ("a9",))


def test_a_list_in_the_store_names_the_records(store: str, tmp_path: Path) -> None:
    with fsspec.open(f"{store}/RECORDS", "w") as opened:
        opened.write("a2\na3\n")
    found = select_in_store(store, tmp_path)
    assert (found.records, found.missing) == (("a2",), ("a3",))


def test_the_command_gives_one_result_for_store_and_folder(database: Path) -> None:
    results = []
    for name in (str(database), f"file://{database}"):
        done = CliRunner().invoke(command, [name, "--jobs", "1", "--json", "-"])
        assert done.exit_code == 0, done.output
        results.append(json.loads(done.stdout))
    for result in results:
        for volatile in ("command", "generated_at"):
            del result[volatile]
    assert results[0] == results[1]


def test_what_a_worker_got_is_removed(store: str) -> None:
    with fetched(store, "a1", ["atr"]) as path:
        folder = path.parent
        assert {file.name for file in folder.iterdir()} == {"a1.hea", "a1.dat", "a1.atr"}
    assert not folder.exists()


def test_a_record_with_segments_is_got_with_all_of_them(store: str) -> None:
    with fsspec.open(f"{store}/m.hea", "w") as opened:
        opened.write("m/3 1 360 302400\na1 151200\n~ 100\na2 151200\n")
    with fetched(store, "m", []) as path:
        got = {file.name for file in path.parent.iterdir()}
    assert got == {"m.hea", "a1.hea", "a1.dat", "a2.hea", "a2.dat"}


@pytest.mark.parametrize(
    ("header", "wrong"),
    [
        ("x 1 360 10\n../a1.dat 16 200 16 0 0 0 0 II\n", "beside it"),
        ("x 1 360 10\nnone.dat 16 200 16 0 0 0 0 II\n", r"lacks none\.dat"),
        (None, "no header"),
    ],
)
def test_a_record_that_cannot_be_got_is_named(store: str, header: str | None, wrong: str) -> None:
    if header is not None:
        with fsspec.open(f"{store}/x.hea", "w") as opened:
            opened.write(header)
    with pytest.raises(SourceError, match=wrong), fetched(store, "x", []):
        pass
    failed = judge_or_fail(Task("", "x", False, None, None, None, store))
    assert isinstance(failed, str)


def test_an_unknown_store_says_what_it_needs() -> None:
    with pytest.raises(SourceError, match="s3fs"):
        list_headers("nosuch://bucket/db")
    done = CliRunner().invoke(command, ["s3://bucket/db", "--noise", "em"])
    assert done.exit_code == 2
