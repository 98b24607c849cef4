"""Ask the models: each kind of question in one batch, with a fallback where a model fails.

A beat that several good leads show is asked about in each, and the answers are averaged: noise and
atypical shapes differ from lead to lead more than extrasystoles do.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, zip_longest
from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tocsin_agent.monitor.timeline import NO_SCORES, Failure, Scores
from tocsin_dsp.beats.beats import BeatView
from tocsin_dsp.leads.leads import LeadBeat
from tocsin_dsp.rhythms.fibrillation import Window
from tocsin_dsp.rhythms.irregularity import IrregularWindow
from tocsin_models import LABELS, Model, Models
from tocsin_models.errors import ModelError

OTHER_LEADS = 0.4
"""Weight of the mean of the other leads, where there are any; the lead in use has the rest."""
_V = LABELS.index("V")
_N, _S = LABELS.index("N"), LABELS.index("S")

T = TypeVar("T")


class Answer(NamedTuple):
    """The answer of the beat model to one beat.

    `probability` is that of `label`, `n_or_s` that of N and S together; `of_all` is by class, in
    the order of `LABELS`. `scores` are for verification.
    """

    label: str
    probability: float
    n_or_s: float
    of_all: Sequence[float]
    scores: Scores = NO_SCORES


NO_ANSWER = Answer("Q", 0.0, 0.0, (0.0,) * len(LABELS))
_NO_ROWS = np.empty((0, len(LABELS)), np.float32)


class Reply(NamedTuple, Generic[T]):
    """The answer to one question, None where no model is left, and the failures before it."""

    answer: T | None
    failures: tuple[Failure, ...]


class _Question(NamedTuple):
    """What a model is given of one beat or window, once for each lead that shows it."""

    decided: int
    rows: Sequence[tuple[ArrayLike, ...]]


class _Batch(NamedTuple):
    """Answers to the first `answered` questions, row by row, and the failures at each question.

    `by` is the model where one answered all.
    """

    rows: NDArray[np.float32]
    answered: int
    failures: list[tuple[Failure, ...]]
    by: Model | None = None


class Classifiers:
    """The models in use.

    A model that fails gives way to its fallback from the very beat or window on at which it failed,
    wherever the samples are cut.

    Parameters
    ----------
    models : Models
    """

    def __init__(self, models: Models) -> None:
        self.use(models)

    def use(self, models: Models) -> None:
        """Ask these models from now on."""
        self._models: dict[str, Model | None] = models._asdict()

    @property
    def model_ids(self) -> dict[str, str | None]:
        """`name@hash` of the models in use, by task; None where there is none."""
        return {task: model.id if model else None for task, model in self._models.items()}

    def beats(self, beats: Sequence[LeadBeat]) -> list[Reply[Answer]]:
        """Return the classes of beats, in order."""
        if not beats:
            return []
        views = [(beat.view, *beat.others) for beat in beats]
        batch = self._ask(
            "beats", [_Question(v[0].decided, [(x.shapes, x.features) for x in v]) for v in views]
        )
        probabilities = ventricular(batch.rows)
        if batch.by is not None:
            _note(views, batch.by, probabilities)
        others = [len(v) - 1 for v in views[: batch.answered]]
        given = _averaged(batch.rows, others)
        answers = zip(
            given.tolist(),
            _n_or_s(given, 3),
            _scores(batch.rows, given, others, probabilities),
            strict=True,
        )
        return _replies([_answer(*each) for each in answers], batch)

    def windows(self, windows: Sequence[Window]) -> list[Reply[float]]:
        """Return the probabilities of ventricular fibrillation, in order."""
        questions = [_Question(w.decided, [([w.shape], w.features)]) for w in windows]
        return self._probabilities("vf", questions)

    def half_minutes(self, windows: Sequence[IrregularWindow]) -> list[Reply[float]]:
        """Return the probabilities of atrial fibrillation, in order."""
        return self._probabilities("af", [_Question(w.decided, [(w.features,)]) for w in windows])

    def _probabilities(self, task: str, questions: list[_Question]) -> list[Reply[float]]:
        if not questions:
            return []
        batch = self._ask(task, questions)
        return _replies([rounded(p, 3) for p in batch.rows[:, 0].tolist()], batch)

    def _ask(self, task: str, questions: list[_Question]) -> _Batch:
        """Ask in one batch; where that fails, question by question, to find where."""
        rows = [row for question in questions for row in question.rows]
        model = self._models[task]
        if model is None or not rows:
            return _Batch(_NO_ROWS, 0, [()] * len(questions))
        inputs = [np.array(column, np.float32) for column in zip(*rows, strict=True)]
        try:
            return _Batch(model.classify(*inputs), len(questions), [()] * len(questions), model)
        except ModelError:
            return self._ask_singly(task, questions, inputs)

    def _ask_singly(
        self, task: str, questions: list[_Question], inputs: list[NDArray[Any]]
    ) -> _Batch:
        answers: list[NDArray[np.float32]] = []
        failures, answered, start = [], 0, 0
        for question in questions:
            stop = start + len(question.rows)
            rows, failed = self._ask_once(task, question.decided, [x[start:stop] for x in inputs])
            answers += rows
            answered += bool(rows)
            failures.append(failed)
            start = stop
        return _Batch(np.concatenate(answers) if answers else _NO_ROWS, answered, failures)

    def _ask_once(
        self, task: str, decided: int, inputs: list[NDArray[Any]]
    ) -> tuple[list[NDArray[np.float32]], tuple[Failure, ...]]:
        """Ask one question, row by row, of the first model that answers all its rows."""
        failures: list[Failure] = []
        while (model := self._models[task]) is not None:
            try:
                rows = [
                    model.classify(*(x[i : i + 1] for x in inputs)) for i in range(len(inputs[0]))
                ]
            except ModelError as error:
                fallback = self._models[task] = model.fallback
                instead = fallback.id if fallback else None
                failures.append(Failure(decided, task, model.id, instead, error.reason.value))
            else:
                return rows, tuple(failures)
        return [], tuple(failures)


def _note(views: list[tuple[BeatView, ...]], by: Model, probabilities: list[float]) -> None:
    """Keep with each beat of each lead what the model says of it, for verification."""
    views_of_all = [view for of_beat in views for view in of_beat]
    for view, probability in zip(views_of_all, probabilities, strict=True):
        if view.asked is not None:
            view.asked.by, view.asked.ventricular = by, probability


def rounded(value: float, decimals: int) -> float:
    """Round a finite number as an array of NumPy does: scaled first, then half to even."""
    scale = 10.0**decimals
    return round(value * scale) / scale


def ventricular(rows: NDArray[np.float32]) -> list[float]:
    """Return the probabilities of V in answers of the beat model."""
    return [rounded(p, 4) for p in rows[:, _V].tolist()]


def _n_or_s(rows: NDArray[np.float32], decimals: int) -> list[float]:
    """Return the probabilities of N and S together."""
    return [rounded(p, decimals) for p in (rows[:, _N] + rows[:, _S]).tolist()]


def _answer(of_all: list[float], n_or_s: float, scores: Scores) -> Answer:
    """Return the most probable class."""
    highest = max(of_all)
    label = LABELS[of_all.index(highest)]
    return Answer(label, rounded(highest, 3), n_or_s, of_all, scores)


def _replies(answers: list[T], batch: _Batch) -> list[Reply[T]]:
    """Pair the answers, which may be fewer than the questions, with the failures."""
    return [Reply(*pair) for pair in zip_longest(answers, batch.failures)]


def _scores(
    rows: NDArray[np.float32],
    averaged: NDArray[np.float32],
    others: list[int],
    probabilities: list[float],
) -> list[Scores]:
    """Return of each beat what the verification of alarms asks of the answers in its leads.

    `probabilities` are those of V, by row.
    """
    usual, start = _n_or_s(rows, 4), 0
    mean = probabilities if averaged is rows else ventricular(averaged)
    scores = []
    for i, k in enumerate(others):
        of_leads = probabilities[start : start + 1 + k]
        scores.append(Scores(mean[i], min(of_leads), max(of_leads), usual[start]))
        start += 1 + k
    return scores


def _averaged(rows: NDArray[np.float32], others: list[int]) -> NDArray[np.float32]:
    """Return one answer a beat, of the lead in use and as many `others` as showed the beat."""
    if not any(others):
        return rows
    weights = [
        weight
        for k in others
        for weight in ((1.0,) if k == 0 else (1 - OTHER_LEADS, *[OTHER_LEADS / k] * k))
    ]
    starts = list(accumulate([1 + k for k in others[:-1]], initial=0))
    return np.add.reduceat(rows * np.array(weights, np.float32)[:, None], starts, axis=0)
