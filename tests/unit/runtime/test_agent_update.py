"""The steps of an update, beside another update and beside an agent that runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from support.agent_bundles import bundle, small_site
from support.vendors import Vendor
from tocsin_agent.config.config import Config
from tocsin_agent.errors import UpdateError, UpdateFault
from tocsin_agent.runtime.agent_update import AgentUpdate, Allowed
from tocsin_agent.runtime.inquiry import Answer, Inquiry
from tocsin_agent.sources.settings import SourceSettings
from tocsin_agent.updates.bundle import open_bundle
from tocsin_agent.updates.settings import UpdateSettings

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
