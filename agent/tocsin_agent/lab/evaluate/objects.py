"""Records in an object store (`s3://`, `gs://`, `az://`, `file://` …), judged where workers are.

fsspec reads the store; each protocol has a package of its own (s3fs, gcsfs, adlfs). The client
lists names and reads the lists of a challenge; a worker gets the files of one record, judges it and
removes them. So a worker needs room for one record, and the client for none.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

from tocsin_agent.errors import SourceError, SourceFault
from tocsin_agent.extras import import_extra
from tocsin_agent.sources.files.wfdb_header import read_header

EXTRA = "objects"


def is_url(text: str) -> bool:
    """Return whether a database is named by the address of a store."""
    return "://" in text


def list_headers(url: str) -> list[str]:
    """Return the names of the records at an address, folders below it included, sorted.

    Raises
    ------
    SourceError
        `UNREACHABLE` if the store does not answer.
    """
    store, root = _open(url)
    try:
        found = store.find(root)
    except Exception as error:  # each protocol has its own errors
        raise _unreachable(url, error) from error
    paths = (PurePosixPath(path) for path in found if path.endswith(".hea"))
    base = PurePosixPath(root)
    return sorted(path.relative_to(base).with_suffix("").as_posix() for path in paths)


def fetch_if_there(url: str, names: list[str], folder: Path) -> list[str]:
    """Get those of some files that are at an address; return their names."""
    store, root = _open(url)
    got = []
    for name in names:
        try:
            if store.exists(f"{root}/{name}"):
                _get(store, f"{root}/{name}", folder / name)
                got.append(name)
        except SourceError:
            raise
        except Exception as error:
            raise _unreachable(f"{url}/{name}", error) from error
    return got


@contextmanager
def fetched(url: str, record: str, annotators: list[str]) -> Iterator[Path]:
    """Get a record and its annotations, as far as they are there, into a folder for a while.

    Parameters
    ----------
    url : str
        Of the database.
    record : str
        Its name in the database; may have folders.
    annotators : list of str

    Yields
    ------
    Path
        The record, without an extension.

    Raises
    ------
    SourceError
        `NOT_FOUND`, `UNREACHABLE`, or `MALFORMED` for a header that names a file elsewhere.
    """
    place, _, name = record.rpartition("/")
    base = f"{url.rstrip('/')}/{place}".rstrip("/")
    with tempfile.TemporaryDirectory(prefix="tocsin-record-") as made:
        folder = Path(made)
        _get_record(base, name, folder, top=True)
        fetch_if_there(base, [f"{name}.{annotator}" for annotator in annotators], folder)
        yield folder / name


def _get_record(base: str, name: str, folder: Path, *, top: bool) -> None:
    """Get a header and what it names: signal files, or the segments of a record."""
    if not fetch_if_there(base, [f"{name}.hea"], folder):
        raise SourceError(SourceFault.NOT_FOUND, f"no header {base}/{name}.hea")
    header = read_header(folder / f"{name}.hea")
    wanted = {line.file_name for line in header.signals} - {"~"}
    segments = {line.name for line in header.segments} - {"~"} if top else set()
    for named in sorted(wanted | segments):
        if named != PurePosixPath(named).name or named in {"", ".", ".."}:
            raise SourceError(
                SourceFault.MALFORMED, f"{base}/{name}.hea names {named}: a file beside it expected"
            )
    got = fetch_if_there(base, sorted(wanted), folder)
    if lacking := sorted(wanted - set(got)):
        raise SourceError(SourceFault.NOT_FOUND, f"{base} lacks {', '.join(lacking)} of {name}")
    for segment in sorted(segments):
        _get_record(base, segment, folder, top=False)


def _open(url: str) -> tuple[Any, str]:
    fsspec = import_extra("fsspec", EXTRA, "a database in an object store")
    try:
        store, root = fsspec.core.url_to_fs(url)
    except (ImportError, ValueError) as error:
        raise SourceError(
            SourceFault.UNREACHABLE, f"{url}: {error} (s3:// needs the package s3fs, gs:// gcsfs)"
        ) from error
    return store, str(root).rstrip("/")


def _get(store: Any, path: str, into: Path) -> None:  # noqa: ANN401 - untyped
    into.write_bytes(store.cat_file(path))


def _unreachable(url: str, error: Exception) -> SourceError:
    return SourceError(
        SourceFault.UNREACHABLE, f"{url} cannot be read ({type(error).__name__}: {error})"
    )
