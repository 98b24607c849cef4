"""Web push (RFC 8030): calls a person whose page is closed. Extra `push`.

A browser gives an address at its maker's push service, and keys. What is sent is encrypted for the
browser (RFC 8291), so that the service reads nothing; the server proves itself by a key of its own
(VAPID, RFC 8292). An address is only asked where `push.services` lists its origin: a browser names
it, and this server must not be made to ask machines of its own network.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import http.client
import logging
import ssl
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from tocsin_agent.errors import ConfigError
from tocsin_agent.extras import import_extra
from tocsin_agent.messages.alert import Priority
from tocsin_agent.team.board.ward import Device
from tocsin_agent.team.console.protocol import AlertView, PushRequest
from tocsin_agent.team.console.settings import PushSettings
from tocsin_agent.team.console.store import Login, Store, Subscription

log = logging.getLogger(__name__)

MAX_OF_A_PERSON = 10
"""Subscriptions of one person; the oldest goes."""
MAX_WAITING = 2000
"""Messages that are being sent; more are not sent, and logged."""
EVENTS = frozenset({"onset", "repeat", "level"})
GONE = frozenset({404, 410})
_PAUSES_S = (2.0, 10.0, 30.0)
_TIMEOUT_S = 10.0
_TOKEN_S = 12 * 3600
_POINT_BYTES, _SECRET_BYTES = 65, 16


class Push:
    """Calls the subscribed browsers; everything but the requests runs in the event loop.

    Parameters
    ----------
    settings : PushSettings
    store : Store
        Keeps the subscriptions over a restart.
    entitled : callable
        Returns whether a person may still see alerts.

    Raises
    ------
    MissingExtraError
        Without the extra.
    ConfigError
        If the key cannot be used.
    """

    def __init__(
        self, settings: PushSettings, store: Store, entitled: Callable[[str], bool]
    ) -> None:
        vapid = import_extra("py_vapid", "push", "web push")
        import_extra("http_ece", "push", "web push")
        self._settings, self._store, self._entitled = settings, store, entitled
        try:
            self._vapid = vapid.Vapid02.from_pem(Path(settings.key_file).read_bytes())
            self.public_key = _public_key(self._vapid)
        except (OSError, ValueError, TypeError, AttributeError) as exc:
            raise ConfigError(
                f"push.key_file {settings.key_file}: no private key of P-256 in PEM ({exc}); make "
                "one: openssl ecparam -name prime256v1 -genkey -noout -out push.pem"
            ) from exc
        self._pool = ThreadPoolExecutor(4, "console-push")
        self._sending = set[asyncio.Task[None]]()

    def subscribe(self, login: Login, request: PushRequest, now: datetime) -> None:
        """Call this browser from now on, or go on to.

        Raises
        ------
        ValueError
            If the address is of no push service that is allowed, or a key is none.
        """
        origin = origin_of(request.endpoint)
        if not allowed(origin, self._settings.services):
            raise ValueError(f"endpoint: {origin or 'this'} is no push service of `push.services`")
        point, secret = _unpack(request.p256dh), _unpack(request.auth)
        if len(point) != _POINT_BYTES or len(secret) != _SECRET_BYTES:
            raise ValueError("p256dh: 65 bytes, and auth: 16 bytes, in base64url, expected")
        _point(point)
        own = [one for one in self._store.pushes() if one.user == login.user]
        own = [one for one in own if one.endpoint != request.endpoint]
        own.sort(key=lambda one: one.renewed_at)
        for one in own[: max(0, len(own) + 1 - MAX_OF_A_PERSON)]:
            self._store.drop_push(one.endpoint)
        self._store.keep_push(
            Subscription(
                request.endpoint, login.key, login.user, request.p256dh, request.auth,
                login.language, now,
            )
        )  # fmt: skip

    def end(self, login: Login, endpoint: str) -> None:
        """Call a browser of this person no longer."""
        if any(one.endpoint == endpoint and one.user == login.user for one in self._store.pushes()):
            self._store.drop_push(endpoint)

    def news(
        self, event: str, device: Device, alert_in: Callable[[str], AlertView | None], place: str
    ) -> None:
        """Call all who are subscribed, if the event is one to call for.

        Parameters
        ----------
        event : str
            Of an `alert` message.
        device : (site, device)
        alert_in : callable
            Returns the alert in a language.
        place : str
            Where the bed is.
        """
        first = alert_in("en")
        if event not in EVENTS or first is None or not self._wanted(first):
            return
        now = datetime.now(UTC)
        for one in self._store.pushes():
            age = now - one.renewed_at
            if age > timedelta(hours=self._settings.keep_h) or not self._entitled(one.user):
                self._store.drop_push(one.endpoint)
                continue
            alert = alert_in(one.language)
            if alert is None:
                continue
            if len(self._sending) >= MAX_WAITING:
                log.error("%d calls by web push wait: this one is not sent", len(self._sending))
                return
            task = asyncio.create_task(self._send(one, payload_of(device, alert, place, event)))
            self._sending.add(task)
            task.add_done_callback(self._sending.discard)

    async def close(self) -> None:
        """Give up what is being sent."""
        for task in list(self._sending):
            task.cancel()
        await asyncio.gather(*self._sending, return_exceptions=True)
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _wanted(self, alert: AlertView) -> bool:
        if alert.holder is not None:
            return False
        if alert.priority is Priority.MEDIUM:
            return self._settings.medium
        return alert.priority is Priority.HIGH

    async def _send(self, one: Subscription, payload: bytes) -> None:
        loop, status, why = asyncio.get_running_loop(), 0, ""
        for pause_s in (*_PAUSES_S, 0.0):
            try:
                status = await loop.run_in_executor(self._pool, self._request, one, payload)
                why = f"status {status}"
            except (OSError, http.client.HTTPException, ValueError) as exc:
                status, why = 0, str(exc)
            if status in GONE:
                self._store.drop_push(one.endpoint)
                log.info("a browser of %s is no longer subscribed", one.user)
                return
            if 200 <= status < 300:
                return
            if 400 <= status < 500 and status != http.client.TOO_MANY_REQUESTS:
                break
            await asyncio.sleep(pause_s)
        log.warning("web push to %s at %s: %s", one.user, origin_of(one.endpoint), why)

    def _request(self, one: Subscription, payload: bytes) -> int:
        """Send a message, and return the status; in a thread of the pool."""
        parts = urlsplit(one.endpoint)
        headers = self._vapid.sign(
            {
                "sub": self._settings.contact,
                "aud": origin_of(one.endpoint),
                "exp": int(time.time()) + _TOKEN_S,
            }
        )
        headers |= {
            "Content-Encoding": "aes128gcm",
            "Content-Type": "application/octet-stream",
            "TTL": str(int(self._settings.ttl_s)),
            "Urgency": "high",
        }
        body = encrypt(payload, one)
        port = parts.port or (443 if parts.scheme == "https" else 80)
        connection = (
            http.client.HTTPSConnection(
                parts.hostname or "", port, timeout=_TIMEOUT_S, context=ssl.create_default_context()
            )
            if parts.scheme == "https"
            else http.client.HTTPConnection(parts.hostname or "", port, timeout=_TIMEOUT_S)
        )
        try:
            path = parts.path + (f"?{parts.query}" if parts.query else "")
            connection.request("POST", path or "/", body, headers)
            return connection.getresponse().status  # a redirection is not followed
        finally:
            connection.close()


def payload_of(device: Device, alert: AlertView, place: str, event: str) -> bytes:
    """Return the message for a browser: place, condition and priority, no patient."""
    return msgspec.json.encode(
        {
            "site": device[0],
            "device": device[1],
            "alert_id": alert.alert_id,
            "priority": alert.priority.value,
            "event": event,
            "place": place,
            "condition": alert.condition,
            "rate_bpm": alert.rate_bpm,
        }
    )


def encrypt(payload: bytes, one: Subscription) -> bytes:
    """Encrypt for a browser (RFC 8291)."""
    import http_ece  # noqa: PLC0415  # extra
    from cryptography.hazmat.primitives.asymmetric import ec  # noqa: PLC0415

    own = ec.generate_private_key(ec.SECP256R1())
    sealed = http_ece.encrypt(
        payload, private_key=own, dh=_unpack(one.p256dh), auth_secret=_unpack(one.auth)
    )
    return bytes(sealed)


def origin_of(endpoint: str) -> str:
    """Return `scheme://host[:port]` of an address, in small letters; empty for what is none."""
    if not endpoint.isascii() or not endpoint.isprintable() or " " in endpoint:
        return ""
    try:
        parts = urlsplit(endpoint)
        host, port = (parts.hostname or "").rstrip("."), parts.port
    except ValueError:
        return ""
    if parts.scheme not in {"https", "http"} or not host or "@" in parts.netloc or "\\" in endpoint:
        return ""
    usual = port is None or port == {"https": 443, "http": 80}[parts.scheme]
    return f"{parts.scheme}://{host}" + ("" if usual else f":{port}")


def allowed(origin: str, services: tuple[str, ...]) -> bool:
    """Return whether an origin is listed, by itself or by `https://*.` and a domain it is below."""
    if origin in services:
        return True
    return any(
        origin.startswith("https://") and origin.endswith(service.removeprefix("https://*"))
        for service in services
        if service.startswith("https://*.")
    )


def _unpack(text: str) -> bytes:
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        return b""


def _point(raw: bytes) -> None:
    from cryptography.hazmat.primitives.asymmetric import ec  # noqa: PLC0415  # extra

    try:
        ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), raw)
    except ValueError as exc:
        raise ValueError("p256dh: no point of P-256") from exc


def _public_key(vapid: object) -> str:
    from cryptography.hazmat.primitives.asymmetric import ec  # noqa: PLC0415  # extra
    from cryptography.hazmat.primitives.serialization import (  # noqa: PLC0415
        Encoding,
        PublicFormat,
    )

    public = vapid.public_key  # type: ignore[attr-defined]
    if not isinstance(public, ec.EllipticCurvePublicKey):
        raise ValueError("it is of another kind")  # noqa: TRY004  # reported with the others
    raw = public.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
