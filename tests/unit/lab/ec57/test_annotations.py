"""Annotation files as they come: sound, broken and odd, and what the command does with them."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

from tocsin_agent.cli import ExitCode, cli
from tocsin_agent.errors import SourceError, SourceFault
from tocsin_agent.lab.ec57.annotations import Header, read_annotations, read_header
from tocsin_agent.lab.ec57.folders import Folders

HEADER = Header(360.0, 200_000)
END = b"\0\0"
NORMAL, PVC, NOTE = 1, 5, 22
_SKIP, _NUM, _SUB, _CHN, _AUX = 59, 60, 61, 62, 63


def word(code: int, value: int) -> bytes:
    return (code << 10 | value & 0x3FF).to_bytes(2, "little")


def aux(text: bytes) -> bytes:
    return word(_AUX, len(text)) + text + b"\0" * (len(text) % 2)


def skip(samples: int) -> bytes:
    value = samples & 0xFFFFFFFF
    return (
        word(_SKIP, 0)
        + (value >> 16).to_bytes(2, "little")
        + (value & 0xFFFF).to_bytes(2, "little")
    )


def beats_at(*samples: int, code: int = NORMAL) -> bytes:
    before, out = 0, b""
    for sample in samples:
        out += skip(sample - before) + word(code, 0)
        before = sample
    return out + END


def written(tmp_path: Path, content: bytes, name: str = "100.atr") -> Path:
    path = tmp_path / name
    path.write_bytes(content)
    return path


def test_every_field_is_read(tmp_path: Path) -> None:
    content = (
        word(NORMAL, 100)
        + word(14, 50) + word(_SUB, -1) + word(_CHN, 1) + word(_NUM, 3)
        + skip(70_000) + word(28, 5) + aux(b"(AFIB\0")
        + word(49, 1)
        + END
    )  # fmt: skip
    read = read_annotations(written(tmp_path, content), HEADER)
    assert read.record == "100"
    assert read.sample.tolist() == [100, 150, 70_155, 70_156]
    assert read.symbol == ("N", "~", "+", "#49")
    assert read.subtype.tolist() == [0, -1, 0, 0]
    assert read.channel.tolist() == [0, 1, 1, 1]
    assert read.number.tolist() == [0, 3, 3, 3]
    assert read.aux == ("", "", "(AFIB", "")
    assert read.notes == ("100.atr has 1 annotations of unknown codes (49): no beats",)


def test_a_stated_rate_rescales(tmp_path: Path) -> None:
    content = word(NOTE, 0) + aux(b"## time resolution: 250") + beats_at(250, 500)
    read = read_annotations(written(tmp_path, content), HEADER)
    assert read.sample.tolist() == [360, 720]
    assert read.symbol == ("N", "N")
    assert "250 Hz: rescaled to 360 Hz" in read.notes[0]


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"", SourceFault.TRUNCATED),
        (b"\1", SourceFault.TRUNCATED),
        (word(NORMAL, 10) + b"\1", SourceFault.TRUNCATED),
        (word(NORMAL, 10) + word(_SKIP, 0) + b"\0\0\0", SourceFault.TRUNCATED),
        (word(NORMAL, 10) + word(_AUX, 9) + b"(AF", SourceFault.TRUNCATED),
        (word(_SUB, 1) + END, SourceFault.MALFORMED),
        (word(NOTE, 0) + aux(b"## time resolution: 0") + END, SourceFault.MALFORMED),
        (word(NOTE, 0) + aux(b"## time resolution: 1e") + END, SourceFault.MALFORMED),
    ],
)
def test_a_file_that_cannot_be_trusted_is_refused(
    tmp_path: Path, content: bytes, fault: SourceFault
) -> None:
    with pytest.raises(SourceError, match=r"100\.atr") as caught:
        read_annotations(written(tmp_path, content), HEADER)
    assert caught.value.reason is fault


def test_an_annotator_that_found_nothing_is_sound(tmp_path: Path) -> None:
    read = read_annotations(written(tmp_path, END), HEADER)
    assert len(read) == 0
    assert read.notes == ()


def test_out_of_order_is_sorted_and_said(tmp_path: Path) -> None:
    read = read_annotations(written(tmp_path, beats_at(500, 100, 300)), HEADER)
    assert read.sample.tolist() == [100, 300, 500]
    assert read.notes == ("100.atr goes back in time 1 times: sorted",)


def test_outside_the_signal_is_left_out_and_said(tmp_path: Path) -> None:
    read = read_annotations(written(tmp_path, beats_at(-5, 100, 199_999, 200_000)), HEADER)
    assert read.sample.tolist() == [100, 199_999]
    assert "2 annotations outside the signal" in "".join(read.notes)


def test_no_end_mark_is_said(tmp_path: Path) -> None:
    read = read_annotations(written(tmp_path, beats_at(100)[:-2]), HEADER)
    assert read.sample.tolist() == [100]
    assert read.notes == ("100.atr has no end mark",)


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    path = written(tmp_path_factory.getbasetemp(), content, "fuzz.atr")
    try:
        read = read_annotations(path, HEADER)
    except SourceError:
        return
    assert all(0 <= sample < 200_000 for sample in read.sample)
    assert (read.sample[1:] >= read.sample[:-1]).all()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("# made by hand\r\n100 2 360 650000\r\n100.dat 212\r\n", Header(360.0, 650_000)),
        ("100 2 128/4(0) 1000 12:00:00", Header(128.0, 1000)),
        ("100/3 2", Header(250.0, None)),
        ("\ufeff100 1 360 0", Header(360.0, None)),
    ],
)
def test_headers(tmp_path: Path, text: str, expected: Header) -> None:
    assert read_header(written(tmp_path, text.encode(), "100.hea")) == expected


@pytest.mark.parametrize("text", ["", "# only this", "100", "100 two 360", "100 2 x", "100 2 0 5"])
def test_what_is_no_header_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(SourceError) as caught:
        read_header(written(tmp_path, text.encode(), "100.hea"))
    assert caught.value.reason is SourceFault.MALFORMED


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("100", "101"):
        written(tmp_path, f"{name} 1 360 200000\r\n".encode(), f"{name}.hea")
        written(tmp_path, beats_at(120_000, 120_400), f"{name}.atr")
        written(tmp_path, beats_at(120_000, 120_400), f"{name}.qrs")
    return tmp_path


def bxb(folder: Path, *more: str) -> Result:
    args = ["ec57", "bxb", "--records", str(folder), "--reference", "atr", "--test", "qrs", *more]
    return CliRunner().invoke(cli, args)


def test_a_sound_folder(folder: Path) -> None:
    result = bxb(folder)
    assert result.exit_code == ExitCode.OK
    assert result.stdout.splitlines()[-1] == "Summary of results from 2 records"
    assert "Total QRS complexes: 4" in result.stdout
    assert result.stderr == ""


@pytest.mark.parametrize(("gone", "what"), [("atr", "reference"), ("qrs", "test")])
def test_a_missing_file_is_named_and_refused_or_left_out(
    folder: Path, gone: str, what: str
) -> None:
    (folder / f"101.{gone}").unlink()
    refused = bxb(folder)
    assert refused.exit_code == ExitCode.SOURCE
    assert f"1 without {what} annotations" in refused.stderr
    assert "101" in refused.stderr
    assert refused.stdout == ""

    allowed = bxb(folder, "--allow-missing")
    assert allowed.exit_code == ExitCode.OK
    assert f"left out: 101 has no {what} annotations" in allowed.stderr
    assert allowed.stdout.splitlines()[-1] == "Summary of results from 1 records"
    assert bxb(folder, "--record", "100").exit_code == ExitCode.OK
    assert bxb(folder, "--record", "101", "--allow-missing").exit_code == ExitCode.SOURCE


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("101.qrs", b"", "101.qrs is empty"),
        ("101.atr", b"", "101.atr is empty"),
        ("101.atr", END, "101.atr holds no beat annotation"),
        ("101.hea", b"", "101.hea is no WFDB header"),
    ],
)
def test_hostile_files_are_refused_by_name(
    folder: Path, name: str, content: bytes, said: str
) -> None:
    written(folder, content, name)
    result = bxb(folder)
    assert result.exit_code == ExitCode.SOURCE
    assert said in result.stderr
    assert result.stdout == ""


def test_a_missing_header_is_refused(folder: Path) -> None:
    (folder / "101.hea").unlink()
    result = bxb(folder)
    assert result.exit_code == ExitCode.SOURCE
    assert "no header" in result.stderr


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (beats_at(120_400, 120_000), "sorted"),
        (beats_at(120_000, 120_400, 900_000), "outside the signal"),
        (beats_at(120_000, 120_400)[:-2] + word(45, 9) + END, "unknown codes (45)"),
        (
            word(NOTE, 0) + aux(b"## time resolution: 180") + beats_at(60_000, 60_200),
            "rescaled to 360 Hz",
        ),
    ],
)
def test_what_can_be_put_right_is_and_is_said(folder: Path, content: bytes, said: str) -> None:
    written(folder, content, "101.qrs")
    result = bxb(folder)
    assert result.exit_code == ExitCode.OK
    assert said in result.stderr
    assert result.stdout == bxb_of_sound(folder)


def bxb_of_sound(folder: Path) -> str:
    written(folder, beats_at(120_000, 120_400), "101.qrs")
    return bxb(folder).stdout


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    result = bxb(tmp_path)
    assert result.exit_code == ExitCode.SOURCE
    assert "nothing to compare" in result.stderr


def test_references_beside_the_tests_are_found(folder: Path) -> None:
    headers, both = folder / "headers", folder / "both"
    headers.mkdir()
    both.mkdir()
    for name in ("100", "101"):
        (folder / f"{name}.hea").rename(headers / f"{name}.hea")
        for kind in ("atr", "qrs"):
            (folder / f"{name}.{kind}").rename(both / f"{name}.{kind}")
    found = Folders(headers, ".atr", ".qrs", both).find()
    assert len(list(found.read(beats=True))) == 2


@pytest.mark.parametrize("args", [("--start", "x"), ("--start", "5:00", "--end", "4:00")])
def test_times_that_make_no_sense_are_usage_errors(folder: Path, args: tuple[str, ...]) -> None:
    assert bxb(folder, *args).exit_code == ExitCode.USAGE
