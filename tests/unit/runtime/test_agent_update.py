"""The steps of an update, beside another update and beside an agent that runs."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import numpy as np
import pytest

from support.agent_bundles import bundle, small_site
from support.vendors import Vendor
from tocsin_agent.config.config import Config
from tocsin_agent.errors import UpdateError, UpdateFault
from tocsin_agent.runtime import agent_update, shadow
from tocsin_agent.runtime.agent_update import AgentUpdate, Allowed
from tocsin_agent.runtime.inquiry import Answer, Inquiry
from tocsin_agent.runtime.tap import Reading
from tocsin_agent.sources.settings import SourceSettings
from tocsin_agent.updates.bundle import open_bundle
from tocsin_agent.updates.settings import UpdateSettings
from tocsin_agent.updates.slot_state import PACKAGE

OFFLINE = Allowed(offline=True)


class Site:
    """A gateway, and bundles for it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.vendor = folder, Vendor(folder)
        self.tree = small_site(folder / "tree")
        settings = UpdateSettings(
            folder=str(folder / "agent"), keys=(str(self.vendor.public_key),), threshold=1
        )
        self.config = Config(
            site="ward3",
            device="bed7",
            source=SourceSettings(uri="synthetic"),
            update=settings,
        )

    def update(self, release: int) -> AgentUpdate:
        path = self.folder / f"{release}.bundle"
        bundle(self.tree, path, self.vendor.private_key, release=release)
        outbox = self.folder / "outbox.db"
        config = self.folder / "tocsin.toml"
        return AgentUpdate([self.config], config, outbox, [outbox], lambda _: None)

    def run(self, update: AgentUpdate, release: int) -> None:
        with open_bundle(self.folder / f"{release}.bundle") as file:
            update.run(file, OFFLINE)


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


@pytest.fixture
def comparing(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], None]], None]:
    """Give what happens while an update compares: both versions are too small to run."""

    def during(happens: Callable[[], None]) -> None:
        monkeypatch.setattr(AgentUpdate, "_compare", lambda *_: happens())

    return during


def test_another_update_cannot_take_the_slot_that_is_compared(
    site: Site, comparing: Callable[[Callable[[], None]], None]
) -> None:
    """It would be tried in place of the version that was compared."""
    first, second = site.update(1), site.update(2)
    caught: list[UpdateFault] = []

    def other() -> None:
        try:
            site.run(second, 2)
        except UpdateError as error:
            caught.append(error.reason)

    comparing(other)
    site.run(first, 1)
    assert caught == [UpdateFault.BUSY]
    trial = first.slots.state().trial
    assert trial is not None
    assert trial.release == 1
    assert b'"release":1' in (first.slots.path(trial.slot) / "manifest.json").read_bytes()


def test_an_update_for_the_next_start_is_refused_beside_a_running_agent(
    site: Site, comparing: Callable[[Callable[[], None]], None]
) -> None:
    comparing(lambda: None)
    update = site.update(1)
    answer = Answer(healthy=True, why="", health=msgspec.Raw(b"null"))
    with (
        Inquiry(site.folder / "outbox.db", lambda: answer),
        pytest.raises(UpdateError, match="leave out --offline"),
    ):
        site.run(update, 1)
    assert update.slots.state().trial is None
    site.run(update, 1)
    assert update.slots.state().trial is not None


def test_samples_that_a_killed_comparison_left_are_removed(
    site: Site, comparing: Callable[[Callable[[], None]], None]
) -> None:
    comparing(lambda: None)
    update = site.update(1)
    (left := update.slots.folder / "shadow-abc").mkdir(parents=True)
    (left / "0.npz").write_bytes(b"of a patient")
    site.run(update, 1)
    assert not left.exists()


@pytest.fixture
def versions_that_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the comparison write all its files; both versions are too small to run."""
    monkeypatch.setattr(agent_update, "run", lambda *_: "")
    monkeypatch.setattr(shadow, "run", lambda *_: "")
    monkeypatch.setattr(shadow, "read_output", lambda *_: {})
    ecg = Reading(250.0, ("II",), np.zeros((2000, 1)))
    monkeypatch.setattr(shadow, "scripted_patient", lambda: ecg)
    monkeypatch.setattr(AgentUpdate, "_check_space", lambda *_: None)


def refused_as_full(site: Site, update: AgentUpdate, release: int) -> bool:
    """Return whether an update was refused; then nothing of it may be left in use."""
    refused: UpdateError | None = None
    try:
        site.run(update, release)
    except UpdateError as error:
        refused = error
    if refused is None:
        return False
    assert refused.reason is UpdateFault.UNWRITABLE, refused
    assert "agent in use stays" in str(refused)
    assert update.slots.state().trial is None
    assert update.slots.state().confirmed == PACKAGE
    assert not [*update.slots.folder.glob("*.new"), *update.slots.folder.glob("shadow-*")]
    return True


@pytest.mark.usefixtures("versions_that_agree")
def test_a_disk_that_is_full_at_any_write_refuses_the_update_and_the_next_one_works(
    tmp_path: Path,
) -> None:
    """Each call that needs room fails, from the first, then from the second on, and so on."""
    for step in range(1, 200):
        (folder := tmp_path / str(step)).mkdir()
        site = Site(folder)
        update = site.update(1)
        with full_from(step, update.slots.folder):
            refused = refused_as_full(site, update, 1)
        if not refused:
            break
        site.run(update, 1)
        trial = update.slots.state().trial
        assert trial is not None
        assert trial.slot == "a"
    assert 10 < step < 199


@contextmanager
def full_from(step: int, folder: Path) -> Iterator[None]:
    """Let every call below a folder that needs room fail from a step on."""
    calls, opened, synced, mkdir = 0, os.open, os.fsync, os.mkdir

    def room() -> None:
        nonlocal calls
        calls += 1
        if calls >= step:
            raise OSError(28, "No space left on device")

    def os_open(path: str, flags: int, *more: object, **named: object) -> int:
        if flags & os.O_CREAT and str(path).startswith(str(folder)):
            room()
        return opened(path, flags, *more, **named)  # type: ignore[arg-type]

    def os_mkdir(path: str, *more: object, **named: object) -> None:
        if str(path).startswith(str(folder)):
            room()
        mkdir(path, *more, **named)  # type: ignore[arg-type]

    def os_fsync(handle: int) -> None:
        room()
        synced(handle)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "open", os_open)
        patch.setattr(os, "mkdir", os_mkdir)
        patch.setattr(os, "fsync", os_fsync)
        yield


@pytest.mark.skipif(os.geteuid() != 0, reason="a disk of a given size is mounted by root")
@pytest.mark.usefixtures("versions_that_agree")
def test_a_real_disk_with_too_little_room_refuses_the_update_and_the_next_one_works(
    tmp_path: Path,
) -> None:
    """Of pages, and of names of files: a tmpfs has both limits."""
    site = Site(tmp_path)
    update = site.update(1)
    disk = update.slots.folder
    disk.mkdir()
    limits = [f"size={4 * pages}k,nr_inodes=1000" for pages in (1, 2, 4, 8, 32, 128)]
    limits += [f"size=16m,nr_inodes={names}" for names in range(2, 24, 2)]
    mount = ["mount", "-t", "tmpfs", "-o"]
    if subprocess.run([*mount, limits[0], "disk", disk], check=False).returncode:
        pytest.skip("nothing can be mounted here")
    refused = 0
    try:
        for limit in limits:
            subprocess.run(["umount", disk], check=True)
            subprocess.run([*mount, limit, "disk", disk], check=True)
            if refused_as_full(site, update, 1):
                refused += 1
                more = "remount,size=16m,nr_inodes=1000"
                subprocess.run(["mount", "-o", more, disk], check=True)
                site.run(update, 1)
            assert update.slots.state().trial is not None
    finally:
        subprocess.run(["umount", disk], check=False)
    assert refused > 8
