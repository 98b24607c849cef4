"""Figures of a running agent for Prometheus, at `http://127.0.0.1:PORT/metrics` (extra `metrics`).

What counts is read when it is asked for; only alerts, beats and delays are counted as they come.
No figure describes a patient: heart rates and texts are not among them.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Protocol, Self

from tocsin_agent.config.config import MetricsSettings
from tocsin_agent.errors import MissingExtraError
from tocsin_agent.extras import import_extra
from tocsin_agent.messages.alert import Key
from tocsin_agent.messages.health import AgentHealth, BrokerState, DeliveryHealth
from tocsin_agent.runtime.agent import Work
from tocsin_agent.runtime.stream import StreamReport

if TYPE_CHECKING:
    from prometheus_client.core import Metric

log = logging.getLogger(__name__)

DELAYS_S = (0.005, 0.015, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 15.0, 60.0, 300.0, 3600.0)
"""Upper bounds of the buckets of the delivery delay."""
_MAX_UNDELIVERED = 20_000


class Measured(Protocol):
    """The parts of an agent that are read."""

    @property
    def work(self) -> Work: ...  # noqa: D102
    def health(self) -> AgentHealth: ...  # noqa: D102
    def lead_quality(self) -> dict[str, float]: ...  # noqa: D102


class Metrics:
    """Counts what happens, and gives all figures to Prometheus.

    Parameters
    ----------
    monotonic : callable
        Returns seconds on a clock that is never set.
    """

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._alerts: Counter[tuple[str, str, str]] = Counter()
        self._beats: Counter[str] = Counter()
        self._committed: OrderedDict[Key, float] = OrderedDict()
        self._delays = [0] * (len(DELAYS_S) + 1)
        self._delay_sum_s = 0.0
        self._agent: Measured | None = None
        self._delivery: Callable[[], DeliveryHealth] | None = None

    def follow(self, agent: Measured, delivery: Callable[[], DeliveryHealth] | None) -> None:
        """Read this agent and this delivery from here on."""
        self._agent, self._delivery = agent, delivery

    def report(self, report: StreamReport) -> None:
        """Count a report whose alerts are committed; in the agent's thread."""
        now_s = self._monotonic()
        with self._lock:
            for beat in report.report.beats:
                self._beats[beat.label] += 1
            for alert in report.alerts:
                self._alerts[alert.code, alert.phase, alert.priority] += 1
                self._committed[alert.key] = now_s
            while len(self._committed) > _MAX_UNDELIVERED:
                self._committed.popitem(last=False)

    def delivered(self, key: Key) -> None:
        """Count the delay of an alert that the broker has acknowledged; the publisher's thread."""
        with self._lock:
            at_s = self._committed.pop(key, None)
            if at_s is None:
                return  # committed by an earlier run, or sent again
            delay_s = self._monotonic() - at_s
            place = next((i for i, most_s in enumerate(DELAYS_S) if delay_s <= most_s), -1)
            self._delays[place] += 1
            self._delay_sum_s += delay_s

    def collect(self) -> Iterator[Metric]:
        """Yield every figure; called by Prometheus for each request."""
        core = import_extra("prometheus_client.core", "metrics", "the metrics")
        with self._lock:
            alerts, beats = dict(self._alerts), dict(self._beats)
            delays, delay_sum_s = list(self._delays), self._delay_sum_s
        yield _counter(
            core, "tocsin_alerts", "Alerts committed.", ("code", "state", "priority"), alerts
        )
        labels = {(label,): count for label, count in beats.items()}
        yield _counter(core, "tocsin_beats", "Beats by label.", ("label",), labels)
        yield _delay(core, delays, delay_sum_s)
        if self._agent is not None:
            yield from _of_agent(core, self._agent)
        if self._delivery is not None:
            yield from _of_delivery(core, self._delivery())


class AllMetrics:
    """The figures of all patients of a process, each with the label `device`.

    Parameters
    ----------
    by_device : callable
        Returns those of each patient, by device.
    """

    def __init__(self, by_device: Callable[[], Mapping[str, Metrics]]) -> None:
        self._by_device = by_device

    def collect(self) -> Iterator[Metric]:
        """Yield every figure; called by Prometheus for each request."""
        families: dict[str, Metric] = {}
        for device, metrics in self._by_device().items():
            for family in metrics.collect():
                samples = [
                    one._replace(labels={"device": device, **one.labels}) for one in family.samples
                ]
                if family.name in families:
                    families[family.name].samples += samples
                else:
                    family.samples = samples
                    families[family.name] = family
        yield from families.values()


class MetricsServer:
    """Serves the figures; a context manager. Without a port that can be used, only logs that.

    Parameters
    ----------
    settings : MetricsSettings or None
        Where; None serves nothing.
    metrics : Metrics or AllMetrics
        The figures.

    Attributes
    ----------
    port : int or None
        Where it listens.
    """

    def __init__(self, settings: MetricsSettings | None, metrics: Metrics | AllMetrics) -> None:
        self.port: int | None = None
        self._settings, self._metrics = settings, metrics
        self._server: Any = None

    def __enter__(self) -> Self:
        settings = self._settings
        if settings is None:
            return self
        try:
            client = import_extra("prometheus_client", "metrics", "the section [metrics]")
            registry = client.CollectorRegistry()
            registry.register(self._metrics)
            self._server, _ = client.start_http_server(
                settings.port, addr=settings.host, registry=registry
            )
            self.port = self._server.server_port
            log.info("metrics at http://%s:%d/metrics", settings.host, self.port)
        except (OSError, MissingExtraError) as error:  # figures are no reason not to monitor
            log.error("no metrics: %s", error)  # noqa: TRY400
        return self

    def __exit__(self, *_: object) -> None:
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()


def _of_agent(core: Any, agent: Measured) -> Iterator[Metric]:  # noqa: ANN401
    work, health = agent.work, agent.health()
    for name, text, count in (
        ("tocsin_samples", "Samples of one lead set that were analysed.", work.samples),
        ("tocsin_blocks", "Blocks that were analysed.", work.blocks),
        ("tocsin_block_cpu_seconds", "CPU time of the analysis.", work.cpu_s),
    ):
        yield core.CounterMetricFamily(name, text, value=count)
    for name, text, value in (
        ("tocsin_silent_seconds", "Time since the last samples.", health.silent_s),
        ("tocsin_source_lost", "1 while source_lost is active.", float(health.source_lost)),
        ("tocsin_held_in_memory", "Alerts that the disk does not take.", health.held_in_memory),
    ):
        yield core.GaugeMetricFamily(name, text, value=value)
    quality = core.GaugeMetricFamily(
        "tocsin_lead_quality", "0 to 1, as in alerts.", labels=["lead"]
    )
    for lead, value in agent.lead_quality().items():
        quality.add_metric([lead], value)
    yield quality


def _of_delivery(core: Any, health: DeliveryHealth) -> Iterator[Metric]:  # noqa: ANN401
    for name, text, count in (
        ("tocsin_delivered", "Alerts that the broker has acknowledged.", health.delivered),
        ("tocsin_reconnects", "Connections made after a failure.", health.reconnects),
    ):
        yield core.CounterMetricFamily(name, text, value=count)
    for name, text, value in (
        ("tocsin_outbox_pending", "Alerts that wait for the broker.", health.pending),
        ("tocsin_outbox_dropped", "Alerts removed from a full outbox.", health.dropped),
        ("tocsin_outbox_damaged", "Damaged rows that were set aside.", health.damaged),
        ("tocsin_attended", "1 while a live lease says so.", float(health.presence.attended)),
    ):
        yield core.GaugeMetricFamily(name, text, value=value)
    states = core.GaugeMetricFamily("tocsin_broker_state", "1 for the state.", labels=["state"])
    for state in BrokerState:
        states.add_metric([state.value], float(state is health.state))
    yield states


def _counter(
    core: Any,  # noqa: ANN401
    name: str,
    text: str,
    labels: tuple[str, ...],
    counts: dict[Any, int],
) -> Metric:
    family: Metric = core.CounterMetricFamily(name, text, labels=labels)
    for values, count in counts.items():
        family.add_metric([str(value) for value in values], count)  # type: ignore[attr-defined]
    return family


def _delay(core: Any, counts: list[int], sum_s: float) -> Metric:  # noqa: ANN401
    buckets, total = list[tuple[str, int]](), 0
    for most, count in zip([*map(str, DELAYS_S), "+Inf"], counts, strict=True):
        total += count
        buckets.append((most, total))
    text = "From the commit of an alert to the acknowledgement of the broker."
    family: Metric = core.HistogramMetricFamily(
        "tocsin_delivery_delay_seconds", text, buckets=buckets, sum_value=sum_s
    )
    return family
