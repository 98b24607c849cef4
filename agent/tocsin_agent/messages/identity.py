"""Requests for a certificate of a gateway, and their answers: with a token, or to renew one."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

MAX_BYTES = 32 * 1024
"""The longest message of either kind."""
_ID = r"^[0-9a-f]{32}$(?!\n)"


class IdentityRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A gateway asks for a certificate: with a one-time token, or with the one that it has."""

    schema: Annotated[
        Literal["tocsin/identity-request/v1"], Meta(description="Schema and version.")
    ] = "tocsin/identity-request/v1"
    id: Annotated[str, Meta(pattern=_ID, description="Chosen at random; the answer has it.")]
    request: Annotated[
        str, Meta(max_length=8192, description="The request for a certificate (PKCS #10), PEM.")
    ]
    token: Annotated[
        str,
        Meta(max_length=64, description="Id of the token, which itself is not sent; or empty."),
    ] = ""
    certificate: Annotated[
        str,
        Meta(max_length=16384, description="The certificate in use, PEM, to renew it; or empty."),
    ] = ""
    proof: Annotated[
        str,
        Meta(
            max_length=512,
            description="Base64: HMAC-SHA-256 by the token, or ECDSA by the key of the certificate "
            "in use, of `content`.",
        ),
    ]

    @property
    def content(self) -> bytes:
        """What the proof is of."""
        return _joined("request", self.id, self.request)


class IdentityResponse(msgspec.Struct, frozen=True, kw_only=True):
    """The answer: a certificate, or why there is none."""

    schema: Annotated[
        Literal["tocsin/identity-response/v1"], Meta(description="Schema and version.")
    ] = "tocsin/identity-response/v1"
    id: Annotated[str, Meta(pattern=_ID, description="Of the request.")]
    certificate: Annotated[
        str, Meta(max_length=16384, description="With that of the authority, PEM; or empty.")
    ] = ""
    refused: Annotated[str, Meta(max_length=300, description="Why there is none; or empty.")] = ""
    proof: Annotated[
        str, Meta(max_length=512, description="Base64: HMAC-SHA-256 by the token; else empty.")
    ] = ""

    @property
    def content(self) -> bytes:
        """What the proof is of."""
        return _joined("response", self.id, self.certificate, self.refused)


_REQUEST = msgspec.json.Decoder(IdentityRequest)
_RESPONSE = msgspec.json.Decoder(IdentityResponse)


def encode_identity(message: IdentityRequest | IdentityResponse) -> bytes:
    """Encode as UTF-8 JSON."""
    return msgspec.json.encode(message)


def decode_request(payload: bytes) -> IdentityRequest:
    """Decode a request; `ValueError` if it is none or too long."""
    _check_length(payload)
    return _REQUEST.decode(payload)


def decode_response(payload: bytes) -> IdentityResponse:
    """Decode an answer; `ValueError` if it is none or too long."""
    _check_length(payload)
    return _RESPONSE.decode(payload)


def _check_length(payload: bytes) -> None:
    if len(payload) > MAX_BYTES:
        raise ValueError(f"longer than {MAX_BYTES} bytes")


def _joined(*parts: str) -> bytes:
    return b"\x1f".join(
        part.encode("utf-8", "surrogatepass") for part in ("tocsin identity", *parts)
    )
