"""`tocsin audit` prints the trail of an outbox, also of one that an agent has open."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from support.factories import make_alert
from tocsin_agent.cli.audit import command
from tocsin_agent.delivery.outbox import Outbox
from tocsin_agent.errors import DeliveryError


def run(*arguments: str) -> str:
    result = CliRunner().invoke(command, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_an_entry_is_printed_as_text_json_and_csv(tmp_path: Path) -> None:
    path = tmp_path / "o.db"
    with Outbox(path) as outbox:
        outbox.append([make_alert()])
        outbox.answers.record("configuration", "abc")
        text = run("--outbox", str(path))
        assert "committed" in text
        assert "ventricular_tachycardia onset high, detected 2026-03-01T12:00:02" in text
        first, second = map(json.loads, run("--outbox", str(path), "--json").splitlines())
        assert first["document"]["alert_id"] == first["alert_id"] == make_alert().alert_id
        assert (second["event"], second["detail"]) == ("configuration", "abc")
        rows = list(csv.DictReader(io.StringIO(run("--outbox", str(path), "--csv"))))
        assert [row["event"] for row in rows] == ["committed", "configuration"]


def test_entries_are_chosen_by_alert_and_time(tmp_path: Path) -> None:
    path = tmp_path / "o.db"
    with Outbox(path) as outbox:
        outbox.append([make_alert(1), make_alert(2)])
    start = make_alert(1).alert_id[:8]
    assert len(run("--outbox", str(path), "--alert", start).splitlines()) == 1
    assert len(run("--outbox", str(path), "--since", "1").splitlines()) == 2
    assert run("--outbox", str(path), "--since", "2999-01-01") == ""


def test_what_is_wrong_is_said_with_what_to_do(tmp_path: Path) -> None:
    def refused(*arguments: str) -> str:
        result = CliRunner().invoke(command, arguments)
        assert result.exit_code == 2
        return result.output

    assert "--config" in refused()
    assert "hours" in refused("--outbox", "o.db", "--since", "noon")
    assert "not both" in refused("--outbox", "o.db", "--json", "--csv")
    with pytest.raises(DeliveryError, match=r"outbox\.path"):
        CliRunner().invoke(command, ["--outbox", str(tmp_path / "none.db")], catch_exceptions=False)
