"""`tocsin replay`: the beats and alerts of recordings."""

from __future__ import annotations

import logging
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tocsin_agent.cli import ExitCode
from tocsin_agent.cli._broker_options import broker_options, settings_from
from tocsin_agent.cli._record_log import RecordLog, as_text

if TYPE_CHECKING:
    from tocsin_agent.config.config import Config
    from tocsin_agent.delivery.publisher import Publisher
    from tocsin_agent.runtime.assembly import Assembly, Store
    from tocsin_agent.sources.settings import SourceSettings
    from tocsin_agent.updates.field import FieldModels

_BLOCK_AT_ONCE_S = 30.0  # results do not depend on it; large blocks are faster
_BLOCK_PACED_S = 0.25
_DELIVERY_TIMEOUT_S = 30.0


class Speed(click.ParamType["float | None"]):
    """A positive number, or `max`."""

    name = "number|max"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> float | None:
        """Return the factor; None for as fast as possible."""
        if value == "max":
            return None
        try:
            speed = float(str(value).removesuffix("x"))
        except ValueError:
            speed = 0.0
        if not 0 < speed < float("inf"):
            self.fail(
                f"{value!r}: a number above 0, such as 1 or 10, or `max` expected", param, ctx
            )
        return speed


@click.command()
@click.argument("uris", nargs=-1, required=True, metavar="URI...")
@click.option(
    "--speed",
    type=Speed(),
    default="max",
    show_default=True,
    help="Factor of real time, or max: as fast as possible.",
)
@click.option("--leads", help="Names of the leads to use, separated by commas.")
@click.option("--rate-hz", type=float, help="Samples per second; takes precedence over a table.")
@click.option("--unit", default="mV", show_default=True, help="mV, uV, V or counts.")
@click.option("--gain", type=float, help="Counts in a millivolt, with --unit counts.")
@click.option("--baseline", type=float, default=0.0, help="The count that stands for 0 mV.")
@click.option(
    "--block-s",
    type=click.FloatRange(0.001, 3600),
    help="Seconds of ECG in a block; results do not depend on it.",
)
@click.option(
    "--config",
    "config_file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Use the limits, the model and the names of this configuration.",
)
@click.option("--site", default="replay", show_default=True, help="Site in topics and alerts.")
@click.option("--device", default="replay", show_default=True, help="Device in topics and alerts.")
@click.option(
    "--outbox",
    "outbox_path",
    type=click.Path(path_type=Path),
    help="Commit alerts to this outbox; known ones are not sent again.  [default: temporary]",
)
@click.option(
    "--annotate", metavar="EXT", help="Write beats and rhythms as WFDB annotation files .EXT."
)
@click.option(
    "--annotate-dir",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path(),
    help="Folder of the annotation files.  [default: the working directory]",
)
@click.option("--quiet", is_flag=True, help="Print only the summary.")
@click.option(
    "--json", "as_json", is_flag=True, help="Print alerts and summary as JSON, one a line."
)
@broker_options
def command(uris: tuple[str, ...], **options: Any) -> int:  # noqa: ANN401
    """Monitor recordings and show their alerts.

    URI is `mitdb/208` or the path of a WFDB record, `excerpt`, `synthetic:NAME`, or a file of
    samples: CSV, NumPy, Parquet, MATLAB, EDF, DICOM, HL7 aECG (docs/sources.md). With --broker,
    alerts are committed and published as by `tocsin run`. Times are those of the recording.

    \b
    tocsin replay excerpt
    tocsin replay mitdb/208 mitdb/213 --quiet
    tocsin replay mitdb/208 --annotate toc --annotate-dir out     then: bxb -r 208 -a atr toc
    tocsin replay synthetic --speed 10 --broker localhost:1883
    tocsin replay ward.csv --rate-hz 250 --unit uV --json
    """  # noqa: D301 - \b keeps click from joining the lines
    return _Replay(options).run(uris)


class _Replay:
    """One invocation: its options, its configuration, and the summaries of its records."""

    def __init__(self, options: dict[str, Any]) -> None:
        wants_broker = any(options[name] is not None for name in ("broker", "host", "port"))
        if options["broker"] == "none":
            options["broker"], wants_broker = None, False
        self.options = options
        self.mqtt = settings_from(options) if wants_broker else None
        self.config = self._config()
        self.records: list[dict[str, object]] = []
        self.failed = 0

    def _config(self) -> Config:
        """Return the configuration of the agent: names, limits and models, from a file if given."""
        import msgspec

        from tocsin_agent.config.config import Config, load_config
        from tocsin_agent.sources.settings import SourceSettings

        file: Path | None = self.options["config_file"]
        try:
            config = Config(
                site=self.options["site"],
                device=self.options["device"],
                source=SourceSettings(uri="excerpt"),
            )
        except ValueError as error:
            raise click.UsageError(str(error)) from error
        if file is not None:
            given = load_config(file)
            names = ("site", "device", "patient", "location", "limits", "model")
            config = msgspec.structs.replace(
                config, **{name: getattr(given, name) for name in names}
            )
        return config if self.mqtt is None else msgspec.structs.replace(config, mqtt=self.mqtt)

    def _source(self, uri: str) -> SourceSettings:
        """Return the settings of one record."""
        from tocsin_agent.sources.settings import SourceSettings

        options, leads = self.options, self.options["leads"]
        speed = options["speed"]
        try:
            return SourceSettings(
                uri=uri,
                rate_hz=options["rate_hz"],
                unit=options["unit"],
                gain=options["gain"],
                baseline=options["baseline"],
                leads=tuple(name.strip() for name in leads.split(",")) if leads else (),
                block_s=options["block_s"]
                or (_BLOCK_AT_ONCE_S if speed is None else _BLOCK_PACED_S),
                speed=speed or "max",
            )
        except ValueError as error:
            raise click.UsageError(str(error)) from error

    def _check_annotations(self, uris: tuple[str, ...]) -> None:
        """Refuse annotation files that could not be written, before hours of replay."""
        names = [_record_name(uri) for uri in uris]
        for name in names:
            if names.count(name) > 1:
                raise click.UsageError(
                    f"several records would be annotated as {name}: replay them one by one, each "
                    "with an --annotate-dir of its own"
                )
        directory: Path = self.options["annotate_dir"]
        try:
            directory.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise click.UsageError(f"--annotate-dir {directory}: {error.strerror}") from error
        for name in names:
            reference = directory / f"{name}.{self.options['annotate']}"
            if self.options["annotate"] == "atr" and reference.exists():
                raise click.UsageError(f"{reference} is a reference: choose another EXT")

    def run(self, uris: tuple[str, ...]) -> int:
        from tocsin_agent.errors import SourceError
        from tocsin_agent.runtime.assembly import Assembly
        from tocsin_agent.updates.field import FieldModels
        from tocsin_dsp.errors import SignalError
        from tocsin_models import load_models

        if self.options["annotate"]:
            self._check_annotations(uris)
        path = self.config.model.path
        models = load_models(Path(path) if path else None)
        with ExitStack() as stack:
            store = self._store(stack)
            assembly = stack.enter_context(
                Assembly(self.config, FieldModels(models), store, publish=self.mqtt is not None)
            )
            for uri in uris:
                try:
                    self._one(uri, assembly, FieldModels(models))
                except (SourceError, SignalError) as error:
                    # The alerts raised before the fault, and those of other records, are delivered.
                    self.failed += 1
                    click.echo(f"tocsin: {uri}: {error}", err=True)
            delivery = self._deliver(assembly.publisher)
        self._sum_up(delivery)
        return ExitCode.SOURCE if self.failed else ExitCode.OK

    def _store(self, stack: ExitStack) -> Store:
        """Return where alerts are committed: memory, unless a broker or a path is given."""
        import tempfile

        from tocsin_agent.delivery.memory import MemoryStore
        from tocsin_agent.delivery.outbox import Outbox

        path: Path | None = self.options["outbox_path"]
        if self.mqtt is None and path is None:
            return MemoryStore()

        if path is None:
            path = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tocsin-")))
        return stack.enter_context(Outbox(path))

    def _one(self, uri: str, assembly: Assembly, models: FieldModels) -> None:
        """Replay one record and print what was found."""
        import threading

        from tocsin_agent.errors import SourceError
        from tocsin_dsp.errors import SignalError

        self._warn(uri)
        record = RecordLog(uri, self.options["as_json"], show=not self.options["quiet"])
        agent = assembly.agent(self._source(uri), models=models, on_report=record.note)
        try:
            agent.run(threading.Event())
        except (SourceError, SignalError) as error:
            if record.begun:
                self._conclude(record, str(error))
            raise
        finally:
            record.clear_progress()
        self._conclude(record)

    def _warn(self, uri: str) -> None:
        """Name what no ECG has in the first 10 s of a file, such as a wrong unit."""
        import msgspec

        from tocsin_agent.runtime.source import build_source
        from tocsin_agent.sources.opening import kind_of
        from tocsin_agent.sources.plausibility import first_seconds, suspicions

        if not any(name.startswith(".") and name != ".toml" for name in kind_of(uri).names):
            return  # a record states its unit; what is scripted is right
        settings = msgspec.structs.replace(self._source(uri), speed="max")
        with _quiet_sources(), build_source(settings) as source:
            if not source.finite:
                return
            for found in suspicions(source.spec, first_seconds(source)):
                if found.code == "implausible_signal":
                    click.echo(f"{uri}: implausible_signal: {found.lead}: {found.text}", err=True)

    def _conclude(self, record: RecordLog, fault: str | None = None) -> None:
        summary = record.summary()
        if fault is not None:
            summary["fault"] = fault
        if self.options["annotate"]:
            summary["annotations"] = str(self._annotate(record))
        self.records.append(summary)
        if not self.options["as_json"]:
            click.echo(as_text(summary))
            if "annotations" in summary:
                click.echo(f"  annotated in {summary['annotations']}")

    def _annotate(self, record: RecordLog) -> Path:
        from tocsin_agent.lab.annotate import rhythm_from_alerts, write_annotations

        return write_annotations(
            _record_name(record.uri),
            self.options["annotate_dir"],
            self.options["annotate"],
            record.beats,
            rate_hz=record.rate_hz,
            rhythm=rhythm_from_alerts(record.alerts),
        )

    def _deliver(self, publisher: Publisher | None) -> dict[str, object] | None:
        if publisher is None:
            return None
        from tocsin_agent.errors import DeliveryError, DeliveryFault

        if not publisher.drained(_DELIVERY_TIMEOUT_S):
            health = publisher.health()
            where = f"--outbox {self.options['outbox_path']}"
            kept = f"they are kept in {where}" if self.options["outbox_path"] else "they are lost"
            raise DeliveryError(
                DeliveryFault.BROKER_UNREACHABLE,
                f"{health.pending} alerts could not be delivered ({health.last_error}); {kept}",
            )
        return {"delivered": publisher.health().delivered}

    def _sum_up(self, delivery: dict[str, object] | None) -> None:
        if self.options["as_json"]:
            import msgspec

            summary: dict[str, object] = {"schema": "tocsin/replay/v1", "records": self.records}
            click.echo(msgspec.json.encode(summary | {"delivery": delivery}))
        elif delivery is not None:
            click.echo(f"delivered to the broker: {delivery['delivered']} messages")


@contextmanager
def _quiet_sources() -> Generator[None]:
    """Suppress the warnings of a source that is opened only to look at it."""
    logger = logging.getLogger("tocsin_agent.sources")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)


def _record_name(uri: str) -> str:
    """Return the name of a source's annotation file: no folder, no suffix, no colon."""
    return uri.replace(":", "_") if uri.startswith("synthetic") else Path(uri).stem
