"""Case 19 and 28: the password as editors and containers save it is read, or refused with why."""

from __future__ import annotations

from pathlib import Path

import pytest

from tocsin_agent.mqtt.password import read_password


@pytest.mark.parametrize("content", [b"secret", b"secret\n", b"\xef\xbb\xbfsecret\r\n"])
def test_case_19_a_byte_order_mark_and_a_newline_are_left_out(
    tmp_path: Path, content: bytes
) -> None:
    (tmp_path / "p").write_bytes(content)
    assert read_password(str(tmp_path / "p")) == "secret"


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "empty"),
        (b"secret \n", "a space"),
        (b"secret\n# the ward's broker\n", "several lines"),
        (b'"secret"\n', "in quotes"),
        (b"\xff\xfe", "utf-8"),
    ],
)
def test_case_19_what_cannot_be_a_password_is_refused(
    tmp_path: Path, content: bytes, why: str
) -> None:
    (tmp_path / "p").write_bytes(content)
    with pytest.raises(ValueError, match=why):
        read_password(str(tmp_path / "p"))


def test_case_19_a_folder_or_no_file_is_an_error_of_the_file(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none"):
        with pytest.raises(OSError, match=r"Is a directory|No such file"):
            read_password(str(path))


def test_case_28_a_newline_in_the_environment_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOCSIN_MQTT_PASSWORD", "secret\n")
    assert read_password(None) == "secret"
