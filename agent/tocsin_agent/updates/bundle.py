"""A version of the agent as one file: made and signed by a vendor, checked before it is unpacked.

A bundle is a tar file of three members, in this order: `manifest.json`, `signatures.json`, and
`payload`, a tar file (xz) of the packages of a virtual environment. Nothing of the payload is
decompressed before the signatures of the manifest and the hash of the payload hold; its files are
then written only where the manifest names them.
"""

from __future__ import annotations

import hashlib
import io
import lzma
import os
import re
import stat
import tarfile
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import IO, Literal, NamedTuple

import msgspec

from tocsin_agent.durable_file import write_file
from tocsin_agent.errors import UpdateError, UpdateFault
from tocsin_agent.regular_file import read_regular
from tocsin_agent.signing import keys
from tocsin_agent.updates import manifest as manifests
from tocsin_agent.updates.manifest import File, Manifest, Signature
from tocsin_agent.wall_clock import is_set

MANIFEST, SIGNATURES, PAYLOAD = "manifest.json", "signatures.json", "payload"
SITE = "site"
"""Where the packages of a version are, below the folder of its slot."""
_BLOCK = tarfile.BLOCKSIZE
_CHUNK = 1 << 20
_MODULE = re.compile(r"\.cpython-3(\d+)-([0-9a-z_]+)-linux-gnu\.so$")
_OUTBOX = re.compile(r"^OUTBOX_FORMAT = (\d+)$", re.MULTILINE)
_VERSION = re.compile(r'^__version__ = "(.+)"$', re.MULTILINE)


class Parts(NamedTuple):
    """What a bundle holds, as read; `payload` is where the archive begins in the file."""

    manifest: bytes
    signatures: bytes
    payload: int


def make(  # noqa: PLR0917 - click passes them by name
    site: Path,
    out: Path,
    release: int,
    expires: datetime,
    least_release: int = 0,
    level: int | None = 6,
) -> Manifest:
    """Write an unsigned bundle of the packages in a folder.

    Parameters
    ----------
    site : Path
        The `site-packages` of a virtual environment that holds tocsin and all that it needs, such
        as that of the Debian package.
    out : Path
        The bundle.
    release, expires, least_release
        As in `Manifest`.
    level : int or None
        Of the compression, 0 to 9; None for none.

    Raises
    ------
    UpdateError
        `UNREADABLE` if the folder holds no agent, modules of several machines or no regular file;
        `UNWRITABLE`.
    """
    found = {str(PurePosixPath(p.relative_to(site))): p for p in sorted(site.rglob("*"))}
    files = {name: path for name, path in found.items() if not path.is_dir()}
    if wrong := [name for name, p in files.items() if p.is_symlink() or not p.is_file()]:
        raise UpdateError(UpdateFault.UNREADABLE, f"{site / wrong[0]} is no regular file")
    built = {(m[1], m[2]) for name in files if (m := _MODULE.search(name))}
    if len(built) != 1:
        what = ", ".join(f"3.{minor} on {machine}" for minor, machine in sorted(built)) or "none"
        raise UpdateError(
            UpdateFault.UNREADABLE, f"{site} holds compiled modules of one Python: found {what}"
        )
    ((minor, machine),) = built
    try:
        with tempfile.TemporaryFile(dir=out.parent) as payload:
            packed = nullcontext(payload) if level is None else _compressed(payload, level)
            with packed as plain, tarfile.open(fileobj=plain, mode="w") as archive:
                for name, path in files.items():
                    _add(archive, name, path)
            manifest = Manifest(
                format=manifests.FORMAT,
                version=_stated(site / "tocsin_agent/__init__.py", _VERSION),
                release=release,
                least_release=least_release,
                python=f"3.{minor}",
                machine=machine,
                outbox_format=int(_stated(site / "tocsin_agent/delivery/database.py", _OUTBOX)),
                expires=expires,
                compression="none" if level is None else "xz",
                payload=_hashed(payload),
                files={name: _hash_of(path) for name, path in files.items()},
            )
            _write(out, msgspec.json.encode(manifest), b"[]", payload)
    except OSError as error:
        raise _unwritable(out, error) from error
    return manifest


def sign(path: Path, private_key: Path) -> None:
    """Add a signature to a bundle; one of the same key is replaced.

    Raises
    ------
    UpdateError
        If it is no bundle, or cannot be written.
    SigningError
        If the key cannot be used.
    """
    key = keys.load_private_key(private_key)
    with open_bundle(path) as file:
        parts = read_parts(file)
        manifests.decode(parts.manifest)
        made = manifests.sign(parts.manifest, key)
        others = msgspec.json.decode(parts.signatures, type=tuple[Signature, ...])
        kept = (*(one for one in others if one.key != made.key), made)
        file.seek(parts.payload)
        try:
            _write(path, parts.manifest, msgspec.json.encode(kept), file)
        except OSError as error:
            raise _unwritable(path, error) from error


@contextmanager
def open_bundle(path: Path) -> Iterator[IO[bytes]]:
    """Open a bundle: a regular file.

    Raises
    ------
    UpdateError
        `UNREADABLE`.
    """
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            os.close(handle)
            raise UpdateError(UpdateFault.UNREADABLE, f"{path} is not a regular file")
    except OSError as error:
        raise UpdateError(UpdateFault.UNREADABLE, f"{path}: {error.strerror}") from error
    with os.fdopen(handle, "rb") as file:
        yield file


def read_parts(file: IO[bytes]) -> Parts:
    """Read manifest and signatures of a bundle, without a check of what they state.

    Raises
    ------
    UpdateError
        `UNREADABLE`.
    """
    try:
        file.seek(0)
        manifest = file.read(_header(file, MANIFEST, manifests.MAX_MANIFEST_BYTES))
        _skip_padding(file, len(manifest))
        signatures = file.read(_header(file, SIGNATURES, manifests.MAX_SIGNATURES_BYTES))
        _skip_padding(file, len(signatures))
        _header(file, PAYLOAD, 1 << 40)
        return Parts(manifest, signatures, file.tell())
    except OSError as error:
        raise UpdateError(UpdateFault.UNREADABLE, f"it cannot be read: {error}") from error


def verify(file: IO[bytes], trusted: Sequence[Path], threshold: int, now: datetime) -> Manifest:
    """Check a bundle: signatures, expiry, machine, and the hash of its payload; in this order.

    Parameters
    ----------
    file : file
        The bundle.
    trusted : sequence of Path
        Public keys.
    threshold : int
        How many of them must have signed.
    now : datetime
        Aware UTC. A clock that was never set cannot tell whether a bundle has expired: it is
        accepted.

    Raises
    ------
    UpdateError
        With the reason.
    """
    parts = read_parts(file)
    manifests.check_signatures(parts.manifest, parts.signatures, trusted, threshold)
    manifest = manifests.decode(parts.manifest)
    if is_set(now) and now >= manifest.expires:
        raise UpdateError(
            UpdateFault.EXPIRED,
            f"{manifest.name} expired on {manifest.expires:%Y-%m-%d}, and here is {now:%Y-%m-%d}: "
            "ask for a newer bundle, or set the clock",
        )
    manifests.check_fit(manifest)
    file.seek(parts.payload)
    if _hashed(file, manifest.payload.size) != manifest.payload:
        raise UpdateError(UpdateFault.UNREADABLE, "the bundle is damaged: copy it again")
    return manifest


def unpack(file: IO[bytes], manifest: Manifest, folder: Path) -> None:
    """Write the files of a verified bundle to a new folder, each checked against the manifest.

    Raises
    ------
    UpdateError
        `UNREADABLE` if the payload holds anything but the files of the manifest; `UNWRITABLE`.
    """
    parts = read_parts(file)
    file.seek(parts.payload)
    left = dict(manifest.files)
    try:
        folder.mkdir(mode=0o700, parents=True)
        mode: Literal["r|", "r|xz"] = "r|" if manifest.compression == "none" else "r|xz"
        with tarfile.open(fileobj=file, mode=mode) as archive:
            for member in archive:
                _unpack(archive, member, folder, left)
        write_file(folder / MANIFEST, parts.manifest)
        write_file(folder / SIGNATURES, parts.signatures)
    except (tarfile.TarError, lzma.LZMAError, EOFError) as error:
        raise UpdateError(UpdateFault.UNREADABLE, f"the bundle is damaged: {error}") from error
    except OSError as error:
        raise _unwritable(folder, error) from error
    if left:
        raise UpdateError(UpdateFault.UNREADABLE, f"the bundle lacks {min(left)}")


def verify_unpacked(folder: Path, trusted: Sequence[Path], threshold: int) -> Manifest:
    """Check an unpacked version: signatures, machine, and every file; nothing may be beside them.

    Raises
    ------
    UpdateError
        With the reason.
    """
    try:
        content = read_regular(folder / MANIFEST, manifests.MAX_MANIFEST_BYTES)
        signatures = read_regular(folder / SIGNATURES, manifests.MAX_SIGNATURES_BYTES)
        manifests.check_signatures(content, signatures, trusted, threshold)
        manifest = manifests.decode(content)
        manifests.check_fit(manifest)
        site = folder / SITE
        present = {
            str(PurePosixPath(Path(at, name).relative_to(site)))
            for at, folders, names in os.walk(site)
            for name in (*names, *(one for one in folders if Path(at, one).is_symlink()))
        }
        if other := present ^ manifest.files.keys():
            raise UpdateError(UpdateFault.UNREADABLE, f"{min(other)} is missing, or too many")
        for name, stated in manifest.files.items():
            if (site / name).is_symlink() or _hash_of(site / name) != stated:
                raise UpdateError(UpdateFault.UNREADABLE, f"{name} is not what was signed")
    except OSError as error:
        raise UpdateError(UpdateFault.UNREADABLE, f"it cannot be read: {error}") from error
    return manifest


def _unpack(
    archive: tarfile.TarFile, member: tarfile.TarInfo, folder: Path, left: dict[str, File]
) -> None:
    stated = left.pop(member.name, None)
    content = archive.extractfile(member) if member.type in tarfile.REGULAR_TYPES else None
    if stated is None or content is None or member.size != stated.size:
        raise UpdateError(
            UpdateFault.UNREADABLE, f"the payload holds {member.name!r}, which is not as signed"
        )
    path = folder / SITE / member.name
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    digest = hashlib.sha256()
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o400)
    with os.fdopen(handle, "wb") as out:
        while chunk := content.read(_CHUNK):
            digest.update(chunk)
            out.write(chunk)
    if digest.hexdigest() != stated.sha256:
        raise UpdateError(UpdateFault.UNREADABLE, f"{member.name} is not what was signed")


def _header(file: IO[bytes], name: str, most_bytes: int) -> int:
    """Read one header of the outer archive, which must be of a regular file with this name."""
    try:
        found = tarfile.TarInfo.frombuf(file.read(_BLOCK), "utf-8", "strict")
    except (tarfile.HeaderError, ValueError) as error:
        raise UpdateError(UpdateFault.UNREADABLE, "it is no bundle of an agent") from error
    if found.name != name or found.type != tarfile.REGTYPE or not 0 <= found.size <= most_bytes:
        raise UpdateError(
            UpdateFault.UNREADABLE, f"it is no bundle of an agent: {name} was expected"
        )
    return found.size


def _skip_padding(file: IO[bytes], size: int) -> None:
    file.seek(-size % _BLOCK, io.SEEK_CUR)


def _add(archive: tarfile.TarFile, name: str, path: Path) -> None:
    """Add a file without what differs between two machines: owner, time and rights."""
    info = tarfile.TarInfo(name)
    info.size = path.stat().st_size
    with path.open("rb") as content:
        archive.addfile(info, content)


def _compressed(file: IO[bytes], level: int) -> AbstractContextManager[IO[bytes]]:
    return lzma.open(file, "wb", preset=level)


def _write(path: Path, manifest: bytes, signatures: bytes, payload: IO[bytes]) -> None:
    """Write a bundle from its parts; `payload` from where it is read now, to its end."""
    size = msgspec.json.decode(manifest, type=Manifest).payload.size
    new = path.with_name(f"{path.name}.new")
    with tarfile.open(new, "w", format=tarfile.USTAR_FORMAT) as bundle:
        for name, content in ((MANIFEST, manifest), (SIGNATURES, signatures)):
            info = tarfile.TarInfo(name)
            info.size = len(content)
            bundle.addfile(info, io.BytesIO(content))
        info = tarfile.TarInfo(PAYLOAD)
        info.size = size
        bundle.addfile(info, payload)
    new.replace(path)


def _hash_of(path: Path) -> File:
    with path.open("rb") as file:
        return _hashed(file)


def _hashed(file: IO[bytes], most_bytes: int | None = None) -> File:
    """Return length and hash of what is left of a file; leaves a whole file at its beginning."""
    if most_bytes is None:
        file.seek(0)
    digest, size = hashlib.sha256(), 0
    while chunk := file.read(_CHUNK if most_bytes is None else min(_CHUNK, most_bytes - size)):
        digest.update(chunk)
        size += len(chunk)
    if most_bytes is None:
        file.seek(0)
    return File(size, digest.hexdigest())


def _stated(module: Path, pattern: re.Pattern[str]) -> str:
    """Return what a module of the version states, without running it: it may be for another CPU."""
    found = pattern.search(module.read_text(encoding="utf-8")) if module.is_file() else None
    if found is None:
        raise UpdateError(UpdateFault.UNREADABLE, f"{module} is not there, or no agent's")
    return found[1]


def _unwritable(path: Path, error: OSError) -> UpdateError:
    return UpdateError(
        UpdateFault.UNWRITABLE,
        f"{path} cannot be written ({error.strerror}): the agent in use stays",
    )


def now_utc() -> datetime:
    """Return the time of this gateway's clock."""
    return datetime.now(UTC)
