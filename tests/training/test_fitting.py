"""Teaching: seeded, kept after every epoch, resumed bit for bit, stopped when it is no better."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tocsin_training.fitting import Course

if find_spec("torch") is None:
    if os.environ.get("TOCSIN_REQUIRE_TOOLS") == "1":
        pytest.fail("torch is missing: pip install -e '.[train]'", pytrace=False)
    pytest.skip("torch is missing: pip install -e '.[train]'", allow_module_level=True)


class Points:
    """Whether points lie above a line, varied by draws of torch as real lessons are."""

    def __init__(self, seed: int = 1) -> None:
        import torch

        draws = torch.Generator().manual_seed(seed)
        self.x = torch.randn(400, 2, generator=draws)
        self.y = (self.x[:, :1] > 0.3 * self.x[:, 1:]).float()

    def __len__(self) -> int:
        return len(self.x)

    def tensors(self) -> tuple[Any, ...]:
        return self.x, self.y

    def loss(self, net: Any, some: Any) -> Any:
        import torch

        x = self.x[some] + 0.05 * torch.randn(len(some), 2)
        return torch.nn.functional.binary_cross_entropy_with_logits(net(x), self.y[some])


def made() -> Any:
    from torch import nn

    return nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Dropout(0.2), nn.Linear(8, 1))


def course(folder: Path, *, resume: bool = False, seed: int = 3, points: int = 1) -> Course:
    from tocsin_training.fitting import Course, Plan

    plan = Plan(rate=0.02, decay=1e-2, batch=32, memory=20, seed=seed)
    return Course(made, Points(points), plan, folder, resume=resume)


def taught(of: Course, epochs: int) -> Course:
    while of.epochs < epochs:
        of.teach()
    return of


def weights(of: Course, epoch: int) -> list[list[float]]:
    return [p.flatten().tolist() for p in of.after(epoch).parameters()]


def test_it_learns_and_answers_with_its_mean(tmp_path: Path) -> None:
    done, points = taught(course(tmp_path), 30), Points()
    right = [float(((done.after(e)(points.x) > 0) == points.y).float().mean()) for e in (1, 30)]
    assert right[1] > max(0.9, right[0])


def test_the_same_seed_gives_the_same_bits_and_another_does_not(tmp_path: Path) -> None:
    first = weights(taught(course(tmp_path / "a"), 2), 2)
    assert weights(taught(course(tmp_path / "b"), 2), 2) == first
    assert weights(taught(course(tmp_path / "c", seed=4), 2), 2) != first


@pytest.mark.parametrize("broken_off", [1, 2, 3])
def test_a_course_broken_off_goes_on_bit_for_bit(tmp_path: Path, broken_off: int) -> None:
    whole = taught(course(tmp_path / "whole"), 4)
    taught(course(tmp_path / "parts"), broken_off)
    resumed = course(tmp_path / "parts", resume=True)
    assert resumed.epochs == broken_off
    taught(resumed, 4)
    assert [weights(resumed, e) for e in range(1, 5)] == [weights(whole, e) for e in range(1, 5)]


def test_courses_may_take_turns(tmp_path: Path) -> None:
    alone = weights(taught(course(tmp_path / "alone"), 3), 3)
    one, other = course(tmp_path / "one"), course(tmp_path / "other", seed=9)
    for _ in range(3):
        one.teach()
        other.teach()
    assert weights(one, 3) == alone


def test_a_new_course_forgets_old_checkpoints(tmp_path: Path) -> None:
    taught(course(tmp_path), 3)
    assert course(tmp_path).epochs == 0
    assert list(tmp_path.glob("*.pt")) == []


def test_a_checkpoint_of_other_lessons_or_another_plan_is_refused(tmp_path: Path) -> None:
    taught(course(tmp_path), 1)
    for other in ({"points": 2}, {"seed": 5}):
        with pytest.raises(SystemExit, match="other lessons or another plan"):
            course(tmp_path, resume=True, **other)


def test_nothing_to_resume_is_a_start(tmp_path: Path) -> None:
    assert course(tmp_path, resume=True).epochs == 0


def test_breaking_off_while_a_checkpoint_is_written_leaves_the_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    begun = taught(course(tmp_path), 2)

    def half(_state: object, path: Path) -> None:
        path.write_bytes(b"half")
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(torch, "save", half)
        with pytest.raises(KeyboardInterrupt):
            begun.teach()
    resumed = taught(course(tmp_path, resume=True), 3)
    assert weights(resumed, 3) == weights(taught(course(tmp_path / "whole"), 3), 3)


@pytest.mark.parametrize(
    ("scores", "stopped", "chosen"),
    [
        ([1.0], False, 1),
        ([1.0, 3.0, 2.0, 2.0], False, 2),
        ([1.0, 3.0, 2.0, 2.0, 2.5], True, 2),
        ([1.0, 3.0, 3.0, 3.0, 3.0], True, 2),  # as good is no better
        ([1.0, 3.0, 2.0, 2.0, 3.1], False, 5),
        ([1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0], True, 8),  # as many as there may be
    ],
)
def test_teaching_stops_when_it_is_no_better(
    scores: list[float], stopped: bool, chosen: int
) -> None:
    from tocsin_training.fitting import best, has_stopped

    assert has_stopped(scores, most=8, patience=3) is stopped
    assert best(scores) == chosen


@pytest.mark.parametrize("before", [0, 2])
def test_groups_are_taught_in_step_until_none_is_better(tmp_path: Path, before: int) -> None:
    from tocsin_training.fitting import PATIENCE, best, teach_in_step

    for name in "ab":
        taught(course(tmp_path / name), before)
    groups = [course(tmp_path / name, resume=True) for name in "ab"]
    judged: list[int] = []

    def score(nets: list[Any]) -> float:
        judged.append(len(nets))
        return -abs(3.0 - len(judged))

    scores = teach_in_step(groups, score, 20, "score")
    assert best(scores) == 3
    assert len(scores) == 3 + PATIENCE
    assert judged == [2] * len(scores)
    assert [group.epochs for group in groups] == [len(scores)] * 2


def test_teaching_begins() -> None:
    from tocsin_training.fitting import has_stopped

    assert not has_stopped([], most=8)
