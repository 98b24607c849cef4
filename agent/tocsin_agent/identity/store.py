"""The identity of this gateway: keys and certificates in one folder.

::

    ca.pem              the authority of the broker
    next/key.pem        a key whose certificate is not here yet
    KEY/key.pem         a key and its certificate, by a hash of the key
    KEY/cert.pem
    current -> KEY      what the agent uses; changed by one rename

A power cut leaves the pair from before or the new one, never a key with another's certificate; what
was interrupted is done again by the same command.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from tocsin_agent.durable_file import remove_folder, replace_file, sync_folder
from tocsin_agent.errors import SigningError
from tocsin_agent.identity import certificates
from tocsin_agent.identity.certificates import Certificate
from tocsin_agent.regular_file import read_regular

_MAX_BYTES = 64 * 1024


class IdentityStore:
    """The keys and certificates in a folder.

    Parameters
    ----------
    folder : Path
        Made with rights for its owner only, where it is not there.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._current, self._next = folder / "current", folder / "next"

    def current(self) -> Certificate | None:
        """Return the certificate in use; None where there is none.

        Raises
        ------
        SigningError
            If it cannot be read or used.
        """
        path = self._current / "cert.pem"
        return certificates.describe(_read(path)) if path.exists() else None

    def enrol(self, name: str, ca: bytes) -> bytes:
        """Take the authority of the broker, make a key, and return the request for a certificate.

        Enrolled again, before the certificate came, a gateway asks again with the same key.

        Parameters
        ----------
        name : str
            The device.
        ca : bytes
            Certificate of the authority, PEM.

        Raises
        ------
        SigningError
            If the authority's certificate is none, the gateway has another name already, or the
            folder cannot be written.
        """
        certificates.describe(ca, "the authority of the broker")
        with self._locked():
            current = self.current()
            if current is not None and current.name != name:
                raise SigningError(
                    f"this gateway is {current.name!r} already: remove {self.folder} to make it "
                    f"{name!r}"
                )
            replace_file(self.folder / "ca.pem", ca, 0o600)
            return certificates.request(self._next_key(), name)

    def pair(self) -> tuple[bytes, bytes]:
        """Return certificate and key in use, PEM; `SigningError` where there are none."""
        return _read(self._current / "cert.pem"), _read(self._current / "key.pem")

    def renew(self) -> bytes:
        """Make the next key, and return the request for its certificate.

        The certificate in use stays until `install`.

        Raises
        ------
        SigningError
            If there is no certificate to renew, or the folder cannot be written.
        """
        current = self.current()
        if current is None:
            raise SigningError(f"{self.folder} has no certificate: `tocsin identity enrol` first")
        with self._locked():
            return certificates.request(self._next_key(), current.name)

    def install(self, certificate: bytes, now: datetime) -> Certificate:
        """Use a certificate that the site has signed, with the key that asked for it.

        Parameters
        ----------
        certificate : bytes
            PEM.
        now : datetime
            Aware UTC.

        Raises
        ------
        SigningError
            If it is for no key of this gateway or another name, or has ended; what was in use
            stays.
        """
        found = certificates.describe(certificate)
        if found.ends <= now:
            raise SigningError(
                f"the certificate of {found.name} ended on {found.ends.isoformat()}, and here is "
                f"{now.isoformat(timespec='seconds')}: set the clock, or ask for another"
            )
        with self._locked():
            current = self.current()
            if current is not None and current.name != found.name:
                raise SigningError(
                    f"it is for {found.name!r}, and this gateway is {current.name!r}"
                )
            pair = self._pair_of(certificate)
            replace_file(pair / "cert.pem", certificate, 0o644)
            if pair == self._next:
                pair = self.folder / _key_name(_read(pair / "key.pem"))
                self._next.replace(pair)
                sync_folder(self.folder)
            before = self._current.resolve().name if self._current.exists() else ""
            self._switch(pair.name)
            for old in self._pairs():
                if old.name not in {pair.name, before}:
                    remove_folder(old)
        return found

    def _next_key(self) -> bytes:
        path = self._next / "key.pem"
        if path.exists():
            return _read(path)
        key = certificates.new_key()
        self._next.mkdir(mode=0o700, exist_ok=True)
        replace_file(path, key, 0o600)
        sync_folder(self.folder)
        return key

    def _pair_of(self, certificate: bytes) -> Path:
        """Return the folder of the key for which a certificate is."""
        for pair in (self._next, *self._pairs()):
            key = pair / "key.pem"
            if key.exists() and certificates.belong_together(certificate, _read(key)):
                return pair
        raise SigningError(
            f"the certificate is for no key in {self.folder}: sign the last request of this gateway"
        )

    def _pairs(self) -> list[Path]:
        return [
            path
            for path in sorted(self.folder.iterdir())
            if path.is_dir() and not path.is_symlink() and path != self._next
        ]

    def _switch(self, name: str) -> None:
        new = self.folder / "current.new"
        new.unlink(missing_ok=True)
        new.symlink_to(name)
        new.replace(self._current)
        sync_folder(self.folder)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Keep other processes out, and name the folder in the errors of the system."""
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            handle = os.open(self.folder / "lock", os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
            with os.fdopen(handle, "wb") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                yield
        except OSError as error:
            raise SigningError(f"{self.folder} cannot be written: {error.strerror}") from error


def _key_name(key: bytes) -> str:
    return hashlib.sha256(key).hexdigest()[:16]


def _read(path: Path) -> bytes:
    try:
        return read_regular(path, _MAX_BYTES)
    except OSError as error:
        raise SigningError(f"{path} cannot be read: {error.strerror}") from error
