"""Find the annotation files to compare in folders of records, and read them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tocsin_agent.errors import SourceError, SourceFault
from tocsin_agent.lab.ec57.annotations import (
    Annotations,
    read_annotations,
    read_header,
    require_beats,
)
from tocsin_agent.sources.files.record_folders import record_roots


@dataclass(frozen=True)
class Folders:
    """Which files to compare.

    Parameters
    ----------
    records : Path
        Folder of the headers and reference annotations.
    reference, test : str
        Annotators: the ends of the file names, with or without dot.
    test_dir : Path or None
        Folder of the test annotations; by default that of the records. Where the records' folder
        has no reference annotation at all, the references are looked for here too.
    names : sequence of str
        Records to compare; by default all that have a file of either annotator.
    """

    records: Path
    reference: str
    test: str
    test_dir: Path | None = None
    names: Sequence[str] = ()

    def find(self) -> Found:
        """Find the files.

        Raises
        ------
        SourceError
            `NOT_FOUND` where there is no record to compare at all.
        """
        reference, test = self.reference.lstrip("."), self.test.lstrip(".")
        tests = self.test_dir or self.records
        references = self.records
        if not any(references.glob(f"*.{reference}")):
            references = tests
        named = self.names or sorted(
            {path.stem for path in references.glob(f"*.{reference}")}
            | {path.stem for path in tests.glob(f"*.{test}")}
        )
        if not named:
            raise SourceError(
                SourceFault.NOT_FOUND,
                f"nothing to compare: no *.{reference} in {self.records} and no *.{test} in "
                f"{tests}",
            )
        pairs, no_reference, no_test = [], [], []
        for name in dict.fromkeys(named):
            one = PairOfFiles(
                name, references / f"{name}.{reference}", tests / f"{name}.{test}", self._header
            )
            if not one.reference.is_file():
                no_reference.append(name)
            elif not one.test.is_file():
                no_test.append(name)
            else:
                pairs.append(one)
        return Found(tuple(pairs), tuple(no_reference), tuple(no_test), references, tests)

    @property
    def _header(self) -> tuple[Path, ...]:
        """Where headers may lie: with the records, or in the database of this folder's name."""
        database = self.records.resolve().name
        roots = (root / database for root in record_roots())
        return (self.records, *roots, *((self.test_dir,) if self.test_dir else ()))


@dataclass(frozen=True)
class PairOfFiles:
    """The two annotation files of one record.

    Parameters
    ----------
    record : str
        Its name.
    reference, test : Path
        The files.
    header_dirs : tuple of Path
        Where its header may lie, the first that has it counts.
    """

    record: str
    reference: Path
    test: Path
    header_dirs: tuple[Path, ...]

    def read(self, *, beats: bool) -> tuple[Annotations, Annotations]:
        """Read both; with `beats`, refuse a reference that has none.

        Raises
        ------
        SourceError
            As `read_header`, `read_annotations` and `require_beats`.
        """
        name = f"{self.record}.hea"
        paths = [folder / name for folder in self.header_dirs]
        path = next((path for path in paths if path.is_file()), paths[0])
        header = read_header(path)
        reference = read_annotations(self.reference, header)
        if beats:
            require_beats(reference, self.reference)
        return reference, read_annotations(self.test, header)


@dataclass(frozen=True)
class Found:
    """What `Folders.find` found.

    Parameters
    ----------
    pairs : tuple of PairOfFiles
        Records that have both files.
    no_reference, no_test : tuple of str
        Names of the records that lack one.
    references, tests : Path
        The folders looked into.
    """

    pairs: tuple[PairOfFiles, ...]
    no_reference: tuple[str, ...]
    no_test: tuple[str, ...]
    references: Path
    tests: Path

    @property
    def missing(self) -> dict[str, str]:
        """What each record that cannot be compared lacks, a sentence by name."""
        reference = dict.fromkeys(self.no_reference, "no reference annotations")
        return reference | dict.fromkeys(self.no_test, "no test annotations")

    def require(self, *, every: bool) -> None:
        """Raise `SourceError` unless one record, or with `every` each of them, has both files."""
        if self.pairs and not every:
            return
        gaps = [
            f"{len(names)} without {what} annotations in {folder}: {' '.join(names)}"
            for names, what, folder in (
                (self.no_reference, "reference", self.references),
                (self.no_test, "test", self.tests),
            )
            if names
        ]
        if gaps:
            raise SourceError(
                SourceFault.NOT_FOUND,
                "\n".join([*gaps, "name the records to compare, or allow missing ones"]),
            )

    def read(self, *, beats: bool) -> Iterator[tuple[Annotations, Annotations]]:
        """Read the pairs one by one."""
        for pair in self.pairs:
            yield pair.read(beats=beats)
