"""The desk of a site that signs requests of gateways: messages in, answers out; no connection."""

from __future__ import annotations

import logging
from base64 import b64decode, b64encode
from collections import OrderedDict
from datetime import datetime
from pathlib import Path

import msgspec

from tocsin_agent.errors import SigningError
from tocsin_agent.identity import certificates
from tocsin_agent.identity.tokens import Kept, TokenFile, prove, proves
from tocsin_agent.messages.identity import (
    IdentityRequest,
    IdentityResponse,
    decode_request,
    encode_identity,
)
from tocsin_agent.messages.printable import clean
from tocsin_agent.messages.topics import (
    ENROLMENT_ROOT,
    REQUEST,
    Branch,
    Topics,
    enrolment_response_topic,
    parse,
)
from tocsin_agent.mqtt.events import Message
from tocsin_agent.regular_file import read_regular

log = logging.getLogger(__name__)

_REMEMBERED = 4096  # answers to renewals, so that a request that comes twice is signed once
_MAX_CA_BYTES = 64 * 1024
_NO_TOKEN = "the token is not known here, or was mistyped"  # noqa: S105 - a message
_EXPIRED = "the token has expired: ask the site for another"
_USED = "the token was used by another key: ask the site for another"


class Desk:
    """Signs what has a token, or a certificate of this authority that is still valid.

    Parameters
    ----------
    tokens : TokenFile
        The tokens of the site.
    ca, ca_key : Path
        Certificate and private key of the authority, PEM.
    days : int
        How long certificates are valid.

    Raises
    ------
    SigningError
        If the authority cannot be used.
    """

    def __init__(self, tokens: TokenFile, ca: Path, ca_key: Path, *, days: int) -> None:
        self._tokens, self._days = tokens, days
        self._ca, self._ca_key = _read(ca), _read(ca_key)
        try:
            together = certificates.belong_together(self._ca, self._ca_key)
        except SigningError as error:
            raise SigningError(f"{ca} and {ca_key} are no authority: {error}") from error
        if not together:
            raise SigningError(f"{ca_key} is not the key of {ca}")
        self._renewed: OrderedDict[tuple[str, str], bytes] = OrderedDict()

    def answer(self, message: Message, now: datetime) -> Message | None:
        """Return what to publish for a message; None where nobody asked for anything.

        Parameters
        ----------
        message : Message
            On a topic of `identity_filters`.
        now : datetime
            Aware UTC.

        Raises
        ------
        SigningError
            If the file of tokens cannot be read or written: nothing is signed.
        """
        try:
            asked = decode_request(message.payload)
        except (ValueError, RecursionError) as error:
            log.warning("%s: no request: %s", clean(message.topic, 200), clean(str(error), 200))
            return None
        levels = message.topic.split("/")
        address = parse(message.topic)
        if message.topic.startswith(f"{ENROLMENT_ROOT}/{self._tokens.site}/{REQUEST}/"):
            if levels[-1] != asked.id:
                log.warning("%s: the request has another id", clean(message.topic, 200))
                return None
            topic = enrolment_response_topic(self._tokens.site, asked.id)
            return self._message(topic, self._enrolled(asked, now))
        if address is not None and address.branch is Branch.IDENTITY and address.leaf == REQUEST:
            topic = Topics(address.site, address.device).renewed
            return self._message(topic, self._renewal(asked, address.device, now))
        return None

    @staticmethod
    def _message(topic: str, response: IdentityResponse) -> Message:
        if response.refused:
            log.warning("%s: refused: %s", clean(topic, 200), response.refused)
        return Message(topic, encode_identity(response))

    def _enrolled(self, asked: IdentityRequest, now: datetime) -> IdentityResponse:
        """Return the answer to a request with a token."""
        kept = self._tokens.find(asked.token)
        # Of a token that is not known and of a proof that is wrong one learns the same.
        if kept is None or not proves(
            bytes.fromhex(kept.key), _decoded(asked.proof), asked.content
        ):
            return IdentityResponse(id=asked.id, refused=_NO_TOKEN)
        key = bytes.fromhex(kept.key)
        if kept.expires <= now:
            return _proved(key, IdentityResponse(id=asked.id, refused=_EXPIRED))
        try:
            certificate = self._certificate(asked, kept, now)
        except _RefusedError as error:
            return _proved(key, IdentityResponse(id=asked.id, refused=str(error)))
        return _proved(key, IdentityResponse(id=asked.id, certificate=certificate))

    def _certificate(self, asked: IdentityRequest, kept: Kept, now: datetime) -> str:
        """Return the certificate of a token: signed now, or at its first use."""
        used_by = _key_of(asked)
        used: Kept | None = kept
        if not kept.used_by:
            signed = self._sign(asked, kept.device, now)
            used = self._tokens.use(asked.token, used_by, signed, now)
        if used is None:
            raise _RefusedError(_NO_TOKEN)
        if used.used_by != used_by:
            raise _RefusedError(_USED)
        if used is not kept:
            log.info("%s has its first certificate", clean(kept.device, 64))
        return used.certificate

    def _renewal(self, asked: IdentityRequest, device: str, now: datetime) -> IdentityResponse:
        """Return the answer to a request with a certificate that is still valid."""
        try:
            self._check_renewal(asked, device, now)
            used_by = _key_of(asked)
            if (signed := self._renewed.get((device, used_by))) is None:
                signed = self._sign(asked, device, now)
                self._renewed[device, used_by] = signed
                if len(self._renewed) > _REMEMBERED:
                    self._renewed.popitem(last=False)
                log.info("%s has a new certificate", clean(device, 64))
        except _RefusedError as error:
            return IdentityResponse(id=asked.id, refused=str(error))
        return IdentityResponse(id=asked.id, certificate=signed.decode("ascii"))

    def _check_renewal(self, asked: IdentityRequest, device: str, now: datetime) -> None:
        known = asked.certificate.encode()
        try:
            found = certificates.describe(known)
            if not certificates.issued_by(known, self._ca):
                raise _RefusedError("the certificate in use is of another authority")
            if not certificates.signed_with(known, _decoded(asked.proof), asked.content):
                raise _RefusedError("the request is not signed by the key in use")
        except SigningError as error:
            raise _RefusedError(clean(str(error), 200)) from error
        if found.name != device:
            raise _RefusedError("the certificate in use is of another device")
        if not found.begins <= now < found.ends:
            raise _RefusedError("the certificate in use has ended: enrol with a new token")
        revoked = self._tokens.revoked(device)
        if revoked is not None and found.begins <= revoked:
            raise _RefusedError("the certificate in use is revoked: enrol with a new token")

    def _sign(self, asked: IdentityRequest, device: str, now: datetime) -> bytes:
        try:
            return certificates.sign(
                asked.request.encode(),
                self._ca,
                self._ca_key,
                device,
                days=self._days,
                now=now,
                after=self._tokens.revoked(device),
            )
        except SigningError as error:
            raise _RefusedError(clean(str(error), 200)) from error


class _RefusedError(Exception):
    """Nothing is signed, for a reason that the gateway gets."""


def _proved(key: bytes, response: IdentityResponse) -> IdentityResponse:
    proof = b64encode(prove(key, response.content)).decode()
    return msgspec.structs.replace(response, proof=proof)


def _key_of(asked: IdentityRequest) -> str:
    try:
        return certificates.key_of_request(asked.request.encode())
    except SigningError as error:
        raise _RefusedError(clean(str(error), 200)) from error


def _decoded(text: str) -> bytes:
    """Return bytes of base64; none where it is not."""
    try:
        return b64decode(text, validate=True)
    except ValueError:
        return b""


def _read(path: Path) -> bytes:
    try:
        return read_regular(path, _MAX_CA_BYTES)
    except OSError as error:
        raise SigningError(f"{path} cannot be read: {error.strerror}") from error
