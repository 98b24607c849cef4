"""Pooling: what leaves, what never leaves, and what a revocation changes."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import msgspec
import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from support.factories import make_alert, make_strip
from support.patients import write_record
from tocsin_agent.cli.pool import command
from tocsin_agent.errors import LabError
from tocsin_agent.lab.pool.checking import faults, too_short
from tocsin_agent.lab.pool.consent import Consents, Form, Person, read_consents
from tocsin_agent.lab.pool.gather import Site, items_of
from tocsin_agent.lab.pool.items import Item, age_band
from tocsin_agent.lab.pool.ledger import Ledger, Revoked, now
from tocsin_agent.lab.pool.pseudonyms import SiteKey, make_key, read_key, shift
from tocsin_agent.lab.pool.release import MANIFEST, Plan, Sharing, Written, hashes, write_release
from tocsin_agent.lab.review.inputs import monitor_record
from tocsin_agent.messages.alert import Evidence, Strip, encode_alert

KEY = SiteKey(b"k" * 32)
PLAN = Plan("r1", "research", 1, 10, False, {"beats": "0123456789ab"})
DAY = datetime(2026, 3, 1, 8, 30, tzinfo=UTC)


def item(source: str = "rec@1", **fields: object) -> Item:
    made = Item(
        source=source,
        kind="episode",
        at=DAY,
        offset_s=0.0,
        rate_hz=250.0,
        leads=("II", "V1"),
        samples_mv=np.linspace(-1, 1, 500).reshape(-1, 2),
        beats=[(10, "N"), (200, "V")],
        code="asystole",
        onset_row=20,
        heart_rate_bpm=61.04,
        measured={"without_qrs_s": 4.0, "reason": "free text"},
    )
    return made._replace(**fields)  # type: ignore[arg-type]


def person(name: str, **fields: object) -> Person:
    made = Person(patient=name, form="v1", given=date(2026, 1, 2), born=1960, sex="f")
    return msgspec.structs.replace(made, **fields)


def site_of(folder: Path, *people: Person) -> Consents:
    (folder / "form.txt").write_text("I agree.")
    form = Form(("research",), ("episodes", "background"), "CC-BY-4.0", "form.txt")
    return Consents(
        schema="tocsin/consents/v1",
        site="Ward 5",
        controller="Clinic",
        contact="mail@clinic.example",
        form={"v1": form},
        person=people,
    )


def released(
    folder: Path, people: list[Person], items: dict[str, list[Item]], plan: Plan = PLAN
) -> Written:
    consents = site_of(folder, *people)
    sharing = Sharing(
        KEY, folder / "consents.toml", consents, lambda one: items.get(one.patient, [])
    )
    return write_release(folder / "out", plan, sharing, people)


@pytest.fixture
def folder() -> Iterator[Path]:
    made = Path(tempfile.mkdtemp())
    yield made
    shutil.rmtree(made)


PLANTED = st.text(
    st.characters(codec="utf-8", exclude_categories=("Cs", "Cc", "Z"), min_codepoint=0x30),
    min_size=1,
    max_size=12,
).map(lambda text: f"Planted7{text}")
"""Identifiers that can occur in no release by chance."""


@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(words=st.lists(PLANTED, min_size=12, max_size=12), day=st.dates(date(1950, 1, 1)))
def test_no_identifier_leaves_in_whatever_field_it_stands(words: list[str], day: date) -> None:
    at = datetime(day.year, day.month, day.day, 11, 22, 33, tzinfo=UTC)
    if at.year > 2050:
        at = at.replace(year=2026, day=1)
    strip = Strip.encode((words[0], words[1]), 250.0, 0, np.zeros((500, 2)), onset_row=5)
    alert = msgspec.structs.replace(
        make_alert(),
        patient=words[2],
        device=words[3],
        site=words[4],
        location=words[5],
        stream=words[6],
        text=words[7],
        strip=strip,
        onset_at=at,
        detected_at=at + timedelta(seconds=2),
        evidence=Evidence(
            words[8],
            {words[9]: 1.0},
            {words[9]: 19530101.0, "reason": words[10], "rate_bpm": 19530101.0, "beats": 5.0},
            f"{words[11]}@0123",
            {words[9]: 0.5},
        ),
    )  # fmt: skip
    folder = Path(tempfile.mkdtemp())
    try:
        who = person(words[2], identifiers=tuple(words))
        site = Site(KEY, [alert], lambda _: pytest.fail("no recording"))
        found = list(items_of(site, who, ("episodes",)))
        done = released(folder, [who], {words[2]: found})
        assert done.manifest.items == {"episode": 1, "background": 0}
        content = b"".join(
            str(file.relative_to(folder)).encode() + file.read_bytes()
            for file in (folder / "out").rglob("*")
            if file.is_file()
        )
        assert b"Planted7" not in content
        assert b"planted7" not in content.lower()
        assert b"19530101" not in content
        dates = (f"{at:%Y-%m-%d}", f"{at:%d/%m/%Y}", "11:22:33")
        assert not any(stated.encode() in content for stated in dates)
        assert list(faults(folder / "out", words)) == []
        for header in (folder / "out").rglob("*.hea"):
            assert "#" not in header.read_text()
            assert len(header.read_text().splitlines()[0].split()) == 4
    finally:
        shutil.rmtree(folder)


def test_without_one_person_all_others_are_the_same(tmp_path: Path) -> None:
    people = [person(name) for name in ("ann", "ben", "cem")]
    items = {p.patient: [item(f"{p.patient}@{i}") for i in range(3)] for p in people}
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    released(tmp_path / "a", people, items)
    released(tmp_path / "b", [people[0], people[2]], items, PLAN._replace(release="r2"))
    before, after = (hashes(tmp_path / name / "out") for name in "ab")
    gone = set(before) - set(after)
    assert {name.split("/")[1] for name in gone} == {KEY.name("person", "research", "ben")}
    others = {name for name in after if name.startswith("people/")}
    assert len(others) == 2 * (1 + 3 * 4)
    assert {name: before[name] for name in others} == {name: after[name] for name in others}


def test_intervals_between_the_items_of_a_person_stay(tmp_path: Path) -> None:
    later = item("rec@2", at=DAY + timedelta(days=3, seconds=5))
    released(tmp_path, [person("ann")], {"ann": [item(), later]})
    found = [json.loads(f.read_text()) for f in (tmp_path / "out").rglob("*.json")]
    first, second = sorted(datetime.fromisoformat(f["at"]) for f in found if "at" in f)
    assert second - first == timedelta(days=3, seconds=5)
    assert first.year >= 2100
    assert shift(KEY, "research", "ann") != shift(KEY, "research", "ben")
    assert shift(KEY, "research", "ann") != shift(KEY, "other", "ann")


def test_small_classes_are_refused_or_withheld(tmp_path: Path) -> None:
    people = [person("ann"), person("ben"), person("cem", sex="m")]
    items = {p.patient: [item()] for p in people}
    plan = PLAN._replace(k=2)
    with pytest.raises(LabError, match="fewer than 2 people"):
        released(tmp_path, people, items, plan)
    done = released(tmp_path, people, items, plan._replace(withhold=True))
    assert (done.manifest.people, done.manifest.withheld) == (2, 1)
    assert set(done.people) == {"ann", "ben"}
    assert list(faults(tmp_path / "out")) == []


def test_who_has_no_item_is_in_no_release_and_hides_nobody(tmp_path: Path) -> None:
    people = [person("ann"), person("ben"), person("cem"), person("dee", sex="m")]
    items = {"ann": [item()], "ben": [item()], "dee": [item()]}
    plan = PLAN._replace(k=3, withhold=True)
    with pytest.raises(LabError, match="nobody"):
        released(tmp_path, people, items, plan)
    with pytest.raises(LabError, match="fewer than 3 people with ECG"):
        released(tmp_path, people[:3], items, PLAN._replace(k=3))
    assert [path.name for path in tmp_path.iterdir()] == ["form.txt"]
    done = released(tmp_path, people, items, plan._replace(k=2))
    assert set(done.people) == {"ann", "ben"}
    assert (done.manifest.people, done.manifest.withheld) == (2, 1)
    assert len(list((tmp_path / "out" / "people").iterdir())) == 2
    assert list(faults(tmp_path / "out")) == []


def test_times_and_modes_of_the_files_say_nothing(tmp_path: Path) -> None:
    people = [person(name) for name in ("ann", "ben", "cem")]
    released(tmp_path, people, {p.patient: [item()] for p in people})
    out = tmp_path / "out"
    assert len({path.stat().st_mtime_ns for path in (out, *out.rglob("*"))}) == 1
    assert out.stat().st_mode & 0o777 == 0o700


def test_no_part_of_a_time_stays() -> None:
    parts = {shift(KEY, "research", f"p{n}").microseconds for n in range(50)}
    assert len(parts) > 40


def test_a_release_that_cannot_be_finished_is_not_there(tmp_path: Path) -> None:
    def broken(_: Person) -> Iterator[Item]:
        yield item()
        raise LabError("the disk")

    who = person("ann")
    with pytest.raises(LabError, match="the disk"):
        write_release(
            tmp_path / "out",
            PLAN,
            Sharing(KEY, tmp_path / "c", site_of(tmp_path, who), broken),
            [who],
        )
    assert [path.name for path in tmp_path.iterdir()] == ["form.txt"]


def test_a_name_that_is_not_in_the_consents_is_not_revoked(tmp_path: Path) -> None:
    consents = tmp_path / "consents.toml"
    (tmp_path / "form.txt").write_text("I agree.")
    consents.write_text(
        'schema = "tocsin/consents/v1"\nsite = "s"\ncontroller = "c"\ncontact = "d"\n'
        '[form.v1]\npurposes = ["research"]\ndata = ["episodes"]\nlicence = "l"\n'
        'text = "form.txt"\n[[person]]\npatient = "bed-1"\nform = "v1"\ngiven = 2026-01-02\n'
    )
    ledger = tmp_path / "ledger.jsonl"
    words = ["--ledger", str(ledger), "--consents", str(consents)]
    done = CliRunner().invoke(command, ["revoke", "bed-l", *words])
    assert done.exit_code == 2
    assert "no patient 'bed-l'" in done.output
    assert not ledger.exists()
    assert CliRunner().invoke(command, ["revoke", "bed-1", *words]).exit_code == 0


def change(name: str, old: str, new: str) -> object:
    def apply(out: Path) -> None:
        file = next(out.rglob(name))
        text = file.read_text()
        assert old in text
        file.write_text(text.replace(old, new, 1))
        manifest = json.loads((out / MANIFEST).read_text())
        manifest["files"] = hashes(out)  # as somebody would who wants it to look right
        (out / MANIFEST).write_text(json.dumps(manifest))

    return apply


DAMAGE = {
    "a comment in a header": (change("*.hea", "\n", "\n# Ann\n"), "header"),
    "a date in a header": (change("*.hea", " 250 250\n", " 250 250 10:00 1/3/2026\n"), "header"),
    "a lead that names a device": (change("*.hea", " 0 II\n", " 0 SN42\n"), "header"),
    "another field": (change("[0-9]*.json", '"kind"', '"note": "x", "kind"'), "unknown field"),
    "a real time": (change("[0-9]*.json", '"at": "2', '"at": "1'), "at"),
    "a measured value": (change("[0-9]*.json", '"without_qrs_s"', '"serial_no"'), "measured"),
    "a finer age": (change("person.json", "60-69", "66 years"), "age_band"),
    "a further file": (lambda out: (out / "people" / "x.txt").write_text("Ann"), "added"),
    "changed samples": (lambda out: next(out.rglob("*.dat")).write_bytes(b"12"), "changed"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_verify_finds(tmp_path: Path, name: str) -> None:
    # Of the person's folder whichever name begins with a digit is changed: pick such an item.
    sources = (f"rec@{i}" for i in range(100))
    source = next(
        s for s in sources if KEY.name("item", "research", "ann", "episode", s)[0].isdigit()
    )
    released(tmp_path, [person("ann", born=1966)], {"ann": [item(source)]})
    assert list(faults(tmp_path / "out")) == []
    damage, said = DAMAGE[name]
    damage(tmp_path / "out")  # type: ignore[operator]
    assert any(said in fault for fault in faults(tmp_path / "out"))


def test_the_consent_decides(tmp_path: Path) -> None:
    people = (
        person("expired", expires=date(2026, 5, 1)),
        person("later", given=date(2027, 1, 1)),
        person("revoked"),
        person("withdrawn", withdrawn=date(2026, 5, 1)),
        person("yes"),
    )
    consents = site_of(tmp_path, *people)
    on = date(2026, 6, 1)
    allowed = consents.allowed("research", on, frozenset({"revoked"}))
    assert [one.patient for one in allowed] == ["yes"]
    assert consents.allowed("marketing", on, frozenset()) == []
    with pytest.raises(LabError, match="nobody"):
        released(tmp_path, [], {})


def test_a_consent_file_with_an_unknown_key_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "consents.toml"
    file.write_text('schema = "tocsin/consents/v1"\nsite = "s"\nname = "x"\n')
    with pytest.raises(LabError, match=r"consents\.toml"):
        read_consents(file)


def test_the_key_is_private_and_is_never_replaced(tmp_path: Path) -> None:
    file = tmp_path / "site.key"
    make_key(file)
    assert read_key(file).name("a") == read_key(file).name("a") != KEY.name("a")
    assert KEY.name("ab", "c") != KEY.name("a", "bc")
    with pytest.raises(LabError, match="not written"):
        make_key(file)
    file.chmod(0o644)
    with pytest.raises(LabError, match="others"):
        read_key(file)


@pytest.mark.parametrize(
    ("born", "band"), [(1960, "60-69"), (1930, "90+"), (1920, "90+"), (None, "unknown")]
)
def test_ages_are_bands(born: int | None, band: str) -> None:
    assert age_band(born, 2026, 10) == band


def test_a_ledger_knows_what_was_given_and_who_withdrew(tmp_path: Path) -> None:
    book = Ledger(tmp_path / "ledger.jsonl")
    book.add(Revoked(at=now(), patient="ann"))
    assert Ledger(tmp_path / "ledger.jsonl").revoked == {"ann"}
    (tmp_path / "ledger.jsonl").write_text("no\n")
    with pytest.raises(LabError, match="no ledger"):
        Ledger(tmp_path / "ledger.jsonl")


def test_short_numbers_are_no_false_hit_and_long_ones_are_found_in_texts(tmp_path: Path) -> None:
    made = item(heart_rate_bpm=61.04, measured={"without_qrs_s": 4.25})
    released(tmp_path, [person("ann")], {"ann": [made]})
    out = tmp_path / "out"
    in_numbers = ["12", "250", "1000", "32768", "II", "04", "25"]
    assert too_short(in_numbers) == ["04", "1000", "12", "25", "250", "ii"]
    assert list(faults(out, in_numbers)) == []
    (stated,) = [one for one in out.rglob("*.json") if len(one.stem) == 32]
    content = json.loads(stated.read_text())
    for word, field in (("471100", "MRN 471100"), ("sn7", "sn7"), ("12345678", "x12345678")):
        stated.write_text(json.dumps(content | {"code": field}))
        assert any("holds an identifier" in fault for fault in faults(out, [word])), word
    stated.write_text(json.dumps(content | {"code": "asystole", "sn7b": 471100}))
    assert not any("holds an identifier" in fault for fault in faults(out, ["471100", "sn7"]))


def test_a_strip_without_its_onset_ends_before_the_detection_as_its_index_says() -> None:
    strip = msgspec.structs.replace(make_strip(), onset_row=None)
    alert = make_alert(onset_index=64_000, strip=strip)
    rows = len(strip.decode())
    start = alert.detected_index - 27 - rows  # the filter delays it by 75 ms at 360/s
    strip = msgspec.structs.replace(strip, start_index=start)
    alert = msgspec.structs.replace(alert, strip=strip, patient="ann")
    (found,) = items_of(Site(KEY, [alert], monitor_record), person("ann"), ("episodes",))
    assert found.at is not None
    late = alert.detected_at - found.at - timedelta(seconds=rows / strip.rate_hz)
    assert abs(late - timedelta(milliseconds=75)) <= timedelta(microseconds=2)


def test_the_commands_export_verify_and_revoke(tmp_path: Path) -> None:
    run = CliRunner().invoke
    (tmp_path / "form.txt").write_text("I agree.")
    rows = "".join(
        f'[[person]]\npatient = "bed-{n}"\nform = "v1"\ngiven = 2026-01-02\nborn = 1960\n'
        for n in (1, 2)
    )
    consents = tmp_path / "consents.toml"
    consents.write_text(
        'schema = "tocsin/consents/v1"\nsite = "s"\ncontroller = "c"\ncontact = "d"\n'
        '[form.v1]\npurposes = ["research"]\ndata = ["episodes"]\nlicence = "CC-BY-4.0"\n'
        f'text = "form.txt"\n{rows}'
    )
    trail = tmp_path / "audit.jsonl"
    lines = []
    for n in (1, 2):
        strip = Strip.encode(("II",), 250.0, 0, np.zeros((500, 1)))
        alert = msgspec.structs.replace(
            make_alert(), alert_id=f"{n}" * 32, patient=f"bed-{n}", strip=strip
        )
        document = json.loads(encode_alert(alert))
        lines.append(json.dumps({"event": "committed", "document": document}))
    trail.write_text("\n".join(lines))
    key, ledger = tmp_path / "site.key", tmp_path / "ledger.jsonl"
    assert run(command, ["key", str(key)]).exit_code == 0
    given = ["--consents", consents, "--key", key, "--ledger", ledger, "--trail", trail]
    given += ["--purpose", "research", "--recipient", "University X", "--k", "1"]

    def export(name: str) -> Path:
        words = [*given, "--release", name, "--into", tmp_path / name]
        done = run(command, ["export", *map(str, words)])
        assert done.exit_code == 0, done.output
        return tmp_path / name

    first = export("r1")
    assert run(command, ["verify", str(first), "--consents", str(consents)]).exit_code == 0
    done = run(command, ["revoke", "bed-1", "--ledger", str(ledger), "--json"])
    (gone,) = json.loads(done.output)["given"]
    assert (gone["release"], gone["recipient"], len(gone["items"])) == ("r1", "University X", 1)
    second = export("r2")
    assert len(list((second / "people").iterdir())) == 1
    for file in (second / "people").rglob("*.*"):
        assert (first / file.relative_to(second)).read_bytes() == file.read_bytes()


@pytest.mark.parametrize(("pattern", "kind"), [("N", "background"), ("NNNNNNNNVV", "episode")])
def test_a_recording_gives_items_and_no_word_of_its_header(
    tmp_path: Path, pattern: str, kind: str
) -> None:
    write_record(tmp_path / "db", "ann-example", pattern=pattern)
    header = tmp_path / "db" / "ann-example.hea"
    first, rest = header.read_text().split("\n", 1)
    header.write_text(f"{first} 11:22:33 01/03/2021\n{rest}\n# Ann Example, SN-4711\n")
    record = str(tmp_path / "db" / "ann-example")
    who = person("ann", records=(record,))
    site = Site(KEY, [], monitor_record)
    found = list(items_of(site, who, ("episodes", "background")))
    known = [
        msgspec.structs.replace(
            make_alert(strip=make_strip()), alert_id=event.alert_id, patient="ann"
        )
        for event, _ in monitor_record(record).found
    ]
    with_trail = Site(KEY, known, monitor_record)
    again = list(items_of(with_trail, who, ("episodes", "background")))
    assert [one.source for one in again] == [one.source for one in found]
    assert {one.kind for one in found} == {kind}
    assert all(one.at is not None for one in found)
    released(tmp_path, [who], {"ann": found})
    words = ["Ann Example", "SN-4711", "ann-example", "2021-03-01", "11:22:33"]
    assert list(faults(tmp_path / "out", words)) == []
