"""The checks of `make lint` that are scripts of this project."""

from __future__ import annotations

import ast
import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

TOOLS = Path(__file__).parents[2] / "tools"


def script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, TOOLS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


WORDS, STRUCTURE = script("check_words"), script("check_structure")


@pytest.mark.parametrize(
    "text", ["as it was told", "Told", "TOLD", "was_told", "told_at", "toldAt", "WasTold", "told2"]
)
def test_a_refused_word_is_found_alone_and_in_names(text: str) -> None:
    assert WORDS.WORDS.search(text)


@pytest.mark.parametrize("text", ["untold", "tolds", "TOLDO", "retold", "heardsman"])
def test_a_longer_word_is_not_refused(text: str) -> None:
    assert not WORDS.WORDS.search(text)


def test_a_function_may_have_60_lines() -> None:
    def complaints(lines: int) -> list[str]:
        body = "\n".join(["def f() -> None:"] + ["    pass"] * (lines - 1))
        return [text for _, text in STRUCTURE.long_functions(ast.parse(body))]

    assert complaints(60) == []
    assert complaints(61) == ["f has 61 lines, 60 are allowed"]


def test_a_class_may_have_12_methods_and_12_attributes() -> None:
    def complaints(count: int, docstring: str = "") -> list[str]:
        methods = [f"    def m{n}(self): self.a{n} = 0" for n in range(count)]
        source = "\n".join(["class C:", f'    """{docstring}"""', *methods])
        return [text for _, text in STRUCTURE.large_classes(ast.parse(source))]

    assert complaints(12) == []
    assert len(complaints(13)) == 2
    assert complaints(13, "Reason for its size: one state machine.") == []


def test_the_fields_of_a_frozen_record_do_not_count() -> None:
    fields = [f"    f{n}: int" for n in range(20)]

    def complaints(head: str) -> int:
        source = "\n".join([head, *fields])
        return len([*STRUCTURE.large_classes(ast.parse(source))])

    assert complaints("class C(NamedTuple):") == 0
    assert complaints("class C(Struct, frozen=True):") == 0
    assert complaints("class C:") == 1
