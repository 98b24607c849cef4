"""The training of a network: epoch by epoch, each saved, until the score stops improving.

The trained network is not that of the last step but the running mean of its weights (Polyak &
Juditsky, SIAM J. Control Optim. 30:838, 1992), which changes less from epoch to epoch and needs no
learning rate schedule with a known end. Every epoch has a seed of its own: a run that was
interrupted and resumed gives the same bits as one that was not.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

WARM_UP = 300  # steps until the full learning rate
PATIENCE = 5  # epochs without a better score after which training ends


class TrainingSet(Protocol):
    """The examples of a training."""

    def __len__(self) -> int:
        """Return the number of beats or windows."""
        ...

    def loss(self, net: nn.Module, batch: torch.Tensor) -> torch.Tensor:
        """Return the mean loss of a batch of indices, augmented by torch's random generator."""
        ...

    def tensors(self) -> tuple[torch.Tensor, ...]:
        """Return the data that identify the set in a checkpoint."""
        ...


class Plan(NamedTuple):
    """Learning rate, weight decay, batch size, time constant of the mean in steps, and seed."""

    rate: float
    decay: float
    batch: int
    memory: float
    seed: int


class TrainingRun:
    """The training of one network on one training set, with a checkpoint after every epoch.

    Parameters
    ----------
    make : callable
        Makes the network; called after seeding.
    examples : TrainingSet
    plan : Plan
    folder : Path
        For the checkpoints; older ones are deleted unless they are resumed.
    resume : bool
        Continue after the last checkpoint in the folder, if there is one.

    Raises
    ------
    SystemExit
        If the checkpoint belongs to another training set or another plan.
    """

    def __init__(
        self,
        make: Callable[[], nn.Module],
        examples: TrainingSet,
        plan: Plan,
        folder: Path,
        *,
        resume: bool = False,
    ) -> None:
        torch.manual_seed(plan.seed)
        self._examples, self._plan, self._folder = examples, plan, folder
        self._make = make
        self._net = make()
        self._mean = AveragedModel(self._net, avg_fn=self._blend)
        self._optimiser = torch.optim.AdamW(
            self._net.parameters(), plan.rate, weight_decay=plan.decay
        )
        self._warm_up = torch.optim.lr_scheduler.LinearLR(self._optimiser, 1 / WARM_UP, 1, WARM_UP)
        self._states = {
            "net": self._net, "mean": self._mean, "optimiser": self._optimiser,
            "warm_up": self._warm_up,
        }  # fmt: skip
        self._belongs_to = _fingerprint(examples, plan)
        self.epochs = 0
        folder.mkdir(parents=True, exist_ok=True)
        if resume:
            self._resume()
        else:
            for old in folder.glob("epoch-*.pt"):
                old.unlink()

    def train_epoch(self) -> None:
        """Train on all examples once, print the mean loss, and save a checkpoint."""
        started, total, count = time.monotonic(), 0.0, len(self._examples)
        torch.manual_seed(1000 * self._plan.seed + self.epochs)
        self._net.train()
        for batch in torch.randperm(count).split(self._plan.batch):
            loss = self._examples.loss(self._net, batch)
            self._optimiser.zero_grad()
            loss.backward()
            self._optimiser.step()
            self._warm_up.step()
            self._mean.update_parameters(self._net)
            total += float(loss.detach()) * len(batch)
        self.epochs += 1
        self._save()
        took = time.monotonic() - started
        print(f"  epoch {self.epochs:2d}  loss {total / count:.4f}  {took:.0f} s", flush=True)

    def after(self, epoch: int) -> nn.Module:
        """Return the averaged network after an epoch, counted from 1, in evaluation mode."""
        net = AveragedModel(self._make())
        net.load_state_dict(torch.load(self._file(epoch), weights_only=True)["mean"])
        averaged: nn.Module = net.module
        return averaged.eval()

    def _blend(
        self, mean: torch.Tensor, now: torch.Tensor, steps: torch.Tensor | int
    ) -> torch.Tensor:
        share = max(1 - 1 / self._plan.memory, 0.0)
        return mean.lerp(now, 1 - min(share, (1 + float(steps)) / (10 + float(steps))))

    def _file(self, epoch: int) -> Path:
        return self._folder / f"epoch-{epoch:03d}.pt"

    def _save(self) -> None:
        """Write a checkpoint; if interrupted, the checkpoint before is still whole."""
        state = {name: of.state_dict() for name, of in self._states.items()}
        partial = self._folder / "partial"
        torch.save({**state, "belongs_to": self._belongs_to}, partial)
        partial.replace(self._file(self.epochs))

    def _resume(self) -> None:
        kept = sorted(self._folder.glob("epoch-*.pt"))
        if not kept:
            return
        state = torch.load(kept[-1], weights_only=True)
        if state["belongs_to"] != self._belongs_to:
            raise SystemExit(
                f"{kept[-1]} belongs to another training set or plan: start without --resume"
            )
        for name, of in self._states.items():
            of.load_state_dict(state[name])
        self.epochs = int(kept[-1].stem.removeprefix("epoch-"))
        print(f"  resumed after epoch {self.epochs}", flush=True)


def train_in_step(
    runs: Sequence[TrainingRun], score: Callable[[list[nn.Module]], float], most: int, name: str
) -> list[float]:
    """Train the runs of a cross-validation epoch by epoch until their score stops improving.

    Parameters
    ----------
    runs : sequence of TrainingRun
        One for each group left out, new or resumed.
    score : callable
        Scores the networks of an epoch, one per run, on the groups left out; more is better.
    most : int
        Greatest number of epochs.
    name : str
        Name of the score, for the progress output.

    Returns
    -------
    list of float
        The score of each epoch.
    """
    scores: list[float] = []
    while not has_stopped(scores, most):
        epoch = len(scores) + 1
        for run in runs:
            if run.epochs < epoch:
                run.train_epoch()
        scores.append(score([run.after(epoch) for run in runs]))
        print(f"epoch {epoch}: {name} of the groups left out: {scores[-1]:.2f}", flush=True)
    return scores


def best(scores: Sequence[float]) -> int:
    """Return the epoch with the highest score, counted from 1, the first of equal ones."""
    return 1 + max(range(len(scores)), key=scores.__getitem__)


def has_stopped(scores: Sequence[float], most: int, patience: int = PATIENCE) -> bool:
    """Return whether training ends: no better score for `patience` epochs, or `most` epochs."""
    return bool(scores) and (len(scores) >= most or len(scores) - best(scores) >= patience)


def _fingerprint(examples: TrainingSet, plan: Plan) -> str:
    digest = hashlib.sha256(repr(plan).encode())
    for tensor in examples.tensors():
        digest.update(tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()
