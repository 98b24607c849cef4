"""Row 20: what a configuration names is checked before a start, and nothing is changed by that."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from support.brokers import authority
from tocsin_agent.config.config import parse_config
from tocsin_agent.runtime import preflight
from tocsin_agent.runtime.preflight import problems


def found(tmp_path: Path, **changes: dict[str, Any]) -> dict[str, str]:
    raw: dict[str, Any] = {
        "site": "s",
        "device": "d",
        "source": {"uri": "synthetic"},
        "outbox": {"path": str(tmp_path / "new" / "o.db")},
    }
    return dict(problems(parse_config(raw | changes, "t")))


def test_row_20_a_good_configuration_has_no_problem_and_leaves_no_trace(tmp_path: Path) -> None:
    assert found(tmp_path) == {}
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("uri", "why"),
    [
        ("sreial:/dev/ttyUSB0", "a source is one of"),
        ("none.csv", "there is no file"),
        ("synthetic:nobody", "nobody"),
        ("tls://0.0.0.0:7208", "needs a certificate"),
    ],
)
def test_row_20_a_source_that_cannot_be_opened(tmp_path: Path, uri: str, why: str) -> None:
    assert why in found(tmp_path, source={"uri": uri})["source.uri"]


def test_row_20_a_package_that_is_absent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(preflight._MODULES, "serial", ("serial", "no_such_package"))
    message = found(tmp_path, source={"uri": "serial:/dev/ttyS0"})["source.uri"]
    assert message == "needs no_such_package: pip install 'tocsin[serial]'"


def test_row_20_certificates_key_and_password(tmp_path: Path) -> None:
    one, other = authority(tmp_path, "one"), authority(tmp_path, "other")
    mqtt = {"tls": {"ca_file": str(tmp_path / "none.pem")}, "username": "u"}
    mqtt |= {"password_file": str(tmp_path / "none")}
    wrong = found(tmp_path, mqtt=mqtt)
    assert set(wrong) == {"mqtt.tls", "mqtt.password_file"}
    swapped = {"cert_file": str(one), "key_file": str(other.with_suffix(".key"))}
    assert "mqtt.tls" in found(tmp_path, mqtt={"tls": swapped})
    right = swapped | {"key_file": str(one.with_suffix(".key"))}
    assert found(tmp_path, mqtt={"tls": right}) == {}


def test_row_20_an_outbox_that_has_no_place(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path, tmp_path / "file" / "o.db"):
        assert "outbox.path" in found(tmp_path, outbox={"path": str(path)})
    assert "not writable" in found(tmp_path, outbox={"path": "/proc/1/o.db"})["outbox.path"]


def test_row_20_keys_and_folder_of_models(tmp_path: Path) -> None:
    (tmp_path / "k.pem").write_text("no key")
    model = {"folder": str(tmp_path / "none"), "public_key": str(tmp_path / "k.pem")}
    wrong = found(tmp_path, model=model | {"path": str(tmp_path / "none.onnx")})
    assert set(wrong) == {"model.public_key", "model.path", "model.folder"}
