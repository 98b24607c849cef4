"""The next certificate of a gateway, asked for and judged by the one in use."""

from __future__ import annotations

import secrets
from base64 import b64encode
from datetime import datetime

import msgspec

from tocsin_agent.errors import SigningError
from tocsin_agent.identity import certificates
from tocsin_agent.identity.certificates import Certificate
from tocsin_agent.identity.store import IdentityStore
from tocsin_agent.messages.identity import IdentityRequest


def request_renewal(store: IdentityStore) -> IdentityRequest:
    """Return a request for the next certificate, signed by the key in use.

    Raises
    ------
    SigningError
        As `IdentityStore.renew` does.
    """
    asked = store.renew()
    certificate, key = store.pair()
    own = certificates.split(certificate)[0].decode("ascii")
    made = IdentityRequest(
        id=secrets.token_hex(16), request=asked.decode("ascii"), certificate=own, proof=""
    )
    signature = certificates.sign_with_key(key, made.content)
    return msgspec.structs.replace(made, proof=b64encode(signature).decode("ascii"))


def take_renewed(store: IdentityStore, certificate: bytes, now: datetime) -> Certificate:
    """Use a certificate that came over the broker: only of the authority of the one in use.

    That authority is the second certificate in the file of the first; where a site signed without
    `tocsin identity`, that of the broker.

    Raises
    ------
    SigningError
        If it is of another authority, does not last longer, or as `IdentityStore.install` does;
        what was in use stays.
    """
    in_use, _ = store.pair()
    known = certificates.split(in_use)
    ca = known[1] if len(known) > 1 else (store.folder / "ca.pem").read_bytes()
    if not certificates.issued_by(certificate, ca):
        raise SigningError("the certificate is not of the authority of the one in use")
    if certificates.describe(certificate).ends <= certificates.describe(in_use).ends:
        raise SigningError("the certificate does not last longer than the one in use")
    return store.install(certificate, now)
