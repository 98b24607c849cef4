"""How a network is taught: epoch by epoch, each kept on disk, until it is no better for a while.

What answers is not the network of the last step but the running mean of its weights (Polyak &
Juditsky, SIAM J. Control Optim. 30:838, 1992), which moves less from epoch to epoch and needs no
schedule that knows the last one. Every epoch draws by a seed of its own: a course that was broken
off and goes on gives the same bits as one that was not.
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

WARM_UP = 300  # steps from no rate to the full one
PATIENCE = 5  # epochs without a better score, after which teaching ends


class Lessons(Protocol):
    """What is taught."""

    def __len__(self) -> int:
        """Return how many beats or windows there are."""
        ...

    def loss(self, net: nn.Module, some: torch.Tensor) -> torch.Tensor:
        """Return the mean loss of some of them, by index, varied by torch's own draws."""
        ...

    def tensors(self) -> tuple[torch.Tensor, ...]:
        """Return all that is taught, by which a checkpoint knows what it belongs to."""
        ...


class Plan(NamedTuple):
    """How to teach: learning rate, weight decay, batch, memory of the mean in steps, seed."""

    rate: float
    decay: float
    batch: int
    memory: float
    seed: int


class Course:
    """A network and what it is taught; `folder` keeps the state after every epoch.

    Parameters
    ----------
    make : callable
        Makes the network; called after seeding.
    lessons : Lessons
    plan : Plan
    folder : Path
        Emptied of older checkpoints, unless they are to be resumed.
    resume : bool
        Go on after the last checkpoint in the folder, if there is any.

    Raises
    ------
    SystemExit
        If a checkpoint to be resumed belongs to other lessons or another plan.
    """

    def __init__(
        self,
        make: Callable[[], nn.Module],
        lessons: Lessons,
        plan: Plan,
        folder: Path,
        *,
        resume: bool = False,
    ) -> None:
        torch.manual_seed(plan.seed)
        self._lessons, self._plan, self._folder = lessons, plan, folder
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
        self._belongs_to = _fingerprint(lessons, plan)
        self.epochs = 0
        folder.mkdir(parents=True, exist_ok=True)
        if resume:
            self._resume()
        else:
            for old in folder.glob("epoch-*.pt"):
                old.unlink()

    def teach(self) -> None:
        """Teach all lessons once more, say how it went, and keep the state."""
        started, total, count = time.monotonic(), 0.0, len(self._lessons)
        torch.manual_seed(1000 * self._plan.seed + self.epochs)
        self._net.train()
        for some in torch.randperm(count).split(self._plan.batch):
            loss = self._lessons.loss(self._net, some)
            self._optimiser.zero_grad()
            loss.backward()
            self._optimiser.step()
            self._warm_up.step()
            self._mean.update_parameters(self._net)
            total += float(loss.detach()) * len(some)
        self.epochs += 1
        self._keep()
        took = time.monotonic() - started
        print(f"  epoch {self.epochs:2d}  loss {total / count:.4f}  {took:.0f} s", flush=True)

    def after(self, epoch: int) -> nn.Module:
        """Return the network as it answers after an epoch, counted from 1."""
        net = AveragedModel(self._make())
        net.load_state_dict(torch.load(self._file(epoch), weights_only=True)["mean"])
        answers: nn.Module = net.module
        return answers.eval()

    def _blend(
        self, mean: torch.Tensor, now: torch.Tensor, steps: torch.Tensor | int
    ) -> torch.Tensor:
        share = max(1 - 1 / self._plan.memory, 0.0)
        return mean.lerp(now, 1 - min(share, (1 + float(steps)) / (10 + float(steps))))

    def _file(self, epoch: int) -> Path:
        return self._folder / f"epoch-{epoch:03d}.pt"

    def _keep(self) -> None:
        """Write the state so that breaking off leaves the old one or the new one."""
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
                f"{kept[-1]} was made by other lessons or another plan: start without --resume"
            )
        for name, of in self._states.items():
            of.load_state_dict(state[name])
        self.epochs = int(kept[-1].stem.removeprefix("epoch-"))
        print(f"  resumed after epoch {self.epochs}", flush=True)


def teach_in_step(
    courses: Sequence[Course], score: Callable[[list[nn.Module]], float], most: int, what: str
) -> list[float]:
    """Teach groups epoch by epoch until those left out of them are judged no better.

    Parameters
    ----------
    courses : sequence of Course
        One a group, new or resumed.
    score : callable
        Judges the networks of an epoch, one a group, by what each never saw; more is better.
    most : int
        So many epochs at most.
    what : str
        What the score is, for who looks on.

    Returns
    -------
    list of float
        The score of each epoch.
    """
    scores: list[float] = []
    while not has_stopped(scores, most):
        epoch = len(scores) + 1
        for each in courses:
            if each.epochs < epoch:
                each.teach()
        scores.append(score([each.after(epoch) for each in courses]))
        print(f"epoch {epoch}: {what}, those left out: {scores[-1]:.2f}", flush=True)
    return scores


def best(scores: Sequence[float]) -> int:
    """Return the epoch, counted from 1, with the highest score; of equal ones the first."""
    return 1 + max(range(len(scores)), key=scores.__getitem__)


def has_stopped(scores: Sequence[float], most: int, patience: int = PATIENCE) -> bool:
    """Tell whether teaching ends: no better for a while, or as many epochs as there may be."""
    return bool(scores) and (len(scores) >= most or len(scores) - best(scores) >= patience)


def _fingerprint(lessons: Lessons, plan: Plan) -> str:
    digest = hashlib.sha256(repr(plan).encode())
    for tensor in lessons.tensors():
        digest.update(tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()
