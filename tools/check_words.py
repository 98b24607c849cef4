#!/usr/bin/env python3
"""Refuse words that the project's style replaces: `tools/check_words.py [--count]`.

Code, comments and pages are written in the terms of the field: samples are received, not told; a
model is trained, not taught. Every text file of the repository is checked, and its name. The log
of the training is a diary of its time and is left as it is.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

INSTEAD = {
    "told": "reported, emitted, or the thing itself",
    "heard": "received, processed",
    "teach": "train",
    "teaches": "trains",
    "teaching": "training",
    "taught": "trained",
    "lesson": "training example",
    "lessons": "training set",
    "restless": "noisy",
    "mourn": "log what is lost",
    "beware": "suppress, or say what happens",
    "strange": "atypical",
    "doubt": "low trust",
    "doubts": "low trust",
    "doubted": "of low trust",
}

EXCLUDED = (
    "models/tocsin_training/LOG.md",
    "tools/check_words.py",
    "tests/unit/test_checks.py",
)


def pattern(words: list[str]) -> re.Pattern[str]:
    """Match words alone and as a part of names such as `was_told`, `toldSoFar` and `WasTold`."""
    parts = []
    for word in words:
        first, rest = word[0], word[1:]
        parts.append(f"(?:(?<![A-Za-z])[{first}{first.upper()}]|{first.upper()}){rest}(?![a-z])")
        parts.append(f"(?<![A-Za-z]){word.upper()}(?![A-Za-z])")
    return re.compile("|".join(parts))


WORDS = pattern(list(INSTEAD))


def files() -> list[str]:
    """Return the paths of the files that git knows, sorted."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return sorted(set(listed.stdout.splitlines()) - set(EXCLUDED))


def findings(path: str) -> list[tuple[int, str, str]]:
    """Return line number, word and line of each such word; line 0 is the file's name."""
    try:
        text = (ROOT / path).read_text(encoding="utf-8")
    except (UnicodeDecodeError, FileNotFoundError, IsADirectoryError):
        return []
    lines = [path, *text.splitlines()]
    return [
        (number, match.group(), line.strip())
        for number, line in enumerate(lines)
        for match in WORDS.finditer(line)
    ]


def main() -> int:
    """Print what is found; with `--count`, how much is left in each folder of the repository."""
    if "--count" in sys.argv[1:]:
        left = Counter("/".join(path.split("/")[:3]) for path in files() for _ in findings(path))
        for folder, count in left.most_common():
            print(f"{count:6d}  {folder}")  # noqa: T201
        return 0
    found = 0
    for path in files():
        for number, word, line in findings(path):
            found += 1
            print(f"{path}:{number}: {word!r}: {INSTEAD[word.lower()]}\n    {line}")  # noqa: T201
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
