"""Check of a release: by who gives it away, before, and by who received it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec

from tocsin_agent.lab.annotate import MNEMONICS
from tocsin_agent.lab.ec57.annotations import Header, read_annotations
from tocsin_agent.lab.pool.anonymity import small_classes
from tocsin_agent.lab.pool.items import (
    MAX_SECONDS,
    MEASURED,
    ItemFile,
    PersonFile,
    is_lead,
    numbers,
)
from tocsin_agent.lab.pool.release import ANNOTATOR, CARD, MANIFEST, PEOPLE, Manifest, hashes
from tocsin_agent.monitor.alarms.table import ALARMS

_SUFFIXES = (".hea", ".dat", ".json", f".{ANNOTATOR}")
LEAST, LEAST_DIGITS = 3, 5
"""The fewest characters of an identifier that is looked for, and of one of digits alone."""
_STRING = re.compile(r'"((?:[^"\\]|\\.)*)"')
_SIGNAL = re.compile(r"^\S+\.dat 16 1000(\.0)?(\(0\))?/mV 16 0 -?\d+ -?\d+ 0 (\S+)$")


def faults(folder: Path, identifiers: Iterable[str] = ()) -> Iterator[str]:
    """Yield what is wrong with a release, a sentence each.

    Parameters
    ----------
    folder : Path
    identifiers : iterable of str
        Words that must not occur anywhere, in any case: names, numbers, serials. Those that are too
        short, so that every release holds them (`too_short`), are not looked for.
    """
    try:
        manifest = msgspec.json.decode((folder / MANIFEST).read_bytes(), type=Manifest)
    except (OSError, msgspec.DecodeError) as error:
        yield f"{MANIFEST}: {error}"
        return
    found = hashes(folder)
    for name in sorted(set(found) | set(manifest.files)):
        if found.get(name) != manifest.files.get(name):
            yield f"{name}: missing, added or changed since the release"
    people, items = list[PersonFile](), list[ItemFile]()
    for place in sorted((folder / PEOPLE).iterdir() if (folder / PEOPLE).is_dir() else []):
        yield from _person(place, manifest, people, items)
    counts = Counter(item.kind for item in items)
    stated = manifest.items.get("episode", 0), manifest.items.get("background", 0)
    if (len(people), counts["episode"], counts["background"]) != (manifest.people, *stated):
        yield "the numbers of people or items are not those of the manifest"
    if abs(sum(item.samples / item.rate_hz for item in items) / 3600 - manifest.hours) > 0.001:
        yield "the hours are not those of the manifest"
    for (_, age, sex), size in small_classes(people, manifest.k).items():
        yield f"{size} people of age {age} and sex {sex}: at least {manifest.k} expected"
    yield from _words(folder, identifiers)


def _person(
    place: Path, manifest: Manifest, people: list[PersonFile], items: list[ItemFile]
) -> Iterator[str]:
    """Check the folder of a person; append what it holds."""
    try:
        person = msgspec.json.decode((place / "person.json").read_bytes(), type=PersonFile)
    except (OSError, msgspec.DecodeError) as error:
        yield f"{place.name}/person.json: {error}"
        return
    people.append(person)
    if person.person != place.name or person.site != manifest.site:
        yield f"{place.name}/person.json: of another person or site"
    for file in sorted(set(place.glob("*.json")) - {place / "person.json"}):
        try:
            item = msgspec.json.decode(file.read_bytes(), type=ItemFile)
        except (OSError, msgspec.DecodeError) as error:
            yield f"{place.name}/{file.name}: {error}"
            continue
        items.append(item)
        yield from (f"{place.name}/{file.stem}: {why}" for why in _item(item, file, person))
    yield from _others(place)


def _item(item: ItemFile, file: Path, person: PersonFile) -> Iterator[str]:
    if item.item != file.stem or item.person != person.person:
        yield "of another item or person"
    if item.code is not None and item.code not in ALARMS:
        yield "its code is no alarm"
    if item.measured != numbers(item.measured) or not set(item.measured) <= set(MEASURED):
        yield "a measured value is not one that may leave"
    if not all(map(is_lead, item.leads)):
        yield "a lead has a name that may not leave"
    if item.samples / item.rate_hz > MAX_SECONDS + 1:
        yield f"longer than {MAX_SECONDS:g} s"
    yield from _header(item, file.with_suffix(".hea"))
    try:
        marks = read_annotations(
            file.with_suffix(f".{ANNOTATOR}"), Header(item.rate_hz, item.samples)
        )
    except Exception as error:  # noqa: BLE001 - a damaged file is a finding
        yield f"its labels cannot be read: {error}"
        return
    if any(marks.aux) or not set(marks.symbol) <= set(MNEMONICS.values()) or marks.notes:
        yield "its labels hold more than beats"


def _header(item: ItemFile, file: Path) -> Iterator[str]:
    """Check that a header states the format, and nothing else: no comment, date or other file."""
    try:
        first, *signals = file.read_text(encoding="ascii").splitlines()
    except (OSError, UnicodeDecodeError, ValueError) as error:
        yield f"its header cannot be read: {error}"
        return
    stated = re.fullmatch(r"(\S+) (\d+) (\d+(?:\.\d+)?) (\d+)", first)
    named = [_SIGNAL.fullmatch(line) for line in signals]
    if stated is None or not all(named):
        yield "its header holds more than the format of the signals"
    elif tuple(match[3] for match in named if match) != item.leads or stated[1] != item.item:
        yield "its header names other leads"


def _others(place: Path) -> Iterator[str]:
    for file in sorted(place.iterdir()):
        name = file.name
        known = name == "person.json" or (
            re.fullmatch(r"[0-9a-f]{32}", file.stem) and file.suffix in _SUFFIXES
        )
        if not known or not file.is_file() or not file.with_suffix(".json").is_file():
            yield f"{place.name}/{name}: no part of a release"


def _words(folder: Path, identifiers: Iterable[str]) -> Iterator[str]:
    """Look for identifiers in all that is text: all files but the samples, and the paths.

    Words of up to seven characters count as whole words alone: hexadecimal digits hold `ada`. Those
    of digits alone are looked for in paths and strings of JSON: headers, labels and numbers hold
    any digits, and nothing else (`_header`, `_item`).
    """
    wanted = {_normal(word) for word in identifiers} - {""}
    wanted -= set(too_short(wanted))
    digits = {word for word in wanted if word.isdecimal()}
    words = _pattern(wanted - digits, "0-9a-z")
    numbers_ = _pattern(digits, "0-9a-z.")  # a fraction of a second is no identifier
    for file in sorted(folder.rglob("*")):
        text = strings = file.relative_to(folder).as_posix().lower()
        # The card is of the site and for everybody: it names who is responsible.
        if file.is_file() and file.suffix != ".dat" and file.name != CARD:
            content = file.read_bytes().decode("utf-8", "replace").lower()
            text += "\n" + content
            strings += "\n" + "\n".join(_STRING.findall(content) if file.suffix == ".json" else [])
        if words.search(text) or numbers_.search(strings):
            yield f"{file.relative_to(folder)}: holds an identifier of the site"


def too_short(identifiers: Iterable[str]) -> list[str]:
    """Return the identifiers that a release would hold by chance, and that are not looked for.

    Those of fewer than `LEAST` characters, as leads have, and of fewer than `LEAST_DIGITS` digits
    and nothing else, as years and parts of a time have.
    """
    words = sorted({_normal(word) for word in identifiers} - {""})
    return [word for word in words if len(word) < (LEAST_DIGITS if word.isdecimal() else LEAST)]


def _normal(word: str) -> str:
    return word.strip().lower()


def _pattern(words: Iterable[str], before: str) -> re.Pattern[str]:
    """Return what finds any of some words, the short ones as whole words; of none, nothing."""
    found = (
        re.escape(w) if len(w) > 7 else rf"(?<![{before}]){re.escape(w)}(?![0-9a-z])"
        for w in sorted(words)
    )
    return re.compile("|".join(found) or r"(?!)")
