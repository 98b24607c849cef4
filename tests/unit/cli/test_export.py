"""`tocsin export`: what it writes, and what it says when something is wrong."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from support.factories import make_alert, make_strip, make_trend
from tocsin_agent.cli.export import command
from tocsin_agent.messages.alert import encode_alert
from tocsin_agent.messages.trend import encode_trend


def run(*arguments: object) -> Result:
    return CliRunner().invoke(command, [str(one) for one in arguments])


@pytest.fixture
def night(tmp_path: Path) -> Path:
    """Give the lines of a night: an alert as `replay --json`, one as `watch --json`, and others."""
    watched = {
        "type": "alert",
        "alert": json.loads(encode_alert(make_alert(2, strip=make_strip()))),
    }
    lines = [
        encode_alert(make_alert(1, strip=make_strip())),
        json.dumps(watched).encode(),
        json.dumps({"type": "status", "status": {}}).encode(),
        encode_trend(make_trend()),
    ]
    path = tmp_path / "night.jsonl"
    path.write_bytes(b"\n".join(lines))
    return path


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Give ten seconds of two leads at 250/s, with a gap of one second in the times."""
    t = np.delete(np.arange(2500) / 250.0, slice(1000, 1250))
    rows = np.column_stack([t, np.sin(t), np.cos(t)])
    path = tmp_path / "ward.csv"
    np.savetxt(
        path, rows, delimiter=",", header="time (s),II (mV),V1 (mV)", comments="", fmt="%.6f"
    )
    return path


def test_the_strips_of_a_night_are_files(night: Path, tmp_path: Path) -> None:
    result = run("episode", night, "--format", "csv", "-o", tmp_path / "out")
    assert result.exit_code == 0, result.output
    assert len(list((tmp_path / "out").glob("*_1.csv"))) == 2
    one = make_alert(2).alert_id
    result = run("episode", night, "--alert", one[:6], "--format", "wfdb", "-o", tmp_path / "one")
    assert sorted(p.name for p in (tmp_path / "one").iterdir()) == [
        f"{one[:12]}_1.dat",
        f"{one[:12]}_1.hea",
    ]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--alert", "zzzz"), "holds no alert whose id begins with 'zzzz'"),
        (("--format", "mp3"), "'mp3' is not one of"),
    ],
)
def test_a_wrong_episode_is_a_usage_error(
    night: Path, arguments: tuple[str, ...], says: str
) -> None:
    result = run("episode", night, *arguments)
    assert result.exit_code == 2
    assert says in result.output


def test_a_recording_is_cut_and_its_gap_is_missing(table: Path, tmp_path: Path) -> None:
    result = run(
        *("record", table, "--format", "csv", "-o", tmp_path / "out"),
        *("--from-s", "3", "--seconds", "3", "--leads", "V1"),
    )
    assert result.exit_code == 0, result.output
    lines = (tmp_path / "out" / "ward.csv").read_text(encoding="utf-8").splitlines()
    assert lines[0] == "time (s),V1 (mV)"
    values = np.array([float(line.split(",")[1] or "nan") for line in lines[1:]])
    assert len(values) == 750
    assert np.isnan(values).sum() == 250
    expected = np.cos(3 + np.arange(250) / 250.0)
    np.testing.assert_allclose(values[:250], expected, atol=0.001)


@pytest.mark.parametrize("kind", ["csv", "wfdb"])
def test_no_file_is_replaced(kind: str, table: Path, tmp_path: Path) -> None:
    """The working directory is the default, and may hold the recording that is read."""
    source = table.rename(tmp_path / "ward.csv") if kind == "csv" else tmp_path / "ward.hea"
    if kind == "wfdb":
        assert run("record", table, "--seconds", "5", "-o", tmp_path).exit_code == 0
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    result = run("record", source, "--format", kind, "--seconds", "3", "-o", tmp_path)
    assert result.exit_code == 2
    assert "is not replaced: give another folder" in result.output
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_alerts_of_another_recording_are_refused(table: Path, night: Path, tmp_path: Path) -> None:
    result = run("record", table, "--alerts", night, "-o", tmp_path)
    assert result.exit_code == 2
    assert "the alerts are of test/100" in result.output


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--from-s", "60"), "has no samples from 60 s on"),
        (("--leads", "aVF"), "aVF"),
    ],
)
def test_what_is_not_there_is_named(table: Path, arguments: tuple[str, ...], says: str) -> None:
    result = run("record", table, *arguments)
    assert result.exit_code != 0
    assert says in result.output + str(result.exception)


@pytest.mark.parametrize("kind", ["fhir", "hl7"])
def test_a_night_is_written_for_other_systems(kind: str, night: Path, tmp_path: Path) -> None:
    result = run(kind, night, "-o", tmp_path / "out")
    assert result.exit_code == 0, result.output
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    if kind == "hl7":
        assert names == ["000001.hl7", "000002.hl7", "000003.hl7"]
    else:
        assert names == [
            *("Device.ndjson", "Flag.ndjson", "Observation.ndjson", "Provenance.ndjson"),
        ]


@pytest.mark.parametrize("kind", ["fhir", "hl7"])
def test_an_export_does_not_mix_with_another(kind: str, night: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert run(kind, night, "-o", out).exit_code == 0
    assert run(kind, night, "-o", out).exit_code == 0  # the same once more
    first = min(out.iterdir())
    first.write_bytes(b"of somebody else")
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    result = run(kind, night, "-o", out)
    assert (result.exit_code, f"{first} is there" in result.output) == (2, True)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before


@pytest.mark.parametrize("kind", ["fhir", "hl7"])
@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((), "give --to URL"),
        (("--follow",), "give --to URL"),
        (("--to", "nonsense://x"), "expected"),
        (("--follow", "-o", "out"), "without --to and --follow"),
    ],
)
def test_what_is_not_said_is_asked_for(kind: str, arguments: tuple[str, ...], says: str) -> None:
    result = run(kind, *arguments)
    assert result.exit_code == 2
    assert says in result.output


@pytest.mark.parametrize(
    "arguments", [("episode",), ("fhir",), ("hl7",)], ids=lambda words: str(words[0])
)
def test_a_folder_that_cannot_be_made_is_a_usage_error(
    arguments: tuple[str, ...], night: Path
) -> None:
    result = run(*arguments, night, "-o", night / "out")
    assert result.exit_code == 2
    assert "cannot be written" in result.output
    assert "give another place by -o" in result.output


@pytest.mark.parametrize("kind", ["fhir", "hl7"])
@pytest.mark.parametrize(
    ("rest", "says"),
    [
        ("me:secret@h/x?y", "ends in logs"),
        ("h:1/x?secret", "expected"),
        ("a..b:1/x", "no address"),
        ("h:99999/x", "no address"),
        ("h:1/\u00e9", "%XX"),
    ],
)
def test_a_wrong_address_is_refused_and_its_secrets_are_not_shown(
    kind: str, rest: str, says: str, night: Path
) -> None:
    """At once: a document that cannot be sent is not set aside for what an address lacks."""
    scheme = "https" if kind == "fhir" else "mllps"
    result = run(kind, night, "--to", f"{scheme}://{rest}")
    assert result.exit_code == 2
    assert says in result.output
    assert "secret" not in result.output


def test_following_needs_a_queue() -> None:
    result = run("fhir", "--follow", "--to", "http://localhost:1/fhir")
    assert result.exit_code == 2
    assert "--follow needs --queue" in result.output
