"""A file that is replaced is whole, has its own rights, and leaves nothing on a full disk."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from support.power import PowerCut, cut_at
from tocsin_agent.durable_file import replace_file


def test_what_an_interrupted_write_left_gives_neither_content_nor_rights(tmp_path: Path) -> None:
    (tmp_path / "key.new").write_bytes(b"of an interrupted write, which was longer")
    (tmp_path / "key.new").chmod(0o666)
    replace_file(tmp_path / "key", b"secret", 0o600)
    assert (tmp_path / "key").read_bytes() == b"secret"
    assert stat.S_IMODE((tmp_path / "key").stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["key"]


def test_a_full_disk_leaves_the_file_as_it_was_and_takes_no_more_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace_file(tmp_path / "state", b"before")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space left"):
            replace_file(tmp_path / "state", b"after")
    assert (tmp_path / "state").read_bytes() == b"before"
    assert [path.name for path in tmp_path.iterdir()] == ["state"]


def test_a_power_cut_at_any_step_leaves_one_content_whole(tmp_path: Path) -> None:
    path, found = tmp_path / "state", set[bytes]()
    for step in range(1, 20):
        path.write_bytes(b"before")
        with pytest.MonkeyPatch.context() as patch:
            cut_at(step, patch)
            try:
                replace_file(path, b"after")
            except PowerCut:
                found.add(path.read_bytes())
            else:
                break
        replace_file(path, b"again")
        assert path.read_bytes() == b"again"
    assert found == {b"before", b"after"}
