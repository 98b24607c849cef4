"""Keys, requests and certificates of gateways, as bytes in PEM (X.509, RFC 5280).

A key is ECDSA on P-256, which every TLS library at a broker reads. The name of a gateway is the
common name of its certificate: mosquitto takes it as the user name (`use_identity_as_username`).
"""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple

from tocsin_agent.errors import SigningError
from tocsin_agent.extras import import_extra

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec

_SLOW_CLOCK = timedelta(hours=1)  # of a gateway, when its certificate is made


class Certificate(NamedTuple):
    """What a certificate states.

    Parameters
    ----------
    name : str
        The common name: the device.
    issuer : str
        Who signed it, as RFC 4514 writes names.
    begins, ends : datetime
        Aware UTC.
    """

    name: str
    issuer: str
    begins: datetime
    ends: datetime

    @property
    def renew_from(self) -> datetime:
        """When it shall be renewed: a third of its time is left."""
        return self.ends - (self.ends - self.begins) / 3

    @property
    def warn_from(self) -> datetime:
        """When people shall know that it was not renewed: a tenth of its time is left."""
        return self.ends - (self.ends - self.begins) / 10


def new_key() -> bytes:
    """Return a new private key.

    Raises
    ------
    MissingExtraError
        Without the package cryptography, as all functions here.
    """
    _require_cryptography()
    from cryptography.hazmat.primitives import serialization  # noqa: PLC0415 - an extra
    from cryptography.hazmat.primitives.asymmetric import ec  # noqa: PLC0415

    return ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def request(key: bytes, name: str) -> bytes:
    """Return a request that a site signs.

    Parameters
    ----------
    key : bytes
        The private key; the request holds the public one.
    name : str
        The device, 64 characters at most.
    """
    private = _private_key(key, "the key of this gateway")
    from cryptography import x509  # noqa: PLC0415 - an extra
    from cryptography.hazmat.primitives import hashes, serialization  # noqa: PLC0415

    builder = x509.CertificateSigningRequestBuilder().subject_name(_name(name))
    signed = builder.sign(private, hashes.SHA256())
    return signed.public_bytes(serialization.Encoding.PEM)


def sign(
    asked: bytes,
    ca: bytes,
    ca_key: bytes,
    name: str,
    *,
    days: int,
    now: datetime,
    after: datetime | None = None,
) -> bytes:
    """Return a certificate for a request, followed by that of the authority.

    It is made where the key of the authority is. The gateway needs the second certificate to judge
    later ones, and a broker ignores it.

    Parameters
    ----------
    asked : bytes
        The request.
    ca, ca_key : bytes
        Certificate and private key of the authority.
    name : str
        The device that may have the certificate.
    days : int
        How long it is valid; not longer than the authority.
    now : datetime
        Aware UTC.
    after : datetime, optional
        It begins later than this; without it, an hour ago.

    Raises
    ------
    SigningError
        If the request is for another name, is not signed by its own key, or a file cannot be used.
    """
    wanted = _request(asked)
    from cryptography import x509  # noqa: PLC0415 - an extra
    from cryptography.hazmat.primitives import hashes, serialization  # noqa: PLC0415

    if (stated := _common_name(wanted.subject)) != name:
        raise SigningError(f"the request is for {stated!r}, not for {name!r}")
    authority, private = _certificate(ca, "the authority"), _private_key(ca_key, "the authority")
    if authority.public_key() != private.public_key():
        raise SigningError("the key is not that of the authority's certificate")
    ends = min(now + timedelta(days=days), authority.not_valid_after_utc)
    if ends <= now:
        raise SigningError(f"the authority's certificate ended on {ends.isoformat()}")
    begins = now - _SLOW_CLOCK
    if after is not None:
        begins = max(begins, after + timedelta(seconds=1))  # they are written in whole seconds
    public = wanted.public_key()
    usage = x509.KeyUsage(
        **dict.fromkeys(
            (
                *("content_commitment", "key_encipherment", "data_encipherment", "key_agreement"),
                *("key_cert_sign", "crl_sign", "encipher_only", "decipher_only"),
            ),
            False,
        ),
        digital_signature=True,
    )
    builder = (
        x509.CertificateBuilder()
        .subject_name(_name(name))
        .issuer_name(authority.subject)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(begins)
        .not_valid_after(ends)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(
            x509.ExtendedKeyUsage([x509.oid.ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False
        )
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(private.public_key()),
            critical=False,
        )
    )
    chain = (builder.sign(private, hashes.SHA256()), authority)
    return b"".join(one.public_bytes(serialization.Encoding.PEM) for one in chain)


def describe(certificate: bytes, whose: str = "this") -> Certificate:
    """Return what a certificate states; `SigningError`, which says whose, if it is none."""
    found = _certificate(certificate, whose)
    return Certificate(
        _common_name(found.subject),
        found.issuer.rfc4514_string(),
        found.not_valid_before_utc.astimezone(UTC),
        found.not_valid_after_utc.astimezone(UTC),
    )


def name_of_request(asked: bytes) -> str:
    """Return for which device a request is; `SigningError` if it is none."""
    return _common_name(_request(asked).subject)


def key_of_request(asked: bytes) -> str:
    """Return a hash of the public key of a request, in hexadecimal."""
    _require_cryptography()
    from cryptography.hazmat.primitives import serialization  # noqa: PLC0415 - an extra

    public = _request(asked).public_key()
    encoded = public.public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return hashlib.sha256(encoded).hexdigest()


def split(chain: bytes) -> list[bytes]:
    """Return each certificate of a chain, in its order."""
    _require_cryptography()
    from cryptography import x509  # noqa: PLC0415 - an extra
    from cryptography.hazmat.primitives import serialization  # noqa: PLC0415

    try:
        found = x509.load_pem_x509_certificates(chain)
    except ValueError as error:
        raise SigningError(f"no certificate in PEM ({error})") from error
    return [one.public_bytes(serialization.Encoding.PEM) for one in found]


def issued_by(certificate: bytes, ca: bytes) -> bool:
    """Return whether an authority has signed a certificate."""
    found, authority = _certificate(certificate, "this"), _certificate(ca, "the authority")
    from cryptography.exceptions import InvalidSignature  # noqa: PLC0415 - an extra

    try:
        found.verify_directly_issued_by(authority)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def sign_with_key(key: bytes, content: bytes) -> bytes:
    """Return a signature (ECDSA with SHA-256) by a key of a gateway."""
    private = _private_key(key, "the key of this gateway")
    from cryptography.hazmat.primitives import hashes  # noqa: PLC0415 - an extra
    from cryptography.hazmat.primitives.asymmetric import ec  # noqa: PLC0415

    return private.sign(content, ec.ECDSA(hashes.SHA256()))


def signed_with(certificate: bytes, signature: bytes, content: bytes) -> bool:
    """Return whether the key of a certificate has signed a content (`sign_with_key`)."""
    public = _certificate(certificate, "this").public_key()
    from cryptography.exceptions import InvalidSignature  # noqa: PLC0415 - an extra
    from cryptography.hazmat.primitives import hashes  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric import ec  # noqa: PLC0415

    if not isinstance(public, ec.EllipticCurvePublicKey):
        return False
    try:
        public.verify(signature, content, ec.ECDSA(hashes.SHA256()))
    except InvalidSignature:
        return False
    return True


def belong_together(certificate: bytes, key: bytes) -> bool:
    """Return whether a certificate is for a private key."""
    public = _certificate(certificate, "this").public_key()
    return public == _private_key(key, "the key of this gateway").public_key()


def _require_cryptography() -> None:
    import_extra("cryptography", "identity", "a certificate")


def _request(pem: bytes) -> x509.CertificateSigningRequest:
    """Return a request that its own key has signed."""
    _require_cryptography()
    from cryptography import x509  # noqa: PLC0415 - an extra
    from cryptography.exceptions import UnsupportedAlgorithm  # noqa: PLC0415

    try:
        found = x509.load_pem_x509_csr(pem)
        valid = found.is_signature_valid
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise SigningError(f"this is no request of a gateway: {error}") from error
    if not valid:
        raise SigningError("the request was changed after it was made")
    return found


def _certificate(pem: bytes, whose: str) -> x509.Certificate:
    _require_cryptography()
    from cryptography import x509  # noqa: PLC0415 - an extra

    try:
        return x509.load_pem_x509_certificate(pem)
    except ValueError as error:
        raise SigningError(f"{whose}: no certificate in PEM ({error})") from error


def _private_key(pem: bytes, whose: str) -> ec.EllipticCurvePrivateKey:
    _require_cryptography()
    from cryptography.exceptions import UnsupportedAlgorithm  # noqa: PLC0415 - an extra
    from cryptography.hazmat.primitives import serialization  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric import ec, rsa  # noqa: PLC0415

    try:
        key = serialization.load_pem_private_key(pem, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise SigningError(f"{whose}: no private key in PEM ({error})") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey):
        raise SigningError(f"{whose}: a key of RSA or of an elliptic curve is expected")
    return key  # type: ignore[return-value]  # both sign and have a public key


def _name(name: str) -> x509.Name:
    from cryptography import x509  # noqa: PLC0415 - an extra

    try:
        return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    except ValueError as error:
        raise SigningError(f"{name!r} is no name of a device: {error}") from error


def _common_name(name: x509.Name) -> str:
    from cryptography import x509  # noqa: PLC0415 - an extra

    found = name.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
    return str(found[0].value) if len(found) == 1 else ""
