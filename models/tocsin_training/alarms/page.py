"""The model card of the alarms as a page."""

from __future__ import annotations

from typing import Any


def page(card: dict[str, Any]) -> str:
    """Return the page of a card."""
    found, training = card["metrics"]["float"], card["training"]
    rows = [
        f"| {label} | {m['true_kept']} | {m['true_lost_with_a_candidate']} | {m['false_kept']} "
        f"| {m['false_suppressed_with_a_candidate']} | {m['probability']} |"
        for label, m in ((label, found[label]) for label in card["labels"])
    ]
    failures = [f"- {mode}" for mode in card["failure_modes"]]
    trees = card["architecture"]
    sizes = " and ".join(
        f"{trees[label]['trees']} of {trees[label]['leaves']} leaves at most ({label})"
        for label in card["labels"]
    )
    return "\n".join(
        [
            f"# Model card: {card['name']}",
            "",
            (
                f"Answers {card['task']}. Of the alarms of the challenge 2015, in folds "
                f"({card['test']['database']}), by the model alone, before the rules of the agent "
                "and without those that open no candidate:"
            ),
            "",
            "| alarm | true kept | true lost | false kept | false suppressed | probability from |",
            "|---|---|---|---|---|---|",
            *rows,
            "",
            (
                f"**Model.** Extremely randomised trees: {sizes}; "
                f"{len(card['input']['features'])} features; "
                f"{found['bytes']:,} bytes, {found['us_single']:.0f} µs an answer."
            ),
            "",
            (
                f"**Training.** {training['database']}. Left out: {training['left_out']}. "
                f"Seed {training['seed']}, `{training['command']}`; in folds "
                f"`{card['test']['command']}`."
            ),
            "",
            f"**Use.** {card['intended_use'].capitalize()}.",
            "",
            "**Known failures**",
            "",
            *failures,
            "",
        ]
    )
