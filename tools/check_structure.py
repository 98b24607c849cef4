#!/usr/bin/env python3
"""Refuse functions and classes that are too long to be read as a whole.

A function of the folders below has at most 60 lines, docstring included. A class has at most 12
methods (properties count, double-underscore methods other than `__init__` do not) and 12
attributes, unless its docstring states the reason in a sentence that begins with "Reason for its
size:". The fields of a frozen record (NamedTuple, frozen Struct or dataclass, Protocol) do not
count: they are a table, not state.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
AGENT = "agent/tocsin_agent"
FUNCTIONS = tuple(f"{AGENT}/{name}" for name in ("monitor", "delivery", "runtime", "sources"))
CLASSES = (AGENT, "dsp", "models")
MAX_LINES, MAX_METHODS, MAX_ATTRIBUTES = 60, 12, 12
REASON = "Reason for its size:"

Function = ast.FunctionDef | ast.AsyncFunctionDef


def long_functions(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Yield line and complaint for each function that is too long."""
    for node in ast.walk(tree):
        if isinstance(node, Function):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            if lines > MAX_LINES:
                yield node.lineno, f"{node.name} has {lines} lines, {MAX_LINES} are allowed"


def large_classes(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Yield line and complaint for each class that is too large and states no reason."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef) and REASON not in (ast.get_docstring(node) or ""):
            methods, attributes = len(_methods(node)), len(_attributes(node))
            if methods > MAX_METHODS:
                yield node.lineno, f"{node.name} has {methods} methods, {MAX_METHODS} are allowed"
            if attributes > MAX_ATTRIBUTES:
                yield (
                    node.lineno,
                    f"{node.name} has {attributes} attributes, {MAX_ATTRIBUTES} are allowed",
                )


def _methods(node: ast.ClassDef) -> set[str]:
    names = {item.name for item in node.body if isinstance(item, Function)}
    return {name for name in names if name == "__init__" or not name.startswith("__")}


def _attributes(node: ast.ClassDef) -> set[str]:
    """Return the fields that a class declares, and what its methods assign to `self`."""
    frozen = any(
        word in ast.unparse(part)
        for part in (*node.bases, *node.keywords, *node.decorator_list)
        for word in ("NamedTuple", "Protocol", "frozen=True")
    )
    declared = {
        item.target.id
        for item in node.body
        if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name) and not frozen
    }
    assigned = {
        part.attr
        for part in ast.walk(node)
        if isinstance(part, ast.Attribute)
        and isinstance(part.ctx, ast.Store)
        and isinstance(part.value, ast.Name)
        and part.value.id == "self"
    }
    return declared | assigned


def main() -> int:
    """Print each complaint as `path:line: text`."""
    found = 0
    for folders, check in ((FUNCTIONS, long_functions), (CLASSES, large_classes)):
        for folder in folders:
            named = ROOT / folder
            for path in sorted(named.rglob("*.py")) if named.is_dir() else [named]:
                for line, complaint in check(ast.parse(path.read_text(encoding="utf-8"))):
                    found += 1
                    print(f"{path.relative_to(ROOT)}:{line}: {complaint}")  # noqa: T201
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
