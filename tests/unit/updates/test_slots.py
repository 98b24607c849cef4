"""Which version starts: whatever is cut, crashes or is damaged, one that can be used."""

from __future__ import annotations

import random
import resource
from contextlib import suppress
from pathlib import Path

import msgspec
import pytest

from support.agent_bundles import bundle, small_site
from support.power import PowerCut, cut_at
from support.vendors import Vendor
from tocsin_agent.errors import UpdateError, UpdateFault
from tocsin_agent.updates import bundle as bundles
from tocsin_agent.updates.slot_state import MAX_STARTS, MAX_TRIALS, PACKAGE, State, Trial
from tocsin_agent.updates.slots import Slots

VERSION = "0.1.0"


class Gateway:
    """A gateway, without an agent: what is installed on it, and what would be started."""

    def __init__(self, folder: Path) -> None:
        self.vendor = Vendor(folder)
        self.slots = Slots(folder / "agent")
        self.bundle = folder / "new.bundle"
        self.tree = small_site(folder / "tree")
        self.boot = 1
        self.release = 0

    def unusable(self, slot: str) -> str:
        try:
            bundles.verify_unpacked(self.slots.path(slot), [self.vendor.public_key], 1)
        except UpdateError as error:
            return str(error)
        return ""

    def start(self, package: str = VERSION) -> str:
        slot = self.slots.next_start(str(self.boot), package, self.unusable)
        assert slot == PACKAGE or not self.unusable(slot), "a version that cannot be used"
        return slot

    def restart_machine(self) -> str:
        self.boot += 1
        return self.start()

    def install(self) -> str:
        """Do what an update does, up to the start of the new version."""
        self.release += 1
        bundle(self.tree, self.bundle, self.vendor.private_key, release=self.release)
        return self.unpack()

    def unpack(self) -> str:
        with bundles.open_bundle(self.bundle) as file:
            manifest = bundles.verify(file, [self.vendor.public_key], 1, bundles.now_utc())
            with self.slots.updating(), self.slots.filling() as (slot, folder):
                bundles.unpack(file, manifest, folder)
        self.slots.change(lambda state: state.trying(Trial(slot, manifest.release), VERSION))
        return slot

    def healthy(self, slot: str) -> None:
        self.slots.change(lambda state: state.healthy(slot))

    def update(self) -> str:
        slot = self.install()
        assert self.start() == slot
        self.healthy(slot)
        return slot


@pytest.fixture
def gateway(tmp_path: Path) -> Gateway:
    return Gateway(tmp_path)


def test_without_an_update_the_package_starts_and_nothing_is_written(gateway: Gateway) -> None:
    assert gateway.start() == PACKAGE
    assert not gateway.slots.folder.exists()


def test_versions_take_turns_in_the_slots_and_the_last_but_one_is_the_way_back(
    gateway: Gateway,
) -> None:
    assert [gateway.update() for _ in range(3)] == ["a", "b", "a"]
    state = gateway.slots.state()
    assert (state.confirmed, state.previous, state.newest) == ("a", "b", 3)
    trial = state.back()
    gateway.slots.change(lambda state: state.trying(trial, VERSION))
    assert gateway.start() == "b"
    gateway.healthy("b")
    assert gateway.slots.state().confirmed == "b"
    assert gateway.slots.state().newest == 3


def test_a_version_that_ends_before_it_is_kept_is_left(gateway: Gateway) -> None:
    gateway.update()
    assert gateway.install() == "b"
    assert gateway.start() == "b"
    assert gateway.start() == "a"
    assert "ended before" in gateway.slots.state().left
    assert gateway.start() == "a"


def test_a_trial_outlives_some_power_cuts(gateway: Gateway) -> None:
    slot = gateway.install()
    assert [gateway.restart_machine() for _ in range(MAX_TRIALS)] == [slot] * MAX_TRIALS
    assert gateway.restart_machine() == PACKAGE
    assert f"{MAX_TRIALS} times" in gateway.slots.state().left


def test_a_version_in_use_that_never_gets_healthy_gives_way(gateway: Gateway) -> None:
    gateway.update()
    gateway.update()
    started = [gateway.start() for _ in range(3 * MAX_STARTS + 1)]
    expected = ["b"] * MAX_STARTS + ["a"] * MAX_STARTS + [PACKAGE] * MAX_STARTS
    assert started == [*expected, "b"], "and then from the beginning: perhaps it was the source"
    gateway.healthy("b")
    assert gateway.start() == "b"


def test_a_power_cut_is_no_failure_of_a_version_in_use(gateway: Gateway) -> None:
    slot = gateway.update()
    assert {gateway.restart_machine() for _ in range(20)} == {slot}


def test_a_fallback_that_is_healthy_is_kept(gateway: Gateway) -> None:
    slot = gateway.update()
    target = gateway.slots.path(slot) / bundles.SITE / "data/a"
    target.unlink()
    assert gateway.start() == PACKAGE
    gateway.healthy(PACKAGE)
    assert gateway.slots.state().confirmed == PACKAGE
    assert any("cannot be used" in event for event in gateway.slots.state().events)


def test_another_package_takes_precedence(gateway: Gateway) -> None:
    slot = gateway.update()
    assert gateway.start() == slot
    assert gateway.start(package="0.2.0") == PACKAGE
    assert gateway.start(package="0.2.0") == PACKAGE
    assert gateway.slots.state().newest == 1, "what was used is remembered"


def test_the_slot_in_use_is_never_filled(gateway: Gateway) -> None:
    gateway.update()
    gateway.update()
    for _ in range(MAX_STARTS + 1):
        gateway.start()
    assert gateway.slots.state().running == "a"
    with pytest.raises(UpdateError) as caught:
        gateway.unpack()  # b is in use, and a runs in its place
    assert caught.value.reason is UpdateFault.BUSY


def test_one_update_at_a_time(gateway: Gateway) -> None:
    gateway.install()
    gateway.start()
    with pytest.raises(UpdateError, match="being tried"):
        gateway.unpack()
    gateway.healthy("a")
    with gateway.slots.updating(), pytest.raises(UpdateError, match="under way"):
        gateway.unpack()


@pytest.mark.parametrize("kind", ["link", "file"])
def test_what_is_in_the_place_of_a_slot_gives_way_and_what_it_leads_to_stays(
    gateway: Gateway, tmp_path: Path, kind: str
) -> None:
    (elsewhere := tmp_path / "elsewhere").mkdir()
    (elsewhere / "file").write_text("kept")
    gateway.slots.folder.mkdir(parents=True, exist_ok=True)
    if kind == "link":
        gateway.slots.path("a").symlink_to(elsewhere)
    else:
        gateway.slots.path("a").write_text("no folder")
    assert gateway.install() == "a"
    assert gateway.start() == "a"
    assert not gateway.slots.path("a").is_symlink()
    assert (elsewhere / "file").read_text() == "kept"


def test_after_a_cut_at_any_step_a_version_that_works_starts_and_the_update_can_be_repeated(
    tmp_path: Path,
) -> None:
    cuts, step, reached = 0, 0, set[str]()
    while True:
        step += 1
        folder = tmp_path / str(step)
        folder.mkdir()
        gateway = Gateway(folder)
        gateway.update()
        gateway.release = 2
        bundle(gateway.tree, gateway.bundle, gateway.vendor.private_key, release=2)
        with pytest.MonkeyPatch.context() as patch:
            cut_at(step, patch)
            try:
                slot = gateway.unpack()
                assert gateway.start() == slot
                gateway.healthy(slot)
            except PowerCut:
                cuts += 1
            else:
                break
        started = gateway.restart_machine()
        assert started in {"a", "b"}, "the old one or the new one, and the package is not needed"
        reached.add(started)
        gateway.healthy(started)
        if gateway.slots.state().confirmed == "a":
            assert gateway.unpack() == "b"
            assert gateway.start() == "b"
            gateway.healthy("b")
        assert gateway.slots.state().confirmed == "b"
    assert reached == {"a", "b"}
    assert cuts > 20


def test_a_slot_whose_files_did_not_reach_the_disk_is_not_started(gateway: Gateway) -> None:
    gateway.update()
    slot = gateway.install()
    for path in (gateway.slots.path(slot) / bundles.SITE).rglob("*.py"):
        path.chmod(0o600)
        path.write_bytes(b"")
    assert gateway.restart_machine() == "a"
    assert "not what was signed" in gateway.slots.state().left


def test_a_full_disk_refuses_the_update_and_the_next_one_works(gateway: Gateway) -> None:
    gateway.update()
    (gateway.tree / "large").write_bytes(bytes(300_000))
    gateway.release += 1
    bundle(gateway.tree, gateway.bundle, gateway.vendor.private_key, release=2)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    try:
        with pytest.raises(UpdateError) as caught:
            gateway.unpack()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert caught.value.reason is UpdateFault.UNWRITABLE
    assert gateway.start() == "a"
    assert not gateway.slots.path("b.new").exists()
    assert gateway.unpack() == "b"


def test_a_state_that_cannot_be_written_starts_what_is_in_use(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    gateway.update()
    gateway.install()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("tocsin_agent.updates.slots.replace_file", full)
        assert gateway.start() == "a", "a trial that cannot be counted would be tried for ever"
    assert gateway.start() == "b"


def test_a_state_that_cannot_be_read_now_is_not_replaced(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With no file descriptor left, it looked like a gateway without any version."""
    slot = gateway.update()

    def none_left(*_: object) -> bytes:
        raise OSError(24, "Too many open files")

    with monkeypatch.context() as patch:
        patch.setattr("tocsin_agent.updates.slots.read_regular", none_left)
        with pytest.raises(UpdateError, match="Too many open files"):
            gateway.slots.change(lambda state: state.with_event("anything"))
    assert gateway.slots.state().confirmed == slot
    assert gateway.slots.state().newest == 1


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"confirmed": 7}', b"\xff" * 300_000])
def test_a_damaged_state_starts_the_package(gateway: Gateway, content: bytes) -> None:
    gateway.update()
    (gateway.slots.folder / "state").write_bytes(content)
    assert gateway.start() == PACKAGE
    gateway.update()


@pytest.mark.parametrize("seed", range(4))
def test_whatever_happens_in_any_order_a_version_that_can_be_used_starts(
    tmp_path: Path, seed: int
) -> None:
    rng, gateway = random.Random(seed), Gateway(tmp_path)
    running = gateway.start()
    for _ in range(60):
        what = rng.choice(["healthy", "crash", "cut", "install", "back", "damage", "package"])
        if what == "healthy":
            gateway.healthy(running)
            assert gateway.slots.state().wanted == running
        elif what == "install":
            with suppress(UpdateError):  # both slots are in use
                gateway.install()
        elif what == "back":
            try:
                trial = gateway.slots.state().back()
            except UpdateError:
                continue
            gateway.slots.change(lambda state, trial=trial: state.trying(trial, VERSION))  # type: ignore[misc]
        elif what == "damage" and rng.random() < 0.3:
            other = rng.choice(["a", "b"])
            if other != running:
                (gateway.slots.path(other) / bundles.SITE / "data/a").unlink(missing_ok=True)
        running = gateway.restart_machine() if what == "cut" else gateway.start()
        state = gateway.slots.state()
        assert state.running == running or not (gateway.slots.folder / "state").exists()
        assert len(msgspec.json.encode(state)) < 100_000, "bounded"


def test_events_are_bounded_and_each_is_kept_once() -> None:
    state = State()
    for n in range(100):
        state = state.with_event(f"{n}" * 5000).with_event("again")
    assert len(state.events) == 32
    assert state.events.count("again") == 1
    assert state.without_events(state.events).events == ()
