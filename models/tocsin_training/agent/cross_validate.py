"""The whole agent on patients left out of the training: `make cross-validate-agent`.

The beat models are those of the three groups that `python -m tocsin_training.beats.train
--cross-validate` leaves in the cache; the atrial fibrillation models are trained here without the
group. The agent corrects the labels of the model by rules
(`tocsin_agent.monitor.labels.corrections`): `--without` leaves one of them out, which measures its
effect. First lead; the atrial fibrillation model is trained on the labels of the shipped beat
model.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tocsin_agent.monitor.labels.corrections import ALL_RULES, LabelRules
from tocsin_models import AF, BEATS, Model, Models, load_model
from tocsin_models.runner import Contract
from tocsin_training.af import train as train_af
from tocsin_training.agent.scoring import RULES, counted, labelled, without
from tocsin_training.beats import train as train_beats
from tocsin_training.beats.scoring import Counts
from tocsin_training.data.folds import BEAT_FOLDS
from tocsin_training.exporting import write_card

RESULT = Path(__file__).with_name("cross-validation.json")


def loaded(path: Path, contract: Contract) -> Model:
    """Load a file that has no card yet."""
    inputs = {"points": contract.points, "features": list(contract.features)}
    write_card(path, {"labels": list(contract.labels), "input": inputs})
    return load_model(contract, path)


def models_without(group: int) -> Models:
    """Return the models trained without a group of patients."""
    mitdb, svdb = (
        [r for r in train_af.load(database) if r.record not in left_out]
        for database, left_out in zip(("mitdb", "svdb"), BEAT_FOLDS[group], strict=True)
    )
    folder = train_af.CACHE / f"without-{group}"
    floating, _ = train_af.train(train_af.load("cinc2017"), mitdb, svdb, folder)
    beats = train_beats.CACHE / f"fold-{group}" / f"{train_beats.NAME}.onnx"
    if not beats.exists():
        raise SystemExit(
            f"no {beats}: run `python -m tocsin_training.beats.train --cross-validate` first"
        )
    return Models(beats=loaded(beats, BEATS), af=loaded(floating, AF))


def judged(
    database: str, records: Iterable[str], models: Models, rules: LabelRules, *, all_leads: bool
) -> list[Counts]:
    """Score the agent record by record."""
    references = train_beats.load(database, records, (0,))
    return [
        counted(labelled(database, b.record, models, all_leads=all_leads, rules=rules), b, database)
        for b in references
    ]


def cross_validate(rules: LabelRules = ALL_RULES, *, all_leads: bool = False) -> dict[str, Any]:
    """Judge each group by an agent whose models were trained without it."""
    counts: dict[str, list[Counts]] = {"mitdb": [], "svdb": []}
    for group, patients in enumerate(BEAT_FOLDS):
        models = models_without(group)
        for database, records in zip(counts, patients, strict=True):
            counts[database] += judged(database, records, models, rules, all_leads=all_leads)
    return {database: train_beats.summary(scored) for database, scored in counts.items()}


def main() -> None:
    """Cross-validate, write and print the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--without", choices=RULES, help="leave out a rule; writes no file")
    parser.add_argument("--all-leads", action="store_true", help="use all leads; writes no file")
    arguments = parser.parse_args()
    left_out, all_leads = arguments.without, arguments.all_leads
    rules = ALL_RULES if left_out is None else without(left_out)
    result = cross_validate(rules, all_leads=all_leads)
    if left_out is None and not all_leads:
        RESULT.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    for database, of in result.items():
        print(database, "VEB", of["veb"], "SVEB", of["sveb"])


if __name__ == "__main__":
    main()
