"""Which broker is used: the first that accepts a connection, and the first again once it does."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence

from tocsin_agent.errors import DeliveryError
from tocsin_agent.mqtt.connection import Connection
from tocsin_agent.mqtt.settings import MqttSettings

log = logging.getLogger(__name__)

PROBE_S = 60.0
"""So often the first broker is tried while another is used."""


class Brokers:
    """Brokers in order of preference.

    Parameters
    ----------
    settings : sequence of MqttSettings
        How each is reached, the preferred first.
    client_id : str
        Of the device, where the settings name none.
    """

    def __init__(self, settings: Sequence[MqttSettings], client_id: str) -> None:
        self._settings, self._client_id = settings, client_id
        self._index = 0
        self._probe_at_s = 0.0
        self._probe: threading.Thread | None = None
        self._back = threading.Event()

    @property
    def current(self) -> MqttSettings:
        """The broker to connect to, or in use."""
        return self._settings[self._index]

    def connected(self) -> None:
        """Note that the current broker is in use."""
        self._back.clear()
        self._probe_at_s = time.monotonic() + PROBE_S
        if self._index:
            log.warning("the first broker cannot be reached: alerts go to %s", self.current.host)

    def failed(self, *, was_in_use: bool) -> bool:
        """Go on to the next broker, or to the first after one that was in use.

        Returns
        -------
        bool
            True if a pause is due before the next attempt.
        """
        self._index = 0 if was_in_use else (self._index + 1) % len(self._settings)
        return self._index == 0

    def first_is_back(self) -> bool:
        """Return whether to leave the current broker, since the first accepts connections."""
        if not self._index:
            return False
        if self._back.is_set():
            self._index = 0
            return True
        running = self._probe is not None and self._probe.is_alive()
        if not running and time.monotonic() >= self._probe_at_s:
            self._probe_at_s = time.monotonic() + PROBE_S
            self._probe = threading.Thread(target=self._try_first, name="tocsin-probe", daemon=True)
            self._probe.start()
        return False

    def _try_first(self) -> None:
        settings = self._settings[0]
        connection = Connection(settings, f"{settings.client_id or self._client_id}-probe")
        try:
            connection.open()
            connection.close()
        except DeliveryError:
            return
        log.info("the first broker %s accepts connections again", connection.where)
        self._back.set()
