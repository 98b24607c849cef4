"""`tocsin strip`: from an alert to a picture."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from support.factories import make_alert, make_episode, make_strip
from tocsin_agent.cli.strip import command
from tocsin_agent.messages.alert import encode_alert


def strip(*arguments: object, given: str | None = None) -> Result:
    return CliRunner().invoke(command, [str(a) for a in arguments], input=given)


def alert_file(folder: Path) -> Path:
    file = folder / "alert.json"
    file.write_bytes(encode_alert(make_alert(strip=make_strip())))
    return file


@pytest.mark.parametrize(
    ("kind", "begins"), [("svg", b"<svg"), ("png", b"\x89PNG"), ("pdf", b"%PDF"), ("PDF", b"%PDF")]
)
def test_each_kind_of_picture(kind: str, begins: bytes, tmp_path: Path) -> None:
    output = tmp_path / f"strip.{kind}"
    result = strip(alert_file(tmp_path), "-o", output, "--language", "de")
    assert result.exit_code == 0, result.output
    assert "VENTRIKULÄRE TACHYKARDIE" in result.output
    assert output.read_bytes().startswith(begins)


def test_without_an_output_it_is_drawn_in_the_terminal(tmp_path: Path) -> None:
    result = strip(alert_file(tmp_path), "--language", "en")
    assert result.output.startswith("!!! Ward 3, bed 7: VENTRICULAR TACHYCARDIA")
    assert "mV" in result.output


def test_lines_of_watch_are_read_and_one_is_chosen(tmp_path: Path) -> None:
    alerts = [make_alert(n, strip=make_strip()) for n in (3600, 7200)]
    records = [{"type": "status"}, *({"alert": json.loads(encode_alert(a))} for a in alerts)]
    records += records[1:]  # repeats, since nobody has accepted them
    lines = "\n".join(map(json.dumps, records))
    asked = strip("-", given=lines)
    assert asked.exit_code == 2
    assert all(asked.output.count(f"{alert.alert_id[:8]}.1") == 1 for alert in alerts)
    assert "name one with --alert" in asked.output
    chosen = alerts[1].alert_id[:8]
    output = tmp_path / "a.svg"
    assert strip("-", "--alert", f"{chosen}.1", "-o", output, given=lines).exit_code == 0
    assert alerts[1].alert_id in output.read_text()
    assert "no such alert" in strip("-", "--alert", "zz", given=lines).output


def test_what_cannot_be_drawn_is_refused_with_the_reason(tmp_path: Path) -> None:
    file = tmp_path / "alert.json"
    for written, reason in (
        (b"nonsense", "neither an alert nor lines"),
        (b"{}", "is not a tocsin alert"),
        (b"", "holds no such alert"),
        (encode_alert(list(make_episode())[-1]), "has no strip"),
    ):
        file.write_bytes(written)
        result = strip(file, "-o", tmp_path / "a.svg")
        assert result.exit_code == 2
        assert reason in result.output
    gone = strip(tmp_path / "gone.json", "-o", tmp_path / "a.svg")
    assert gone.exit_code == 2
    assert "does not exist" in gone.output
    assert "ends in .svg, .png or .pdf" in strip(file, "-o", tmp_path / "a.gif").output
