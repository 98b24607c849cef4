"""Fetch PhysioNet records into the cache; a file appears there only complete and checked."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import os
import re
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from types import ModuleType
from typing import NamedTuple, TypeAlias

from tocsin_agent.errors import SourceError, SourceFault
from tocsin_agent.sources.files.record_folders import cache_directory
from tocsin_agent.sources.files.wfdb_record import import_wfdb

PHYSIONET_URL = "https://physionet.org"

_CHUNK = 1 << 16
_SUMS = "SHA256SUMS.txt"
_NOT_DATA = {".xws", ".html", ".htm"}  # viewer scripts beside a record
_LONGEST_LIST = 64 << 20  # bytes of a page or a list of checksums; the rest is not read


# Called with name, bytes received, and total bytes or None if the server does not state them.
Progress: TypeAlias = Callable[[str, int, int | None], None]


class FetchedRecord(NamedTuple):
    """The result for one record.

    Parameters
    ----------
    record : str
        `database/record`.
    files : tuple of Path
        All its files, now in the cache and checked.
    fetched_bytes : int
        Bytes that were transferred; 0 if all files were in the cache before.
    """

    record: str
    files: tuple[Path, ...]
    fetched_bytes: int


class Fetcher:
    """Copies records from PhysioNet, or from a mirror with the same layout, into a cache.

    A file is written under a temporary name, compared with the SHA-256 in the list of its database,
    and renamed only then. A broken transfer continues where it broke, in the same run or a later
    one. A file that exists and matches the list is not transferred again; if all do, no network is
    needed.

    Parameters
    ----------
    cache : Path, optional
        Folder of the databases, one folder each; the user's cache by default.
    base_url : str
        Address of PhysioNet or of the mirror.
    progress : Progress, optional
        Called while files arrive.
    attempts : int
        Attempts at one file before a broken transfer is an error.
    timeout_s : float
        The longest silence of the server.
    """

    def __init__(
        self,
        cache: Path | None = None,
        *,
        base_url: str = PHYSIONET_URL,
        progress: Progress | None = None,
        attempts: int = 3,
        timeout_s: float = 30.0,
    ) -> None:
        if not base_url.startswith(("http://", "https://")):
            raise SourceError(
                SourceFault.MALFORMED, f"{base_url!r} is not an http:// or https:// address"
            )
        self.cache = cache or cache_directory()
        self._base_url = base_url.rstrip("/")
        self._progress = progress
        self._attempts = attempts
        self._timeout_s = timeout_s

    def fetch(self, names: Sequence[str]) -> Iterator[FetchedRecord]:
        """Fetch records, one after another.

        Parameters
        ----------
        names : sequence of str
            `database/record`, or `database` for all its records.

        Raises
        ------
        SourceError
            `MALFORMED`, `NOT_FOUND`, `UNREACHABLE`, `TRUNCATED` or `CHECKSUM`.
        MissingExtraError
            If wfdb is not installed.
        """
        wfdb = import_wfdb()
        for name in names:
            database = _Database(self, _checked_name(name).split("/", 1)[0])
            wanted = name.split("/", 1)[1:] or database.records()
            for record in wanted:
                yield database.fetch(wfdb, record)

    def text(self, path: str) -> str:
        """Return a small text file of the server."""
        with self._request(f"{self._base_url}/{path}", 0) as answer:
            try:
                content: bytes = answer.read(_LONGEST_LIST)
            except (OSError, http.client.HTTPException) as error:
                raise self._unreachable(path, error) from error
        return content.decode("utf-8", errors="replace")

    def file(self, url_path: str, target: Path, sha256: str) -> int:
        """Transfer one file and return the bytes that were transferred; 0 if it exists already."""
        if target.is_file() and _sha256(target) == sha256:
            return 0
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.with_name(f".{target.name}.part")
        received = 0
        for attempt in range(1, self._attempts + 1):
            try:
                received += self._transfer(url_path, part, target.name)
                break
            except SourceError as error:
                if error.reason is not SourceFault.TRUNCATED or attempt == self._attempts:
                    raise
        found = _sha256(part)
        if found != sha256:
            part.unlink()
            raise SourceError(
                SourceFault.CHECKSUM,
                f"{url_path} arrived with SHA-256 {found[:16]}…, but {_SUMS} states "
                f"{sha256[:16]}…; it was discarded: fetch it again, and if the mismatch repeats, "
                "do not use this mirror",
            )
        part.replace(target)
        return received

    def _transfer(self, url_path: str, part: Path, name: str) -> int:
        """Continue a file where its part ends; raise `TRUNCATED` if it breaks again."""
        there = part.stat().st_size if part.exists() else 0
        try:
            answer = self._request(f"{self._base_url}/{url_path}", there)
        except _RangeRefusedError:  # the part is as long as the file, or longer
            part.unlink()
            there, answer = 0, self._request(f"{self._base_url}/{url_path}", 0)
        with answer, part.open("ab" if there and answer.status == 206 else "wb") as stream:
            there = stream.tell()
            length = answer.headers.get("Content-Length")
            total = there + int(length) if length and length.isdigit() else None
            received = 0
            broken: Exception | None = None
            try:
                while chunk := answer.read(_CHUNK):
                    stream.write(chunk)
                    received += len(chunk)
                    if self._progress is not None:
                        self._progress(name, there + received, total)
            except (http.client.HTTPException, ConnectionError, TimeoutError) as error:
                broken = error
            stream.flush()
            os.fsync(stream.fileno())
        if broken is not None or (total is not None and there + received < total):
            raise SourceError(
                SourceFault.TRUNCATED,
                f"the transfer of {url_path} broke after {there + received} of "
                f"{total if total is not None else 'unknown'} bytes; these are kept: fetch again "
                "to continue",
            )
        return received

    def _request(self, url: str, offset: int) -> http.client.HTTPResponse:
        request = urllib.request.Request(url, headers={"User-Agent": "tocsin"})  # noqa: S310
        if offset:
            request.add_header("Range", f"bytes={offset}-")
        try:
            answer: http.client.HTTPResponse = urllib.request.urlopen(  # noqa: S310 - http(s) only
                request, timeout=self._timeout_s
            )
        except urllib.error.HTTPError as error:
            with error:
                if error.code == 416:
                    raise _RangeRefusedError from error
                if error.code in {404, 410}:
                    raise SourceError(
                        SourceFault.NOT_FOUND, f"{url} does not exist: check the name"
                    ) from error
                if error.code in {401, 403}:
                    raise SourceError(
                        SourceFault.NOT_FOUND,
                        f"{url} is not public: download it with your own PhysioNet account "
                        f"and copy it into {self.cache}",
                    ) from error
                raise self._unreachable(url, error) from error
        except (OSError, http.client.HTTPException) as error:
            raise self._unreachable(url, error) from error
        return answer

    def _unreachable(self, url: str, error: Exception) -> SourceError:
        return SourceError(
            SourceFault.UNREACHABLE,
            f"{url} cannot be reached ({error}): check the network or name a mirror, or copy the "
            f"files into {self.cache} yourself. The sources `synthetic` and `excerpt` need no "
            "network",
        )


class _RangeRefusedError(Exception):
    """The server has no bytes from the offset on."""


class _Database:
    """One version of one database: its folder in the cache, its address, its checksums."""

    def __init__(self, fetcher: Fetcher, name: str) -> None:
        self._fetcher = fetcher
        self.name = name
        self.folder = fetcher.cache / name
        self._version, self._sums = self._stored() or self._asked()

    def records(self) -> list[str]:
        self._get("RECORDS")
        text = (self.folder / "RECORDS").read_text(encoding="utf-8", errors="replace")
        return [line.strip() for line in text.splitlines() if line.strip()]

    def fetch(self, wfdb: ModuleType, record: str) -> FetchedRecord:
        names = self._beside(record)
        if f"{record}.hea" not in names:
            raise SourceError(
                SourceFault.NOT_FOUND,
                f"{self.name} {self._version} has no record {record!r}; its records are listed at "
                f"{self.name}/RECORDS on PhysioNet",
            )
        transferred = self._get(f"{record}.hea")
        # the header may name files with other names: another .dat, or segments
        names = list(dict.fromkeys([*names, *self._named_in_header(wfdb, record)]))
        transferred += sum(self._get(name) for name in names)
        return FetchedRecord(
            f"{self.name}/{record}", tuple(self.folder / name for name in names), transferred
        )

    def _beside(self, record: str) -> list[str]:
        paths = (PurePosixPath(name) for name in self._sums)
        return [
            str(path)
            for path in paths
            if str(path.with_suffix("")) == record and path.suffix not in _NOT_DATA
        ]

    def _named_in_header(self, wfdb: ModuleType, record: str) -> list[str]:
        try:
            header = wfdb.rdheader(str(self.folder / record))
        except (ValueError, KeyError, IndexError, TypeError) as error:
            raise SourceError(
                SourceFault.MALFORMED, f"{self.folder / record}.hea is not a WFDB header ({error})"
            ) from error
        folder = PurePosixPath(record).parent
        segments = [name for name in getattr(header, "seg_name", None) or [] if name != "~"]
        names = [str(folder / name) for name in getattr(header, "file_name", None) or []]
        for segment in segments:
            inner = str(folder / segment)
            self._get(f"{inner}.hea")
            names += [f"{inner}.hea", *self._named_in_header(wfdb, inner)]
        return [name for name in names if PurePosixPath(name).name != "~"]

    def _get(self, name: str) -> int:
        if name not in self._sums:
            raise SourceError(
                SourceFault.CHECKSUM,
                f"{self.name} {self._version} states no checksum for {name}: not fetched",
            )
        url_path = f"files/{self.name}/{self._version}/{name}"
        return self._fetcher.file(url_path, self.folder / name, self._sums[name])

    def _stored(self) -> tuple[str, dict[str, str]] | None:
        """Return version and checksums from an earlier run; they are written together."""
        try:
            text = (self.folder / _SUMS).read_text(encoding="utf-8")
        except OSError:
            return None
        first, _, rest = text.partition("\n")
        version = re.fullmatch(r"# version (\S+)", first)
        return (version.group(1), _parse_sums(rest)) if version else None

    def _asked(self) -> tuple[str, dict[str, str]]:
        page = self._fetcher.text(f"content/{self.name}/")
        found = re.search(r"Version:\s*(?:<[^>]*>\s*)*(\d[\w.-]*)", page)
        if found is None:
            raise SourceError(
                SourceFault.MALFORMED, f"the page of {self.name} does not state its version"
            )
        version = found.group(1)
        text = self._fetcher.text(f"files/{self.name}/{version}/{_SUMS}")
        sums = _parse_sums(text)
        if not sums:
            raise SourceError(
                SourceFault.CHECKSUM, f"{_SUMS} of {self.name} {version} lists no file"
            )
        self.folder.mkdir(parents=True, exist_ok=True)
        part = self.folder / f".{_SUMS}.part"
        part.write_text(f"# version {version}\n{text}", encoding="utf-8")
        part.replace(self.folder / _SUMS)
        return version, sums


def _parse_sums(text: str) -> dict[str, str]:
    """Read lines of `sha256  path`; a path that leads out of the folder is ignored."""
    sums = {}
    for line in text.splitlines():
        match = re.fullmatch(r"([0-9a-f]{64})\s+\*?(\S.*)", line.strip())
        if match:
            path = PurePosixPath(match.group(2))
            if not path.is_absolute() and ".." not in path.parts:
                sums[str(path)] = match.group(1)
    return sums


def _checked_name(name: str) -> str:
    if not re.fullmatch(r"[a-z0-9][a-z0-9-]*(/[\w][\w.-]*)*", name):
        raise SourceError(
            SourceFault.MALFORMED,
            f"{name!r} is not a PhysioNet name: write `mitdb/208` for a record, `mitdb` for all",
        )
    return name


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


@contextlib.contextmanager
def progress_bars() -> Iterator[Progress]:
    """Yield a `Progress` that draws one tqdm bar a file, or nothing without the extra `replay`."""
    try:
        from tqdm import tqdm  # noqa: PLC0415 - an extra
    except ImportError:
        yield lambda _name, _received, _total: None
        return
    bar = None
    shown = ""

    def draw(name: str, received: int, total: int | None) -> None:
        nonlocal bar, shown
        if bar is None or name != shown:
            if bar is not None:
                bar.close()
            bar = tqdm(desc=name, total=total, unit="B", unit_scale=True, leave=False)
            shown = name
        bar.update(received - bar.n)

    try:
        yield draw
    finally:
        if bar is not None:
            bar.close()
