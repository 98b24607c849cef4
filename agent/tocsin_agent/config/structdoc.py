"""The descriptions of the keys of a struct, for a reference page and for error messages."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from functools import cache
from typing import Any, NamedTuple

import msgspec
from msgspec import inspect as msi

from tocsin_agent.messages.printable import clean

_MAX_SHOWN = 120

_Struct = type[msgspec.Struct]


class FieldDoc(NamedTuple):
    """The description of one key; sections are not keys."""

    key: str
    type: str
    default: object
    required: bool
    description: str
    example: object


class SectionDoc(NamedTuple):
    """A struct and its keys; `name` is dotted, empty at the top."""

    name: str
    description: str
    optional: bool
    fields: tuple[FieldDoc, ...]


class Complaint(NamedTuple):
    """What is wrong with a value, and its dotted key."""

    message: str
    key: str


def section_docs(struct: _Struct) -> Iterator[SectionDoc]:
    """Yield a struct's own keys as the first section, then each section below it, in order."""
    yield from _walk(struct, SectionDoc("", "", optional=False, fields=()))


def field_docs(struct: _Struct) -> Iterator[FieldDoc]:
    """Yield every key below a struct."""
    for section in section_docs(struct):
        yield from section.fields


def _walk(struct: _Struct, head: SectionDoc) -> Iterator[SectionDoc]:
    prefix = head.name + "." if head.name else ""
    keys: list[FieldDoc] = []
    below: list[tuple[_Struct, SectionDoc]] = []
    for field in _fields(struct):
        key = prefix + field.encode_name
        schema = _schema(field.type)
        description = str(schema.get("description", ""))
        section = _section(field.type)
        if section is None:
            example = next(iter(schema.get("examples", ())), None)
            words = _in_words(field.type)
            keys.append(FieldDoc(key, words, _default(field), field.required, description, example))
        else:
            optional = not field.required and _default(field) is None
            below.append((section, SectionDoc(key, description, optional, ())))
    yield head._replace(fields=tuple(keys))
    for section, section_head in below:
        yield from _walk(section, section_head)


def unknown_key(raw: dict[str, Any], struct: _Struct) -> Complaint | None:
    """Return a complaint about the first key that the struct does not have, or None."""
    for key, neighbours in _unknown_keys(raw, struct, ""):
        return Complaint(
            f"unknown key `{clean(key, _MAX_SHOWN)}`; {_suggest(key, neighbours, struct)}", key
        )
    return None


def explain(error: msgspec.ValidationError, raw: dict[str, Any], struct: _Struct) -> Complaint:
    """Turn msgspec's message into one with key, value and what is expected."""
    found = _AT.match(str(error))
    what, where = (found["what"], found["where"] or "") if found else (str(error), "")
    missing = _MISSING.match(what)
    if missing:
        key = f"{where}.{missing['name']}" if where else missing["name"]
        return Complaint(f"`{key}` is missing; {_expected(key, struct)}", key)
    key = re.sub(r"\[.*", "", where)
    value = _look_up(raw, key)
    if isinstance(value, dict):  # each key is valid, but together they contradict each other
        return Complaint(f"[{key}]: {what}" if key else what, key)
    return Complaint(f"`{where}` is {shown(value)}; {_expected(key, struct)}", key)


_AT = re.compile(r"^(?P<what>.*?)(?: - at `\$\.?(?P<where>.*)`)?$", re.DOTALL)
_MISSING = re.compile(r"Object missing required field `(?P<name>.+)`")


@cache
def _fields(struct: _Struct) -> tuple[msi.Field, ...]:
    info = msi.type_info(struct)
    assert isinstance(info, msi.StructType)  # noqa: S101 - what a struct's type information is
    return info.fields


def _bare(kind: msi.Type) -> msi.Type:
    return kind.type if isinstance(kind, msi.Metadata) else kind


def _section(kind: msi.Type) -> _Struct | None:
    """Return T for a struct type T or `T | None`; None for other types."""
    bare = _bare(kind)
    kinds = bare.types if isinstance(bare, msi.UnionType) else (bare,)
    return next((one.cls for one in kinds if isinstance(one, msi.StructType)), None)


def _schema(kind: msi.Type) -> dict[str, Any]:
    return (kind.extra_json_schema or {}) if isinstance(kind, msi.Metadata) else {}


def _default(field: msi.Field) -> object:
    if field.required:
        return None
    if field.default_factory is not msgspec.NODEFAULT:
        return msgspec.to_builtins(field.default_factory())
    return msgspec.to_builtins(field.default)


def _in_words(kind: msi.Type) -> str:
    """Return a type with its limits in words."""
    bare = _bare(kind)
    match bare:
        case msi.IntType():
            words = "whole number" + _limits(bare)
        case msi.FloatType():
            words = "number" + _limits(bare)
        case msi.StrType():
            words = "text"
        case msi.BoolType():
            words = "true or false"
        case msi.UnionType(types=types):
            words = " or ".join(_in_words(t) for t in types if not isinstance(t, msi.NoneType))
        case msi.LiteralType() | msi.EnumType():
            words = ", ".join(f"`{choice}`" for choice in _choices(bare))
        case msi.VarTupleType(item_type=item) | msi.ListType(item_type=item):
            words = f"list of {_in_words(item)}"
        case _:
            words = type(bare).__name__.removesuffix("Type").lower()
    return words


def _choices(kind: msi.LiteralType | msi.EnumType) -> list[object]:
    return list(kind.values) if isinstance(kind, msi.LiteralType) else [m.value for m in kind.cls]


def _limits(number: msi.IntType | msi.FloatType) -> str:
    words = [
        f"{word} {limit:.12g}"
        for word, limit in (
            ("from", number.ge),
            ("above", number.gt),
            ("up to", number.le),
            ("below", number.lt),
        )
        if limit is not None
    ]
    return " " + " ".join(words) if words else ""


def _unknown_keys(
    raw: dict[str, Any], struct: _Struct, prefix: str
) -> Iterator[tuple[str, list[str]]]:
    fields = {field.encode_name: field for field in _fields(struct)}
    for name, value in raw.items():
        if name not in fields:
            yield prefix + name, [prefix + known for known in fields]
        elif (section := _section(fields[name].type)) is not None and isinstance(value, dict):
            yield from _unknown_keys(value, section, f"{prefix}{name}.")


def _suggest(key: str, neighbours: list[str], struct: _Struct) -> str:
    section, _, name = key.rpartition(".")
    # After misspelling, the most common error is a key in the wrong section.
    elsewhere = [doc.key for doc in field_docs(struct) if doc.key.rpartition(".")[2] == name]
    import difflib  # noqa: PLC0415 - for an error only

    close = difflib.get_close_matches(key, neighbours, n=1) or elsewhere
    if close:
        return f"did you mean `{close[0]}`?"
    where = f"[{section}] has" if section else "the top level has"
    return f"{where} {', '.join(known.rpartition('.')[2] for known in neighbours)}"


def _expected(key: str, struct: _Struct) -> str:
    doc = next((doc for doc in field_docs(struct) if doc.key == key), None)
    if doc is None:
        return f"a section [{key}] is expected" if key else "a table is expected"
    default = "" if doc.default is None else f" (default {shown(doc.default)})"
    return f"expected {doc.type}{default}: {doc.description}"


def _look_up(raw: object, key: str) -> object:
    for name in filter(None, key.split(".")):
        raw = raw.get(name) if isinstance(raw, dict) else None
    return raw


def shown(value: object) -> str:
    """Return a value for an error: on one line, shortened, without control characters."""
    try:
        text = msgspec.json.encode(value, enc_hook=str).decode()
    except (ValueError, OverflowError, RecursionError, TypeError):  # 10^30, a deep list
        text = repr(value)[: 2 * _MAX_SHOWN]
    if isinstance(value, float) and not math.isfinite(value):
        text = str(value)  # JSON has no word for it
    return clean(text, _MAX_SHOWN)
