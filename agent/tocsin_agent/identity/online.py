"""Enrolment over a broker: a gateway asks with a token, and the desk of its site answers."""

from __future__ import annotations

import logging
import secrets
import threading
import time
from base64 import b64decode, b64encode
from collections.abc import Callable
from datetime import UTC, datetime

import msgspec

from tocsin_agent.errors import DeliveryError, DeliveryFault, SigningError
from tocsin_agent.identity import certificates
from tocsin_agent.identity.certificates import Certificate
from tocsin_agent.identity.desk import Desk
from tocsin_agent.identity.store import IdentityStore
from tocsin_agent.identity.tokens import Token, prove, proves
from tocsin_agent.messages.identity import (
    IdentityRequest,
    IdentityResponse,
    decode_response,
    encode_identity,
)
from tocsin_agent.messages.printable import clean
from tocsin_agent.messages.topics import (
    enrolment_request_topic,
    enrolment_response_topic,
    identity_filters,
)
from tocsin_agent.mqtt.connection import Connection
from tocsin_agent.mqtt.settings import MqttSettings
from tocsin_agent.retry import Backoff

log = logging.getLogger(__name__)

_ASK_AGAIN_S = 10.0
_POLL_S = 0.5
_MOST_A_SECOND = 50  # requests that a desk reads; a ward that starts at once sends fewer


def join(
    settings: MqttSettings,
    token: Token,
    store: IdentityStore,
    ca: bytes,
    *,
    wait_s: float,
    ask_again_s: float = _ASK_AGAIN_S,
    say: Callable[[str], None] = lambda _: None,
) -> Certificate:
    """Get the first certificate of this gateway, and use it.

    The request is sent again until it is answered, over a new connection if need be; started again
    it has the same key, so that the token still counts.

    Parameters
    ----------
    settings : MqttSettings
        The broker, or its listener for enrolments.
    token : Token
        Of the site.
    store : IdentityStore
        Where key and certificate go.
    ca : bytes
        The authority of the broker, PEM.
    wait_s, ask_again_s : float
        Longest wait for an answer, and time between two requests.
    say : callable
        Called with what hinders, once until it changes.

    Raises
    ------
    SigningError
        If the site refuses, or the folder cannot be written.
    DeliveryError
        If no answer came in time.
    """
    asked = store.enrol(token.device, ca).decode()
    message = IdentityRequest(id=secrets.token_hex(16), request=asked, token=token.id, proof="")
    proof = b64encode(prove(token.key, message.content)).decode()
    message = msgspec.structs.replace(message, proof=proof)
    until_s = time.monotonic() + wait_s
    pauses, last = Backoff(settings.reconnect_min_s, settings.reconnect_max_s), ""
    while True:
        try:
            answer = _ask(settings, token.site, message, until_s, ask_again_s)
        except DeliveryError as error:
            if time.monotonic() >= until_s:
                raise
            if (text := f"{error}; tried again") != last:
                say(text)
                last = text
            time.sleep(min(pauses.next_s(), max(0.0, until_s - time.monotonic())))
            continue
        if answer is None:
            raise DeliveryError(
                DeliveryFault.BROKER_UNREACHABLE,
                f"nobody answered within {wait_s:g} s: does `tocsin identity serve` run at "
                f"{token.site}, and may it read the topics of enrolments?",
            )
        return _taken(answer, token, store)


def _ask(
    settings: MqttSettings, site: str, message: IdentityRequest, until_s: float, again_s: float
) -> IdentityResponse | None:
    """Ask over one connection until it is answered; None if the time is over."""
    connection = Connection(settings, f"tocsin-join-{message.id[:12]}")
    connection.open()
    try:
        topic = enrolment_response_topic(site, message.id)
        waiting: int | None = connection.subscribe([topic])
        ask_at_s = float("inf")
        while (now_s := time.monotonic()) < until_s:
            if now_s >= ask_at_s:
                payload = encode_identity(message)
                connection.publish(enrolment_request_topic(site, message.id), payload)
                ask_at_s = now_s + again_s
            events = connection.step(min(_POLL_S, until_s - now_s))
            if waiting in events.subscribed:
                waiting, ask_at_s = None, 0.0
            for ack in events.acks:
                if ack.refusal:
                    raise DeliveryError(
                        DeliveryFault.BROKER_REFUSED,
                        f"the broker refuses the request ({ack.refusal}): check its access list",
                    )
            for arrived in events.messages:
                connection.acknowledge(arrived)
                try:
                    answer = decode_response(arrived.payload)
                except (ValueError, RecursionError):
                    continue
                if answer.id == message.id:
                    return answer
        return None
    finally:
        connection.close()


def _taken(answer: IdentityResponse, token: Token, store: IdentityStore) -> Certificate:
    """Use what the site has sent."""
    try:
        proved = proves(token.key, b64decode(answer.proof, validate=True), answer.content)
    except ValueError:
        proved = False
    if answer.refused:
        origin = "" if proved else " (not proved to come from the site)"
        raise SigningError(f"the site refuses: {clean(answer.refused, 300)}{origin}")
    if not proved:
        raise SigningError("the answer does not come from the site that made the token")
    certificate = answer.certificate.encode()
    if certificates.describe(certificate).name != token.device:
        raise SigningError("the certificate is of another device")
    return store.install(certificate, datetime.now(UTC))


def serve(
    settings: MqttSettings,
    site: str,
    desk: Desk,
    stop: threading.Event,
    *,
    say: Callable[[str], None] = lambda _: None,
) -> None:
    """Answer requests until stopped, over a new connection when one breaks.

    Parameters
    ----------
    settings : MqttSettings
        The broker.
    site : str
        Whose requests.
    desk : Desk
        Signs.
    stop : threading.Event
        Ends it.
    say : callable
        Called with what a person should know.
    """
    pauses = Backoff(settings.reconnect_min_s, settings.reconnect_max_s)
    while not stop.is_set():
        connection = Connection(settings, f"tocsin-identity-{site}")
        try:
            connection.open()
            connection.subscribe(identity_filters(site))
            say(f"connected to {connection.where}")
            pauses.reset()
            _answer(connection, desk, stop)
            connection.close()
        except DeliveryError as error:
            say(str(error))
            stop.wait(pauses.next_s())
        finally:
            connection.abort()


def _answer(connection: Connection, desk: Desk, stop: threading.Event) -> None:
    since_s, count = time.monotonic(), 0
    while not stop.is_set():
        for message in connection.step(_POLL_S).messages:
            connection.acknowledge(message)
            if (now_s := time.monotonic()) - since_s >= 1.0:
                since_s, count = now_s, 0
            count += 1
            if count > _MOST_A_SECOND:
                if count == _MOST_A_SECOND + 1:
                    log.error("more than %d requests a second: the rest is left", _MOST_A_SECOND)
                continue
            try:
                answer = desk.answer(message, datetime.now(UTC))
            except SigningError as error:  # the disk: it is asked again
                log.error("nothing is signed: %s", error)  # noqa: TRY400
                continue
            except Exception:  # what one sends must not keep others from their certificates
                log.exception("a request is left: unexpected")
                continue
            if answer is not None:
                connection.publish(answer.topic, answer.payload)
