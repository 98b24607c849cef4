r"""No pattern that decides what is accepted takes a newline at the end of a text.

In Python `$` also matches before a last newline, in the dialect of JSON schema (ECMA-262) it does
not; `\Z` is of Python alone. `$(?!\n)` means the end in both.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import get_type_hints

import msgspec
import pytest

from tocsin_agent.messages.acknowledgement import Acknowledgement
from tocsin_agent.messages.alert import Alert
from tocsin_agent.messages.identity import IdentityRequest
from tocsin_agent.updates.manifest import File

ROOT = Path(__file__).resolve().parents[2]
END = r"$(?!\n)"


def patterns() -> Iterator[tuple[str, str]]:
    """Yield each pattern of a field: where it stands, and its text."""
    for folder in ("agent", "dsp", "models"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            tree = ast.parse(path.read_text(encoding="utf-8"))
            named = {
                target.id: node.value.value
                for node in ast.walk(tree)
                if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
                for target in node.targets
                if isinstance(target, ast.Name) and isinstance(node.value.value, str)
            }
            for node in ast.walk(tree):
                if not (isinstance(node, ast.Call) and ast.unparse(node.func).endswith("Meta")):
                    continue
                for keyword in node.keywords:
                    if keyword.arg == "pattern":
                        text = ast.unparse(keyword.value)
                        known = named.get(text, "")
                        if isinstance(keyword.value, ast.Constant):
                            known = str(keyword.value.value)
                        yield f"{path.relative_to(ROOT)}:{node.lineno}", known


def test_each_pattern_of_a_field_ends_where_the_text_ends() -> None:
    found = dict(patterns())
    assert len(found) > 20
    wrong = {
        where: text
        for where, text in found.items()
        if text and not text.endswith(END) and not text.endswith(").+")
    }
    assert not wrong, f"end them with {END}"


@pytest.mark.parametrize(
    ("struct", "field"),
    [
        (Alert, "code"),
        (Alert, "alert_id"),
        (Alert, "schema"),
        (Acknowledgement, "alert_id"),
        (IdentityRequest, "id"),
        (File, "sha256"),
    ],
)
def test_a_text_with_a_newline_at_its_end_is_refused(
    struct: type[msgspec.Struct], field: str
) -> None:
    kind = get_type_hints(struct, include_extras=True)[field]
    good = "tocsin/alert/v1" if field == "schema" else "a" * (64 if field == "sha256" else 32)
    assert msgspec.convert(good, kind) == good
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(f"{good}\n", kind)
