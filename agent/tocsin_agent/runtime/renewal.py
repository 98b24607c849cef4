"""The certificate of a gateway is renewed before it ends, over the connection that it is for.

::

    renew_from (a third of its time is left)   asks the desk of the site every hour; in health
    warn_from (a tenth is left)                raises `certificate_ends`, and goes on asking

The desk is `tocsin identity serve`. Where there is none, a person renews (`tocsin identity renew`).
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

from tocsin_agent.delivery.faults import Fault
from tocsin_agent.errors import MissingExtraError, SigningError
from tocsin_agent.identity.certificates import Certificate
from tocsin_agent.identity.renewal import request_renewal, take_renewed
from tocsin_agent.identity.store import IdentityStore
from tocsin_agent.messages.identity import decode_response, encode_identity
from tocsin_agent.messages.printable import clean
from tocsin_agent.mqtt.settings import MqttSettings

log = logging.getLogger(__name__)

CERTIFICATE_ENDS = "certificate_ends"
LOOK_S = 3600.0
"""Time between two looks at the certificate, and between two requests while a renewal is due."""
_FIRST_LOOK_S = 10.0  # once the connection may be there
_SUBJECT = "certificate"
_CONSEQUENCE = "then the broker refuses this device, and no alert arrives; renew it"
_MAX_ANSWERS = 32


def folder_of(mqtt: MqttSettings) -> Path | None:
    """Return the folder of an identity (`tocsin identity`), if the certificate in use is in one."""
    if mqtt.tls is None or mqtt.tls.cert_file is None:
        return None
    path = Path(mqtt.tls.cert_file)
    own = path.name == "cert.pem" and path.parent.name == "current"
    return path.parent.parent if own and path.parent.is_symlink() else None


class Renewal:
    """Looks after one certificate; a context manager with a thread.

    Reason for its size: it has the ways to the agent around it, and to the site.

    Parameters
    ----------
    store : IdentityStore
        The identity in use; perhaps also by other patients of this process.
    device : str
        Who asks: only the device that the certificate names may, and one request is enough.
    publish : callable
        Sends a request, or loses it where there is no connection; any thread.
    raise_fault, clear_fault : callable
        Raise that the certificate ends soon, and that it does not any more.
    utc : callable
        Returns aware UTC.
    """

    def __init__(
        self,
        store: IdentityStore,
        device: str,
        publish: Callable[[bytes], None],
        *,
        raise_fault: Callable[[Fault], None],
        clear_fault: Callable[[str, str], None],
        utc: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._store, self._device, self._publish, self._utc = store, device, publish, utc
        self._raise, self._clear = raise_fault, clear_fault
        self._asked_id = self._why = ""
        self._notice: str | None = None
        self._answers: deque[bytes] = deque(maxlen=_MAX_ANSWERS)
        self._woken, self._stopping = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="tocsin-renewal", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._woken.set()
        if self._thread.is_alive():
            self._thread.join(5.0)

    def notices(self) -> tuple[str, ...]:
        """Return what health states of the certificate; any thread."""
        return (self._notice,) if self._notice is not None else ()

    def take(self, payload: bytes) -> None:
        """Take an answer of the site; returns at once; any thread."""
        self._answers.append(payload)
        self._woken.set()

    def look(self) -> None:
        """Ask for another certificate if that is due."""
        now, current = self._utc(), None
        try:
            current = self._store.current()
            if current is None or now < current.renew_from:
                self._well()
                return
            if current.name != self._device:
                self._why = f"{clean(current.name, 64)} asks for it, where that is monitored here"
            elif now >= current.ends:
                self._why = "it has ended: enrol with a new token"
            else:
                asked = request_renewal(self._store)
                self._asked_id = asked.id
                self._publish(encode_identity(asked))
        except (SigningError, MissingExtraError) as error:
            self._why = str(error)
            log.error("the certificate cannot be renewed: %s", error)  # noqa: TRY400
        self._state(current, now)

    def take_answer(self, payload: bytes) -> None:
        """Use the certificate that an answer brings; log why it brings none."""
        try:
            answer = decode_response(payload)
        except (ValueError, RecursionError) as error:
            log.warning("an answer to a renewal is not read: %s", clean(str(error), 200))
            return
        if answer.id != self._asked_id:
            return
        if answer.refused:
            self._why = f"the site refuses: {clean(answer.refused, 200)}"
            log.error("the certificate is not renewed: %s", self._why)
            return
        try:
            found = take_renewed(self._store, answer.certificate.encode(), self._utc())
        except SigningError as error:
            self._why = str(error)
            log.error("the certificate that came is not used: %s", error)  # noqa: TRY400
            return
        log.info("the certificate is renewed, until %s", found.ends.isoformat())
        self._asked_id = ""
        self._well()

    def _well(self) -> None:
        self._notice, self._why = None, ""
        self._clear(CERTIFICATE_ENDS, _SUBJECT)

    def _state(self, current: Certificate | None, now: datetime) -> None:
        """Have health state that a renewal is due, and raise that little time is left."""
        ends = "it is not readable"
        if current is not None:
            date = f"{current.ends:%Y-%m-%d}"
            ends = f"it ends on {date}" if now < current.ends else f"it ended on {date}"
        why = self._why or "the site has not answered yet"
        self._notice = f"the certificate of this gateway is to be renewed: {ends}; {why}"
        if current is None or now >= current.warn_from:
            self._raise(Fault(CERTIFICATE_ENDS, _SUBJECT, ends, _CONSEQUENCE))

    def _run(self) -> None:
        look_at_s = time.monotonic() + _FIRST_LOOK_S
        while not self._stopping.is_set():
            self._woken.wait(max(look_at_s - time.monotonic(), 0.0))
            self._woken.clear()
            if self._stopping.is_set():
                return
            try:
                # Answers that wake it do not delay the next look.
                if (now_s := time.monotonic()) >= look_at_s:
                    look_at_s = now_s + LOOK_S
                    self.look()
                while self._answers:
                    self.take_answer(self._answers.popleft())
            except Exception:  # the certificate in use stays
                log.exception("renewing the certificate")
