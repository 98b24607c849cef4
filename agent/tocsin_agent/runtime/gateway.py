"""Several patients in one process, each monitored by a thread of its own.

::

    Patient "bed-1": source ──▶ monitor ──▶ outbox ──▶ publisher ──▶ broker
    Patient "bed-2": source ──▶ monitor ──▶ outbox ──▶ publisher ──▶ broker
                                   └── the models, loaded once

Nothing but the models and the process is shared: a monitor that raises, a source that floods and an
outbox that fills affect their own patient. A monitor that fails or stands still is started again
alone, and `monitor_failed` is raised (decision 50).
"""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Self

import msgspec

from tocsin_agent.config.config import Config
from tocsin_agent.delivery.faults import Fault
from tocsin_agent.delivery.outbox import Outbox
from tocsin_agent.errors import ConfigError, SourceError
from tocsin_agent.messages.health import encode_health
from tocsin_agent.retry import Backoff
from tocsin_agent.runtime.agent import AbandonedError
from tocsin_agent.runtime.assembly import Assembly
from tocsin_agent.runtime.changes import record_configuration
from tocsin_agent.runtime.metrics import Metrics
from tocsin_agent.runtime.reload import Reload
from tocsin_agent.runtime.supervision import Pulse
from tocsin_agent.updates.field import FieldModels, SharedModels
from tocsin_dsp.errors import TocsinError

log = logging.getLogger(__name__)

MONITOR_FAILED = "monitor_failed"
_RETRY_S = (1.0, 60.0)
_HELD_S = 300.0  # a monitor that ran so long begins again with the shortest pause
_UPDATE_S = 0.25
_TIME_SLICE_S = 0.001
"""How long a thread of Python runs while others wait; with 5 ms they were 165 ms late."""
_JOIN_S = 10.0
_RECENT_S = 3600.0
_MAX_RESTARTS = (
    3  # of a thread that stands still, within `_RECENT_S`, until the process is replaced
)
_CONSEQUENCE = "it was started again; between, this patient was not monitored"


class Patient:
    """One patient: outbox, delivery, and monitoring that is started again when it fails.

    A context manager: the publisher runs inside.

    Parameters
    ----------
    config : Config
        Of this patient.
    models : FieldModels
        The models in use.
    alone : bool
        The only patient of the process: what fails ends the process, which the service manager
        starts again.
    """

    def __init__(self, config: Config, models: FieldModels, *, alone: bool) -> None:
        self.name = config.device
        self.failure: TocsinError | None = None
        self.metrics = Metrics()
        self.outbox = Outbox.from_settings(config.outbox, config.audit)
        record_configuration(self.outbox.answers, config)
        self.assembly = Assembly(
            config, models, self.outbox, publish=True, on_delivered=self.metrics.delivered
        )
        self._config, self._alone = config, alone
        self.pausing = False
        self._restarted_s: list[float] = []
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        self.assembly.__enter__()
        return self

    def __exit__(self, *exc: object) -> None:
        self.assembly.__exit__(*exc)
        if self.outbox.pending():
            waiting = self.outbox.pending()
            log.warning("%d alerts wait in %s for the next start", waiting, self.outbox.path)
        self.outbox.close()

    def run(self, stop: threading.Event) -> None:
        """Monitor until the source ends or `stop` is set.

        Raises
        ------
        TocsinError
            As `Agent.run` does, if this is the only patient.
        """
        pauses = Backoff(*_RETRY_S)
        while not stop.is_set():
            began_s = time.monotonic()
            try:
                self._run_once(stop)
            except AbandonedError:
                return
            except Exception as error:
                if self._alone:
                    raise
                if self._thread is not threading.current_thread():
                    return  # it stood still, and another thread has taken its place
                if isinstance(error, SourceError):  # a recording; a live source is opened again
                    log.error("%s is not monitored any more: %s", self.name, error)  # noqa: TRY400
                    self.failure = error
                    self._raise(str(error), "this patient is not monitored any more")
                    self.assembly.__exit__()  # its status becomes `stopped`
                    return
                log.exception("monitoring of %s failed; it is started again", self.name)
                self._raise(type(error).__name__)
            else:
                self.assembly.deliver(stop)
                return
            if time.monotonic() - began_s > _HELD_S:
                pauses.reset()
            self.pausing = True  # it is raised that nobody monitors this patient
            stop.wait(pauses.next_s())
            self.pausing = False

    def _run_once(self, stop: threading.Event) -> None:
        agent = self.assembly.agent(on_report=self.metrics.report)
        publisher = self.assembly.publisher
        self.metrics.follow(agent, publisher.health if publisher else None)
        agent.run(stop)

    def start(self, stop: threading.Event) -> None:
        """Monitor in a thread of its own."""
        self._new_thread(stop).start()

    def restart(self, stop: threading.Event) -> bool:
        """Monitor in a new thread, where the old one stands still; False if it did so too often."""
        now_s = time.monotonic()
        self._restarted_s = [at_s for at_s in self._restarted_s if now_s - at_s < _RECENT_S]
        if len(self._restarted_s) >= _MAX_RESTARTS:
            return False
        self._restarted_s.append(now_s)
        log.critical("monitoring of %s stands still: it is started again alone", self.name)
        thread = self._new_thread(stop)  # from here on the old one is not this patient's any more
        self.assembly.abandon()
        self._raise("it stood still")
        thread.start()
        return True

    def _new_thread(self, stop: threading.Event) -> threading.Thread:
        self._thread = threading.Thread(
            target=self.run, args=(stop,), name=f"tocsin-{self.name}", daemon=True
        )
        return self._thread

    def health(self) -> msgspec.Raw:
        """Return the health message; any thread."""
        publisher = self.assembly.publisher
        if publisher is None:
            return msgspec.Raw(b"null")
        return msgspec.Raw(encode_health(publisher.health(), self.assembly.health()))

    @property
    def alive(self) -> bool:
        """Whether its thread runs."""
        return self._thread is not None and self._thread.is_alive()

    def join(self) -> None:
        """Wait for its thread; one that stands still is left behind."""
        if self._thread is not None:
            self._thread.join(_JOIN_S)

    def _raise(self, reason: str, consequence: str = _CONSEQUENCE) -> None:
        """Commit `monitor_failed` now: the next agent may fail before it could."""
        fault = Fault(MONITOR_FAILED, "monitoring", reason, consequence)
        try:
            self.assembly.commit_fault(fault)
        except Exception:  # the monitoring is to begin again
            log.exception("%s: that monitoring failed could not be committed", self.name)
            self.assembly.raise_fault(fault, once=True)


class Gateway:
    """All patients of a process.

    A context manager.

    Parameters
    ----------
    configs : sequence of Config
        One a patient; the sections that no patient has for itself are those of the first.
    load : callable
        Reads the configuration file again; raises `ConfigError`.
    on_applied : callable
        Called with each configuration that was applied while running.
    """

    def __init__(
        self,
        configs: Sequence[Config],
        load: Callable[[], Sequence[Config]],
        on_applied: Callable[[Config], None] = lambda _: None,
    ) -> None:
        first = configs[0]
        self.models = FieldModels.from_settings(first.model, Path(first.outbox.path))
        self._alone = len(configs) == 1
        self._stop = threading.Event()
        self._stack = ExitStack()
        self._load = load
        self.patients = [
            Patient(
                config,
                self.models if self._alone else SharedModels(self.models),
                alone=self._alone,
            )
            for config in configs
        ]
        self._stall_s = first.supervision.stall_s
        self._reloads = [
            Reload(
                config,
                self._loader(config.device),
                patient.assembly,
                self._applied(on_applied, patient),
            )
            for config, patient in zip(configs, self.patients, strict=True)
        ]

    def __enter__(self) -> Self:
        for patient in self.patients:
            self._stack.enter_context(patient)
        for reload in self._reloads:
            self._stack.enter_context(reload)
        return self

    def __exit__(self, *exc: object) -> None:
        # All at once: one after the other would take longer than a service manager waits.
        stopping = [threading.Thread(target=p.assembly.__exit__) for p in self.patients]
        for thread in stopping:
            thread.start()
        for thread in stopping:
            thread.join()
        self._stack.__exit__(*exc)  # type: ignore[arg-type]

    def request_reload(self) -> None:
        """Look for updates of the models, and read the configuration again; any thread."""
        self.models.request_update()
        for reload in self._reloads:
            reload.request()

    def run(self, stop: threading.Event) -> None:
        """Monitor all patients until their sources end or `stop` is set.

        Raises
        ------
        TocsinError
            As `Agent.run` does: of one patient at once, of several the first, at the end.
        """
        if self._alone:
            self.patients[0].run(stop)
            return
        self._stop = stop
        sys.setswitchinterval(_TIME_SLICE_S)
        for patient in self.patients:
            patient.start(stop)
        while any(patient.alive for patient in self.patients):
            self.models.update()
            stop.wait(_UPDATE_S)
            if stop.is_set():
                break
        for patient in self.patients:
            patient.join()
        for patient in self.patients:
            if patient.failure is not None:
                raise patient.failure

    def raise_fault(self, fault: Fault) -> None:
        """Have every patient's agent raise a fault, once."""
        for patient in self.patients:
            patient.assembly.raise_fault(fault, once=True)

    def pulses(self) -> list[Pulse]:
        """Return the threads that must turn, for a supervisor."""
        found = []
        for patient in self.patients:
            for pulse in patient.assembly.pulses(self._stall_s):
                what = pulse.what if self._alone else f"{pulse.what} of {patient.name}"
                found.append(pulse._replace(what=what))
        return found

    def followed(self) -> bool:
        """Return whether samples of every patient flow, or their absence is raised."""
        return all(
            patient.assembly.source_is_followed()
            for patient in self.patients
            if self._alone or (patient.alive and not patient.pausing)
        )

    def health(self) -> msgspec.Raw:
        """Return the health message of the patient; of several, an object with one by device."""
        messages = {patient.name: patient.health() for patient in self.patients}
        if self._alone:
            return next(iter(messages.values()))
        return msgspec.Raw(msgspec.json.encode(messages))

    def restart(self, what: str) -> bool:
        """Start the monitoring that stands still again alone; False if the process must be."""
        if self._alone:
            return False
        for patient in self.patients:
            if what == f"monitoring of {patient.name}":
                return patient.restart(self._stop)
        return False

    def _loader(self, device: str) -> Callable[[], Config]:
        def load() -> Config:
            configs = self._load()
            if {c.device for c in configs} != {p.name for p in self.patients}:
                if self._alone:
                    return configs[0]
                raise ConfigError("patients are added and removed at a restart only")
            return next(config for config in configs if config.device == device)

        return load

    @staticmethod
    def _applied(then: Callable[[Config], None], patient: Patient) -> Callable[[Config], None]:
        def applied(new: Config) -> None:
            then(new)
            record_configuration(patient.outbox.answers, new)

        return applied
