from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
from click.testing import CliRunner, Result

from support.brokers import free_port
from support.recording_files import ecg
from tocsin_agent.cli import ExitCode, cli
from tocsin_agent.cli.common import alert_line
from tocsin_agent.delivery.outbox import Outbox
from tocsin_agent.messages.alert import Alert, decode_alert
from tocsin_agent.sources.opening import open_source


def tocsin(*args: object) -> Result:
    return CliRunner().invoke(cli, [str(arg) for arg in args])


def parsed(result: Result) -> tuple[list[Alert], dict[str, Any]]:
    assert result.exit_code == ExitCode.OK, result.output
    *lines, last = result.stdout.splitlines()
    return [decode_alert(line.encode()) for line in lines], json.loads(last)


@pytest.fixture(scope="module")
def excerpt() -> tuple[list[Alert], dict[str, Any]]:
    return parsed(tocsin("replay", "excerpt", "--json"))


def test_the_summary_counts_what_was_printed(excerpt: tuple[list[Alert], dict[str, Any]]) -> None:
    alerts, summary = excerpt
    record = summary["records"][0]
    assert summary["schema"] == "tocsin/replay/v1"
    assert record["duration_s"] == 300.0
    assert sum(record["alerts"].values()) == sum(alert.sequence == 1 for alert in alerts) > 0
    assert 200 < sum(record["beats"].values()) < 1000
    assert record["beats"]["V"] > 0


def test_pace_and_block_size_change_nothing(excerpt: tuple[list[Alert], dict[str, Any]]) -> None:
    alerts, _ = excerpt
    for options in (("--block-s", "1.7"), ("--speed", "2000", "--block-s", "5")):
        again, _ = parsed(tocsin("replay", "excerpt", "--json", *options))
        assert [(a.alert_id, a.sequence, a.text, a.strip) for a in again] == [
            (a.alert_id, a.sequence, a.text, a.strip) for a in alerts
        ]


def test_as_text_there_is_a_line_for_each_alert_and_a_summary(
    excerpt: tuple[list[Alert], dict[str, Any]],
) -> None:
    alerts, _ = excerpt
    result = tocsin("replay", "excerpt")
    lines = result.stdout.splitlines()
    assert lines[: len(alerts)] == [click.unstyle(alert_line(alert, 360.0)) for alert in alerts]
    assert lines[len(alerts)].startswith("excerpt: 5:00.0 of ECG in ")
    quiet = tocsin("replay", "excerpt", "--quiet").stdout.splitlines()
    assert len(quiet) == 3


def test_one_bad_record_among_several_does_not_stop_the_others(tmp_path: Path) -> None:
    np.save(tmp_path / "flat.npy", np.zeros((2000, 1)))
    result = tocsin("replay", "mitdb/none", tmp_path / "flat.npy", "--rate-hz", "200", "--quiet")
    assert result.exit_code == ExitCode.SOURCE
    assert "tocsin: mitdb/none: " in result.stderr
    assert "0:10.0 of ECG" in result.stdout


@pytest.mark.parametrize(
    ("args", "code", "expected"),
    [
        (["mitdb/none"], ExitCode.SOURCE, "mitdb/none"),
        (["excerpt", "--speed", "fast"], ExitCode.USAGE, "a number above 0"),
        (["excerpt", "--speed", "-1"], ExitCode.USAGE, "a number above 0"),
        ([], ExitCode.USAGE, "Missing argument"),
        (["excerpt", "--leads", "V9"], ExitCode.SOURCE, "MLII"),
        (["excerpt", "--broker", "host:port"], ExitCode.USAGE, "HOST:PORT"),
        (["excerpt", "--config", "none.toml"], ExitCode.CONFIGURATION, "none.toml"),
        (["excerpt", "--site", "a/b"], ExitCode.USAGE, "cannot be a topic level"),
        ([""], ExitCode.SOURCE, "a source is one of"),
        (["."], ExitCode.SOURCE, "a source is one of"),
        (
            ["a/100", "b/100", "--annotate", "toc"],
            ExitCode.USAGE,
            "several records would be annotated as 100",
        ),
        (
            ["excerpt", "--annotate", "toc", "--annotate-dir", "/dev/null/x"],
            ExitCode.USAGE,
            "--annotate-dir /dev/null/x: Not a directory",
        ),
    ],
)
def test_an_error_has_a_message_and_an_exit_code(
    args: list[str], code: ExitCode, expected: str
) -> None:
    result = tocsin("replay", *args)
    assert result.exit_code == code, result.output
    assert expected in result.stderr
    assert "Traceback" not in result.stderr


def test_without_the_configured_model_there_is_no_result(tmp_path: Path) -> None:
    config = tmp_path / "tocsin.toml"
    config.write_text(
        'site = "s"\ndevice = "d"\n[source]\nuri = "x"\n[model]\npath = "none.onnx"\n'
    )
    result = tocsin("replay", "excerpt", "--config", config)
    assert result.exit_code == ExitCode.MODEL
    assert result.stderr.startswith("tocsin: no model at ")


def test_an_outbox_stores_each_alert_once(tmp_path: Path) -> None:
    path = tmp_path / "outbox.db"
    for _ in range(2):
        alerts, _ = parsed(tocsin("replay", "excerpt", "--json", "--outbox", path))
        with Outbox(path) as outbox:
            assert outbox.pending() == len(alerts)


def test_an_unreachable_broker_is_a_delivery_error_that_names_the_outbox(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tocsin_agent.cli.replay._DELIVERY_TIMEOUT_S", 0.3)
    path = tmp_path / "outbox.db"
    broker = f"127.0.0.1:{free_port()}"
    result = tocsin("replay", "excerpt", "--quiet", "--broker", broker, "--outbox", path)
    assert result.exit_code == ExitCode.DELIVERY
    assert str(path) in result.stderr
    with Outbox(path) as outbox:
        assert outbox.pending() > 0


def test_annotations_hold_every_beat(tmp_path: Path) -> None:
    import wfdb

    result = tocsin("replay", "excerpt", "--annotate", "toc", "--annotate-dir", tmp_path, "--json")
    _, summary = parsed(result)
    record = summary["records"][0]
    written = wfdb.rdann(str(tmp_path / "excerpt"), "toc")
    assert record["annotations"] == str(tmp_path / "excerpt.toc")
    counts = {label: written.symbol.count(label) for label in record["beats"]}
    assert counts == record["beats"]
    assert written.symbol[0] == "+"
    assert written.aux_note[0].startswith("(N")


def test_limits_come_from_a_configuration(tmp_path: Path) -> None:
    config = tmp_path / "tocsin.toml"
    config.write_text(
        'site = "s"\ndevice = "d"\npatient = "p"\nlocation = "l"\n[source]\nuri = "x"\n'
        "[limits]\ntachycardia_bpm = 250\n"
    )
    alerts, _ = parsed(tocsin("replay", "excerpt", "--json", "--config", config))
    names = {(alert.site, alert.device, alert.patient, alert.location) for alert in alerts}
    assert names == {("s", "d", "p", "l")}


def test_each_synthetic_patient_has_annotations_of_its_own(tmp_path: Path) -> None:
    uris = ("synthetic:demo", "synthetic:sinus")
    result = tocsin("replay", *uris, "--quiet", "--annotate", "toc", "--annotate-dir", tmp_path)
    assert result.exit_code == ExitCode.OK
    names = ["synthetic_demo.toc", "synthetic_sinus.toc"]
    assert sorted(path.name for path in tmp_path.iterdir()) == names
    assert [line for line in result.stdout.splitlines() if "annotated in" in line] == [
        f"  annotated in {tmp_path / name}" for name in names
    ]


def test_the_results_of_a_truncated_record_are_kept_and_annotated(tmp_path: Path) -> None:
    import wfdb

    samples = wfdb_samples()
    wfdb.wrsamp(
        *("cut", 360, ["mV"], ["MLII"]), p_signal=samples, fmt=["16"], write_dir=str(tmp_path)
    )
    data = tmp_path / "cut.dat"
    data.write_bytes(data.read_bytes()[: samples.size])  # half of it
    options = ("--json", "--outbox", tmp_path / "o.db", "--annotate", "toc")
    result = tocsin("replay", tmp_path / "cut", *options, "--annotate-dir", tmp_path)
    assert result.exit_code == ExitCode.SOURCE
    assert "truncated" in result.stderr
    *alerts, summary = result.stdout.splitlines()
    record = json.loads(summary)["records"][0]
    assert "truncated" in record["fault"]
    assert record["duration_s"] == samples.size / 2 / 360
    assert (tmp_path / "cut.toc").exists()
    with Outbox(tmp_path / "o.db") as outbox:
        assert outbox.pending() == len(alerts) > 0


def wfdb_samples() -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    with open_source("excerpt", block_s=300.0) as source:
        block = source.read(0)
    assert block is not None
    return np.asarray(block.samples_mv, dtype=np.float64)


def test_a_reference_is_not_overwritten(tmp_path: Path) -> None:
    reference = tmp_path / "excerpt.atr"
    reference.write_bytes(b"kept")
    result = tocsin("replay", "excerpt", "--annotate", "atr", "--annotate-dir", tmp_path)
    assert result.exit_code == 2
    assert "is a reference" in result.output
    assert reference.read_bytes() == b"kept"


@pytest.mark.parametrize("baseline", [0.0, 512.0])
@pytest.mark.parametrize("gain", [100.0, 341.333])
def test_counts_with_gain_and_baseline_are_the_same_ecg(
    gain: float, baseline: float, tmp_path: Path
) -> None:
    samples_mv = ecg(30 * 250)[:, 0]
    np.savetxt(tmp_path / "mv.csv", samples_mv, header="ECG", comments="")
    counts = np.rint(samples_mv * gain + baseline)
    np.savetxt(tmp_path / "counts.csv", counts, header="ECG", comments="", fmt="%d")
    given = ("--unit", "counts", "--gain", gain, "--baseline", baseline)
    _, expected = parsed(tocsin("replay", tmp_path / "mv.csv", "--rate-hz", 250, "--json"))
    counted = tocsin("replay", tmp_path / "counts.csv", "--rate-hz", 250, "--json", *given)
    assert parsed(counted)[1]["records"][0]["beats"] == expected["records"][0]["beats"]
    missing = tocsin("replay", tmp_path / "counts.csv", "--rate-hz", 250, "--unit", "counts")
    assert missing.exit_code == ExitCode.USAGE
    assert "give gain" in missing.output
