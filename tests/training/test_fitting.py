"""Training: seeded, saved after every epoch, resumed bit for bit, stopped without improvement."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tocsin_training.fitting import TrainingRun

if find_spec("torch") is None:
    if os.environ.get("TOCSIN_REQUIRE_TOOLS") == "1":
        pytest.fail("torch is missing: pip install -e '.[train]'", pytrace=False)
    pytest.skip("torch is missing: pip install -e '.[train]'", allow_module_level=True)


class Points:
    """Points above or below a line, augmented by torch's random generator."""

    def __init__(self, seed: int = 1) -> None:
        import torch

        draws = torch.Generator().manual_seed(seed)
        self.x = torch.randn(400, 2, generator=draws)
        self.y = (self.x[:, :1] > 0.3 * self.x[:, 1:]).float()

    def __len__(self) -> int:
        return len(self.x)

    def tensors(self) -> tuple[Any, ...]:
        return self.x, self.y

    def loss(self, net: Any, batch: Any) -> Any:
        import torch

        x = self.x[batch] + 0.05 * torch.randn(len(batch), 2)
        return torch.nn.functional.binary_cross_entropy_with_logits(net(x), self.y[batch])


def made() -> Any:
    from torch import nn

    return nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Dropout(0.2), nn.Linear(8, 1))


def new_run(folder: Path, *, resume: bool = False, seed: int = 3, points: int = 1) -> TrainingRun:
    from tocsin_training.fitting import Plan, TrainingRun

    plan = Plan(rate=0.02, decay=1e-2, batch=32, memory=20, seed=seed)
    return TrainingRun(made, Points(points), plan, folder, resume=resume)


def trained(run: TrainingRun, epochs: int) -> TrainingRun:
    while run.epochs < epochs:
        run.train_epoch()
    return run


def weights(run: TrainingRun, epoch: int) -> list[list[float]]:
    return [p.flatten().tolist() for p in run.after(epoch).parameters()]


def test_the_averaged_network_learns(tmp_path: Path) -> None:
    done, points = trained(new_run(tmp_path), 30), Points()
    right = [float(((done.after(e)(points.x) > 0) == points.y).float().mean()) for e in (1, 30)]
    assert right[1] > max(0.9, right[0])


def test_the_same_seed_gives_the_same_bits_and_another_does_not(tmp_path: Path) -> None:
    first = weights(trained(new_run(tmp_path / "a"), 2), 2)
    assert weights(trained(new_run(tmp_path / "b"), 2), 2) == first
    assert weights(trained(new_run(tmp_path / "c", seed=4), 2), 2) != first


@pytest.mark.parametrize("interrupted", [1, 2, 3])
def test_an_interrupted_run_continues_bit_for_bit(tmp_path: Path, interrupted: int) -> None:
    whole = trained(new_run(tmp_path / "whole"), 4)
    trained(new_run(tmp_path / "parts"), interrupted)
    resumed = new_run(tmp_path / "parts", resume=True)
    assert resumed.epochs == interrupted
    trained(resumed, 4)
    assert [weights(resumed, e) for e in range(1, 5)] == [weights(whole, e) for e in range(1, 5)]


def test_runs_may_take_turns(tmp_path: Path) -> None:
    alone = weights(trained(new_run(tmp_path / "alone"), 3), 3)
    one, other = new_run(tmp_path / "one"), new_run(tmp_path / "other", seed=9)
    for _ in range(3):
        one.train_epoch()
        other.train_epoch()
    assert weights(one, 3) == alone


def test_a_new_run_deletes_old_checkpoints(tmp_path: Path) -> None:
    trained(new_run(tmp_path), 3)
    assert new_run(tmp_path).epochs == 0
    assert list(tmp_path.glob("*.pt")) == []


def test_a_checkpoint_of_another_set_or_plan_is_refused(tmp_path: Path) -> None:
    trained(new_run(tmp_path), 1)
    for other in ({"points": 2}, {"seed": 5}):
        with pytest.raises(SystemExit, match="another training set or plan"):
            new_run(tmp_path, resume=True, **other)


def test_without_a_checkpoint_a_resumed_run_is_new(tmp_path: Path) -> None:
    assert new_run(tmp_path, resume=True).epochs == 0


def test_an_interrupted_checkpoint_leaves_the_one_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    begun = trained(new_run(tmp_path), 2)

    def half(_state: object, path: Path) -> None:
        path.write_bytes(b"half")
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(torch, "save", half)
        with pytest.raises(KeyboardInterrupt):
            begun.train_epoch()
    resumed = trained(new_run(tmp_path, resume=True), 3)
    assert weights(resumed, 3) == weights(trained(new_run(tmp_path / "whole"), 3), 3)


@pytest.mark.parametrize(
    ("scores", "stopped", "chosen"),
    [
        ([1.0], False, 1),
        ([1.0, 3.0, 2.0, 2.0], False, 2),
        ([1.0, 3.0, 2.0, 2.0, 2.5], True, 2),
        ([1.0, 3.0, 3.0, 3.0, 3.0], True, 2),  # equal is no improvement
        ([1.0, 3.0, 2.0, 2.0, 3.1], False, 5),
        ([1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0], True, 8),  # the greatest number
    ],
)
def test_training_stops_without_improvement(
    scores: list[float], stopped: bool, chosen: int
) -> None:
    from tocsin_training.fitting import best, has_stopped

    assert has_stopped(scores, most=8, patience=3) is stopped
    assert best(scores) == chosen


@pytest.mark.parametrize("before", [0, 2])
def test_groups_are_trained_in_step_until_the_score_stops_improving(
    tmp_path: Path, before: int
) -> None:
    from tocsin_training.fitting import PATIENCE, best, train_in_step

    for name in "ab":
        trained(new_run(tmp_path / name), before)
    groups = [new_run(tmp_path / name, resume=True) for name in "ab"]
    judged: list[int] = []

    def score(nets: list[Any]) -> float:
        judged.append(len(nets))
        return -abs(3.0 - len(judged))

    scores = train_in_step(groups, score, 20, "score")
    assert best(scores) == 3
    assert len(scores) == 3 + PATIENCE
    assert judged == [2] * len(scores)
    assert [group.epochs for group in groups] == [len(scores)] * 2


def test_training_does_not_stop_before_it_began() -> None:
    from tocsin_training.fitting import has_stopped

    assert not has_stopped([], most=8)
