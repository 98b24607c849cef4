"""The one place that wires an agent from a configuration.

::

    config.source ──▶ Source ──┐
    config.model ──▶ FieldModels ──▶ Agent ──▶ store ──▶ Publisher ──▶ broker
    config.limits ──▶ monitor ─┘       │                    ▲
                                       └── wake, describe ──┘

`tocsin run` uses it with an outbox and a publisher, `tocsin replay` and `tocsin demo` with one
agent a recording, and `tocsin replay` without a broker with a store in memory.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Protocol, Self

import msgspec

from tocsin_agent import __version__
from tocsin_agent.config.config import Config, config_hash
from tocsin_agent.delivery.answer_store import AnswerStore
from tocsin_agent.delivery.answering import Vitals
from tocsin_agent.delivery.audit import SUPPRESSED
from tocsin_agent.delivery.faults import DELIVERY_FAILED, Fault
from tocsin_agent.delivery.presence import PresenceLedger
from tocsin_agent.delivery.publisher import Publisher
from tocsin_agent.delivery.sender import Delivery
from tocsin_agent.delivery.store import AlertQueue, AlertStore
from tocsin_agent.errors import DeliveryError, MissingExtraError, SigningError
from tocsin_agent.identity.store import IdentityStore
from tocsin_agent.messages.alert import SCHEMA, Key
from tocsin_agent.messages.context import PatientContext
from tocsin_agent.messages.health import AgentHealth
from tocsin_agent.messages.info import Info
from tocsin_agent.messages.topics import Topics
from tocsin_agent.monitor.rate_only import RateMonitor
from tocsin_agent.runtime.agent import Agent
from tocsin_agent.runtime.changes import record_models
from tocsin_agent.runtime.clock import StreamClock
from tocsin_agent.runtime.context import ContextDesk, MonitorInContext
from tocsin_agent.runtime.document import Identity
from tocsin_agent.runtime.renewal import Renewal, folder_of
from tocsin_agent.runtime.source import build_source
from tocsin_agent.runtime.stream import Beat, Monitor, StreamReport
from tocsin_agent.runtime.supervision import Pulse, source_is_followed
from tocsin_agent.runtime.turns import Turn, Turns
from tocsin_agent.runtime.waveform import Waveforms
from tocsin_agent.signing.envelope import Signer
from tocsin_agent.signing.guard import Guard
from tocsin_agent.sources.opening import kind_of
from tocsin_agent.sources.settings import SourceSettings
from tocsin_agent.updates.field import FieldModels
from tocsin_dsp.signal import SampleBlock, StreamSpec
from tocsin_models import Models

log = logging.getLogger(__name__)

_DRAIN_S = 5.0
_DELIVERY_POLL_S = 0.5
_KEY = "key"


class Store(AlertStore, AlertQueue, Protocol):
    """What the agent and the publisher together need of a store."""

    @property
    def answers(self) -> AnswerStore:
        """Where the states of the alerts are kept."""


def describe(config: Config, source: SourceSettings, models: Models) -> Info:
    """Return the retained `info` message of an agent."""
    return Info(
        version=__version__,
        alert_schema=SCHEMA,
        configuration=config_hash(config),
        models=models.hashes,
        ecg=kind_of(source.uri).has_ecg,
        source=source.uri,
    )


class Assembly:
    """The parts that the agents of a process share, wired; builds the agents.

    A context manager: the publisher runs inside. Its store is opened and closed by the caller.

    Reason for its size: it is the one place that knows all parts.

    Parameters
    ----------
    config : Config
        Names, limits, broker and presence; its source is the default of `agent`.
    models : FieldModels
        The models in use.
    store : Store
        Where alerts are committed: an `Outbox`, or a `MemoryStore`.
    publish : bool
        Publish what is committed to the configured broker.
    on_delivered : callable, optional
        Called with the key of each alert that the broker has acknowledged.
    turns : Turns, optional
        Those of the process, where it has several patients.

    Attributes
    ----------
    publisher : Publisher or None
        None without `publish`.
    on_block : callable
        Called with each block after its alerts are committed; must not wait.
    """

    def __init__(
        self,
        config: Config,
        models: FieldModels,
        store: Store,
        *,
        publish: bool,
        on_delivered: Callable[[Key], None] = lambda _: None,
        turns: Turns | None = None,
    ) -> None:
        self._config, self._models, self._store = config, models, store
        self._turns = turns
        self._agent: Agent | None = None
        self._faults: dict[tuple[str, str], tuple[Fault, bool]] = {}
        self._contexts = ContextDesk(config.who, store=store.answers)
        self._context_shown: tuple[PatientContext | None, dict[str, object]] = None, {}
        self.publisher: Publisher | None = None
        self.on_block: Callable[[SampleBlock], None] = lambda _: None
        topics = Topics(config.site, config.device)
        self._waveforms = Waveforms(config.waveform, topics, self._live)
        self._renewal = self._renewed(config, topics) if publish else None
        if publish:
            renewal = self._renewal
            self.publisher = Publisher(
                store,
                config.mqtt,
                site=config.site,
                device=config.device,
                presence=PresenceLedger(config.presence),
                info=describe(config, config.source, models.models),
                agent_health=self.health,
                answers=store.answers,
                escalation=config.escalation,
                vitals=self._vitals,
                on_context=self._contexts.feed,
                on_renewed=renewal.take if renewal is not None else None,
                notices=renewal.notices if renewal is not None else tuple,
                signer=self._signer(config),
                guard=Guard.from_settings(config.signing, Path(config.outbox.path)),
                on_delivered=on_delivered,
                receipts=config.receipts,
                fallback=config.fallback,
            )

    def __enter__(self) -> Self:
        if self.publisher is not None:
            self.publisher.start()
        if self._renewal is not None:
            self._renewal.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        if self._renewal is not None:
            self._renewal.__exit__()
        if self.publisher is not None:
            self.publisher.stop(_DRAIN_S)

    def agent(
        self,
        source: SourceSettings | None = None,
        *,
        models: FieldModels | None = None,
        on_report: Callable[[StreamReport], None] = lambda _: None,
    ) -> Agent:
        """Return a new agent; run one at a time.

        Parameters
        ----------
        source : SourceSettings, optional
            What it reads; without it, the configured source.
        models : FieldModels, optional
            Models of its own, so that their failure does not reach the next agent.
        on_report : callable, optional
            Called with each report after its alerts are committed.

        Raises
        ------
        SourceError
            As `build_source` does.
        """
        config, publisher = self._config, self.publisher
        settings, in_use = source or config.source, models or self._models

        def report_to_all(report: StreamReport) -> None:
            self._record_suppressed(report)
            on_report(report)

        def publish_models(models: Models) -> None:
            record_models(self._store.answers, models)
            if publisher is not None:
                publisher.describe(describe(config, settings, models))

        agent = Agent(
            build_source(settings),
            self._store,
            identity=Identity(config.site, config.device, config.who.id, config.who.location),
            build_monitor=self._build_monitor,
            models=in_use,
            settings=settings,
            wake=publisher.wake if publisher is not None else lambda: None,
            delivery_faults=self.take_faults,
            on_models=publish_models,
            on_report=report_to_all,
            on_block=self._pass_on if publisher is not None else None,
            turn=Turn(self._turns) if self._turns is not None else None,
        )
        if settings is not config.source:
            publish_models(in_use.models)
        record_models(self._store.answers, in_use.models)
        self._agent = agent
        return agent

    def abandon(self) -> None:
        """Let the agent that stands still commit nothing more, before a new one is made."""
        if self._agent is not None:
            self._agent.abandon()
            self._agent = None

    def commit_fault(self, fault: Fault) -> None:
        """Commit a fault where no agent runs, by one that never opens its source."""
        config = self._config
        agent = Agent(
            build_source(SourceSettings(uri="synthetic")),
            self._store,
            identity=Identity(config.site, config.device, config.who.id, config.who.location),
            build_monitor=self._build_monitor,
            models=self._models,
            settings=config.source,
            wake=self.publisher.wake if self.publisher is not None else lambda: None,
        )
        agent.commit_fault(fault)

    def use(self, config: Config) -> None:
        """Apply what can change in a running agent; any thread."""
        self._config = config
        if self._agent is not None:
            self._agent.use_settings(config.source)
        if (publisher := self.publisher) is not None:
            publisher.use(
                Delivery(
                    config.mqtt,
                    config.presence,
                    config.escalation,
                    self._signer(config),
                    Guard.from_settings(config.signing, Path(config.outbox.path)),
                    config.fallback,
                    config.receipts,
                )
            )
            publisher.describe(describe(config, config.source, self._models.models))

    def raise_fault(self, fault: Fault, *, once: bool = False) -> None:
        """Have the agent raise a fault: while it lasts, or once; any thread.

        A fault of the same code and subject is replaced.
        """
        self._faults[fault.code, fault.subject] = (fault, once)

    def clear_fault(self, code: str, subject: str) -> None:
        """State that a fault is over; any thread."""
        self._faults.pop((code, subject), None)

    def take_faults(self) -> list[Fault]:
        """Return what does not work now, in delivery and else; in the agent's thread."""
        found = [fault for fault, _ in list(self._faults.values())]
        for fault, once in list(self._faults.values()):
            if once:
                self.clear_fault(fault.code, fault.subject)
        return found + (self.publisher.faults() if self.publisher is not None else [])

    def pulses(self, stall_s: float) -> list[Pulse]:
        """Return the threads that must turn, for a supervisor."""
        publisher = self.publisher
        found = [Pulse("monitoring", self._monitoring_turned_s, stall_s)]
        if publisher is not None:
            mqtt = self._config.mqtt
            # Looking up a name and a TLS handshake may take their time, and are no stall.
            most_s = max(stall_s, 60.0) + mqtt.connect_timeout_s + mqtt.ack_timeout_s
            found.append(Pulse("delivery", lambda: publisher.turned_s, most_s))
        return found

    @property
    def current_agent(self) -> Agent | None:
        """The agent that monitors now."""
        return self._agent

    def _monitoring_turned_s(self) -> float:
        """Return when the agent that runs now turned last; before there is one, now."""
        agent = self._agent
        return agent.turned_s if agent is not None else time.monotonic()

    def source_is_followed(self) -> bool:
        """Return whether samples flow, or their absence is raised; any thread."""
        return source_is_followed(self.health(), self._config.source.timeout_s)

    def deliver(self, stop: threading.Event) -> None:
        """Return when everything committed is delivered, or `stop` is set."""
        publisher = self.publisher
        while publisher is not None and not stop.is_set():
            if publisher.drained(_DELIVERY_POLL_S):
                return

    def health(self) -> AgentHealth | None:
        """Return the agent's part of the health message; any thread."""
        agent = self._agent
        return agent.health() if agent is not None else None

    def _record_suppressed(self, report: StreamReport) -> None:
        """Record in the audit trail what raised no alarm because of the context."""
        for code, at, reason in report.suppressed:
            detail = f"{code} at {at:%Y-%m-%dT%H:%M:%S.%f}Z: {reason}"
            with suppress(DeliveryError):  # monitoring goes on with a full disk
                self._store.answers.record(SUPPRESSED, detail)

    def _vitals(self) -> Vitals:
        """Return what the agent adds to the open alerts, in the publisher's thread."""
        config, agent, context = self._config, self._agent, self._contexts.current()
        if context is not self._context_shown[0]:
            self._context_shown = context, msgspec.to_builtins(context)
        vitals = agent.vitals() if agent is not None else Vitals()
        return vitals._replace(
            location=config.who.location,
            patient=config.who.id,
            waveforms=self._waveforms.leads(),
            context=self._context_shown[1],
        )

    def _renewed(self, config: Config, topics: Topics) -> Renewal | None:
        """Return what looks after the certificate of this gateway, if it has one of its own."""
        if (folder := folder_of(config.mqtt)) is None:
            return None
        return Renewal(
            IdentityStore(folder),
            config.device,
            lambda payload: self._live(topics.renewal, payload),
            raise_fault=self.raise_fault,
            clear_fault=self.clear_fault,
        )

    def _pass_on(self, block: SampleBlock, clock: StreamClock, beats: Sequence[Beat]) -> None:
        self._waveforms.take(block, clock, beats)
        self.on_block(block)

    def _live(self, topic: str, payload: bytes) -> None:
        if self.publisher is not None:
            self.publisher.live(topic, payload)

    def _signer(self, config: Config) -> Signer | None:
        """Return the signer of the device's key; None, which is raised, if it cannot be used."""
        self.clear_fault(DELIVERY_FAILED, _KEY)
        if config.signing.key_file is None:
            return None
        try:
            return Signer.from_file(Path(config.signing.key_file))
        except (SigningError, MissingExtraError) as error:
            # An alert without a signature is worth more than none: receivers show what it lacks.
            log.error("%s; nothing is signed", error)  # noqa: TRY400
            why, what = "the device's key cannot be used", "nothing is signed; the log says why"
            self.raise_fault(Fault(DELIVERY_FAILED, _KEY, why, what))
            return None

    def _build_monitor(self, spec: StreamSpec, models: Models) -> Monitor:
        if spec.marks_only:
            return RateMonitor(spec, self._config.limits, self._contexts.current)
        return MonitorInContext(spec, self._config.limits, models, self._contexts)
