"""How another system is reached: TLS by default, plain only on this machine or if asked for."""

from __future__ import annotations

import re
import ssl
from collections.abc import Collection
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

from tocsin_agent.errors import ExportError, ExportFault
from tocsin_agent.mqtt.settings import is_this_machine


def split_url(url: str, schemes: Collection[str], expected: str) -> SplitResult:
    """Return the parts of an address; the errors hold no password and no token of it.

    Parameters
    ----------
    url : str
    schemes : collection of str
    expected : str
        What is right, for the error.

    Raises
    ------
    ValueError
        If it is none, or holds what belongs in a file.
    """
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname or "", parts.port
        ip_address(host) if ":" in host else host.encode("idna")
    except ValueError as exc:
        raise ValueError(f"that is no address: {expected}") from exc
    if "@" in parts.netloc:
        raise ValueError(
            "a password in an address ends in logs: use --to-token-file or a certificate"
        )
    shown = f"{parts.scheme}://{parts.netloc}{parts.path}" if parts.scheme else parts.path
    if parts.scheme not in schemes or not host or parts.query:
        raise ValueError(f"{shown!r} is no address: {expected}")
    if not re.fullmatch(r"[\x21-\x7e]*", parts.path):
        raise ValueError(f"{shown!r} holds what an address writes as %XX: {expected}")
    return parts


@dataclass(frozen=True, slots=True)
class Security:
    """What protects a connection.

    Parameters
    ----------
    ca_file : Path, optional
        Certificate authority of the other side; the system's if unset.
    cert_file, key_file : Path, optional
        Certificate of this client and its key.
    plaintext : bool
        True to connect to another machine without TLS.
    """

    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None
    plaintext: bool = False

    def context(self) -> ssl.SSLContext:
        """Return a TLS context that verifies the other side; at least TLS 1.2.

        Raises
        ------
        ExportError
            If a file cannot be used.
        """
        try:
            context = ssl.create_default_context(cafile=self.ca_file)
            context.minimum_version = ssl.TLSVersion.TLSv1_2
            if self.cert_file is not None:
                context.load_cert_chain(self.cert_file, self.key_file)
        except (OSError, ValueError) as exc:
            raise ExportError(
                ExportFault.NOT_PERMITTED,
                f"the certificate or key cannot be used ({exc}): PEM files expected",
            ) from exc
        return context

    def check_plain(self, host: str) -> None:
        """Refuse a connection to another machine without TLS, unless it was asked for.

        Raises
        ------
        ValueError
            If it is one.
        """
        if not (self.plaintext or is_this_machine(host)):
            raise ValueError(
                f"a plain connection to {host} lets others read and forge what is sent: use TLS, "
                "or --to-plaintext"
            )
