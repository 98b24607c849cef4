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
from contextlib import ExitStack, suppress
from typing import Self

import msgspec

from tocsin_agent.config.config import Config
from tocsin_agent.config.several import common_outbox
from tocsin_agent.delivery.faults import Fault
from tocsin_agent.delivery.outbox import Outbox
from tocsin_agent.errors import ConfigError, DeliveryError, SourceError
from tocsin_agent.log_fields import about
from tocsin_agent.messages.health import encode_health
from tocsin_agent.retry import Backoff
from tocsin_agent.runtime.agent import AbandonedError
from tocsin_agent.runtime.assembly import Assembly
from tocsin_agent.runtime.beds import NeedsRestartError, Plan, plan
from tocsin_agent.runtime.changes import record_configuration
from tocsin_agent.runtime.metrics import Metrics
from tocsin_agent.runtime.reload import OnRequest, Reload, accept, refuse
from tocsin_agent.runtime.supervision import Pulse
from tocsin_agent.runtime.tap import Tap
from tocsin_agent.runtime.turns import Turns
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
    turns : Turns, optional
        Those of all patients. None for the only patient of the process: what fails ends the
        process, which the service manager starts again.
    """

    def __init__(self, config: Config, models: FieldModels, turns: Turns | None) -> None:
        self.name = config.device
        self.failure: TocsinError | None = None
        self.metrics = Metrics()
        self.outbox = Outbox.from_settings(config.outbox, config.audit)
        record_configuration(self.outbox.answers, config)
        try:
            self.assembly = Assembly(
                config,
                models,
                self.outbox,
                publish=True,
                on_delivered=self.metrics.delivered,
                turns=turns,
            )
        except Exception:
            self.outbox.close()  # it is locked while it is open
            raise
        self.config, self._alone = config, turns is None
        self._tap = Tap(self.outbox.path) if config.update.folder is not None else None
        self.pausing = False
        self._stop = threading.Event()
        self._restarted_s: list[float] = []
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        self.assembly.__enter__()
        if self._tap is not None:
            self.assembly.on_block = self._tap.__enter__().take
        return self

    def __exit__(self, *exc: object) -> None:
        if self._tap is not None:
            self._tap.__exit__(*exc)
        self.assembly.__exit__(*exc)
        if self.outbox.pending():
            waiting = self.outbox.pending()
            log.warning("%d alerts wait in %s for the next start", waiting, self.outbox.path)
        self.outbox.close()

    def removed(self) -> None:
        """Log what is open, once it has ended and before it is left: nobody ends that."""
        with suppress(DeliveryError):
            if left := self.outbox.open_documents():
                log.warning(
                    "%s is removed while alerts are open (%s): receivers list them, with the state "
                    "`stopped`, until its retained messages are removed",
                    self.name,
                    ", ".join(sorted({one.code for one in left})),
                )

    def run(self, stop: threading.Event) -> None:
        """Monitor until the source ends or `stop` is set.

        Raises
        ------
        TocsinError
            As `Agent.run` does, if this is the only patient.
        """
        config = self.config
        about(site=config.site, device=self.name, patient=config.who.id)
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

    def start(self) -> None:
        """Monitor in a thread of its own, until `stop`."""
        self._new_thread().start()

    def stop(self) -> None:
        """Have its thread end; returns at once."""
        self._stop.set()

    def restart(self) -> bool:
        """Monitor in a new thread, where the old one stands still; False if it did so too often."""
        now_s = time.monotonic()
        self._restarted_s = [at_s for at_s in self._restarted_s if now_s - at_s < _RECENT_S]
        if len(self._restarted_s) >= _MAX_RESTARTS:
            return False
        self._restarted_s.append(now_s)
        log.critical("monitoring of %s stands still: it is started again alone", self.name)
        thread = self._new_thread()  # from here on the old one is not this patient's any more
        self.assembly.abandon()
        self._raise("it stood still")
        thread.start()
        return True

    def _new_thread(self) -> threading.Thread:
        self._thread = threading.Thread(
            target=self.run, args=(self._stop,), name=f"tocsin-{self.name}", daemon=True
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

    Reason for its size: it is what the process asks of all patients at once.

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
        self.models = FieldModels.from_settings(first.model, common_outbox(configs))
        self._alone = len(configs) == 1
        self._load, self._on_applied = load, on_applied
        self._changing, self._turns = False, Turns()
        self.patients = [self._patient(config) for config in configs]
        self._stall_s = first.supervision.stall_s
        self._reload = OnRequest(self.reload)
        if self._alone:
            patient = self.patients[0]
            self._reload = Reload(
                first, self._load_one, patient.assembly, self._applied_to(patient)
            )

    def _patient(self, config: Config) -> Patient:
        models = self.models if self._alone else SharedModels(self.models)
        return Patient(config, models, None if self._alone else self._turns)

    def __enter__(self) -> Self:
        with ExitStack() as on_error:
            for patient in self.patients:
                on_error.enter_context(patient)
            self._reload.__enter__()
            on_error.pop_all()
        return self

    def __exit__(self, *exc: object) -> None:
        self._reload.__exit__(*exc)
        _at_once(Patient.__exit__, self.patients)

    def request_reload(self) -> None:
        """Look for updates of the models, and read the configuration again; any thread."""
        self.models.request_update()
        self._reload.request()

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
        sys.setswitchinterval(_TIME_SLICE_S)
        for patient in self.patients:
            patient.start()
        while self._changing or any(patient.alive for patient in self.patients):
            self.models.update()
            stop.wait(_UPDATE_S)
            if stop.is_set():
                break
        for patient in self.patients:
            patient.stop()
        _at_once(Patient.join, self.patients)
        for patient in self.patients:
            if patient.failure is not None:
                raise patient.failure

    def reload(self) -> bool:
        """Read the file; add, remove and begin again the patients that it changes.

        The others go on undisturbed. A file that does not apply as a whole changes nothing.

        Returns
        -------
        bool
            Whether it applies.
        """
        assemblies = [patient.assembly for patient in self.patients]
        try:
            new = self._load()
            failed = [patient.name for patient in self.patients if patient.failure is not None]
            todo = plan([patient.config for patient in self.patients], new, failed)
        except ConfigError as error:
            needs_restart = isinstance(error, NeedsRestartError)
            refuse(assemblies, str(error), "restart" if needs_restart else "invalid")
            return False
        accept(assemblies)
        self._changing = True
        try:
            self._apply(todo)
        finally:
            self._changing = False
        self._on_applied(new[0])
        log.info("configuration read again: %s", str(todo) or "nothing has changed")
        return True

    def _apply(self, todo: Plan) -> None:
        by_device = {patient.name: patient for patient in self.patients}
        for config in todo.changed:
            patient = by_device[config.device]
            patient.assembly.use(config)
            patient.config = config
            record_configuration(patient.outbox.answers, config)
        ending = [by_device[name] for name in todo.removed]
        again = (*todo.restarted, *todo.retried)
        ending += [by_device[config.device] for config in again]
        self.patients = [patient for patient in self.patients if patient not in ending]
        _end(ending, todo.removed)  # first: another patient may have the device now
        for config in (*again, *todo.added):
            self._begin(config)

    def _begin(self, config: Config) -> None:
        """Monitor a patient from now on; raise at the others that it is not, if that fails."""
        try:
            patient = self._patient(config).__enter__()
        except Exception as error:  # the others are to be monitored all the same
            log.critical(
                "%s cannot be monitored: %s",
                config.device,
                error,
                exc_info=None if isinstance(error, TocsinError) else error,
            )
            others = [one.assembly for one in self.patients]
            refuse(others, f"{config.device} cannot be monitored: {error}", "invalid")
            return
        self.patients = [*self.patients, patient]
        patient.start()

    def raise_fault(self, fault: Fault) -> None:
        """Have every patient's agent raise a fault, once."""
        for patient in self.patients:
            patient.assembly.raise_fault(fault, once=True)

    def metrics(self) -> dict[str, Metrics]:
        """Return the figures of each patient, by device."""
        return {patient.name: patient.metrics for patient in self.patients}

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
                return patient.restart()
        return False

    def _load_one(self) -> Config:
        configs = self._load()
        if len(configs) != 1:
            raise NeedsRestartError("one patient becomes several at a restart only")
        return configs[0]

    def _applied_to(self, patient: Patient) -> Callable[[Config], None]:
        def applied(new: Config) -> None:
            self._on_applied(new)
            record_configuration(patient.outbox.answers, new)

        return applied


def _end(patients: Sequence[Patient], removed: Sequence[str]) -> None:
    """Stop patients, all at once."""

    def end(patient: Patient) -> None:
        patient.join()
        if patient.alive:  # it stands still: another may have its device and its outbox
            patient.assembly.abandon()
        if patient.name in removed:
            patient.removed()
        patient.__exit__()

    for patient in patients:
        patient.stop()
    _at_once(end, patients)


def _at_once(work: Callable[[Patient], None], patients: Sequence[Patient]) -> None:
    """Do something with each patient; one after the other takes longer than systemd waits."""
    threads = [threading.Thread(target=work, args=(patient,)) for patient in patients]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
