"""What of another file of several patients applies while they are monitored."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from tocsin_agent.config.config import Config
from tocsin_agent.config.several import load_patients
from tocsin_agent.runtime.beds import NeedsRestartError, plan

BEDS = """
[[patient]]
device = "bed-1"
source = { uri = "synthetic" }
[[patient]]
device = "bed-2"
source = { uri = "synthetic" }
"""

Load = Callable[[str], Sequence[Config]]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    def loaded(text: str) -> Sequence[Config]:
        (tmp_path / "beds.toml").write_text(f'site = "ward3"\n{text}')
        return load_patients(tmp_path / "beds.toml")

    return loaded


@pytest.mark.parametrize(
    ("key", "change"),
    [
        ("update.healthy_s", "[update]\nhealthy_s = 77\n"),
        ("supervision.stall_s", "[supervision]\nstall_s = 77\n"),
        ("outbox.path", '[outbox]\npath = "other.db"\n'),
    ],
)
@pytest.mark.parametrize("names", [("bed-1", "bed-2"), ("bed-3", "bed-4")])
def test_what_is_of_the_process_needs_its_restart_whatever_the_beds_are_called(
    load: Load, key: str, change: str, names: tuple[str, str]
) -> None:
    running = load(BEDS)
    renamed = BEDS.replace("bed-1", names[0]).replace("bed-2", names[1])
    assert plan(running, load(renamed)) is not None
    with pytest.raises(NeedsRestartError, match=key):
        plan(running, load(change + renamed))


def test_a_renamed_bed_ends_and_begins(load: Load) -> None:
    made = plan(load(BEDS), load(BEDS.replace("bed-1", "bed-9")))
    assert ([one.device for one in made.added], made.removed) == (["bed-9"], ("bed-1",))
    assert not made.restarted
    assert not made.changed
