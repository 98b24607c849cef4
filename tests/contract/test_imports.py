"""What a process loads, and what each folder offers: the parts of the import rules that need a run.

The rules between folders are in `pyproject.toml`, checked by import-linter.
"""

from __future__ import annotations

import os
import pkgutil
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

HEAVY = {"numpy", "onnxruntime", "paho", "sqlite3", "scipy", "wfdb"}

NOT_ON_A_GATEWAY = {
    *("tocsin_agent.lab", "tocsin_agent.team", "tocsin_training"),
    *("wfdb", "neurokit2", "scipy", "pandas", "sklearn", "matplotlib", "torch", "onnx"),
    *("sleepecg", "iotcore", "distributed", "serial", "bleak", "pylsl", "cryptography", "tqdm"),
    *("edfio", "fhir", "fsspec", "hl7", "markdown_it", "pyarrow", "pydicom", "textual"),
    *("difflib", "importlib.resources", "shutil", "urllib.request"),  # 40 ms and 3 MB
}
"""What `tocsin run` of a source without an extra loads nothing of."""

FOLDERS = {
    "tocsin_agent": (
        "cli config delivery drawing durable_file errors extras identity lab log_fields messages "
        "monitor mqtt regular_file retry runtime signing sources team updates wall_clock"
    ),
    "tocsin_agent.cli": (
        "ack audit bench board card common config console context demo ec57 evaluate export fetch "
        "health identity inspect key link model noise_stress pool presence replay review run "
        "setup strip trend update watch waves"
    ),
    "tocsin_agent.config": "config environment page several structdoc",
    "tocsin_agent.delivery": (
        "answer_store answering audit broker_status brokers committer database desk echo "
        "escalation faults held in_flight inbox memory outbox packet presence publisher receipts "
        "refusals rows salvage sender session settings store trends"
    ),
    "tocsin_agent.drawing": "markup paper picture shapes svg",
    "tocsin_agent.identity": "certificates desk enrolment online renewal store tokens",
    "tocsin_agent.lab": (
        "alarm_page annotate bench bench_delivery bench_devices bench_files bench_growth "
        "bench_instructions bench_patients bench_peers bench_recordings bench_workload card "
        "device_check ec57 evaluate excerpt_file fetch local_broker patients pool review studies"
    ),
    "tocsin_agent.lab.ec57": (
        "annotations beat_tables beats episodes folders measurements noise period reading report "
        "runs statistics"
    ),
    "tocsin_agent.lab.evaluate": (
        "alarm_rates alarm_scoring challenge challenge2017 databases ec13 evaluation excerpts "
        "fleet judge normal_rhythm objects report stress vf_seconds waves"
    ),
    "tocsin_agent.lab.evaluate.ec13": "clauses meter suite waveforms",
    "tocsin_agent.lab.evaluate.report": "markup page paper plots style tables words",
    "tocsin_agent.lab.pool": ("anonymity checking consent gather items ledger pseudonyms release"),
    "tocsin_agent.lab.review": (
        "agreement annotation_set cases folder hindsight inputs page settling"
    ),
    "tocsin_agent.lab.studies": ("detector further processors quality record starts trust wiring"),
    "tocsin_agent.messages": (
        "acknowledgement active additions alert context health home_assistant identity info lease "
        "printable reading receipt response review schema status topics trend waveform"
    ),
    "tocsin_agent.monitor": (
        "alarms labels patient rate_only report rhythm settings technical timeline trend_rules "
        "trends"
    ),
    "tocsin_agent.monitor.alarms": "context episodes event reasons table verification",
    "tocsin_agent.monitor.labels": "classifiers corrections half_minutes labeller tachycardia",
    "tocsin_agent.monitor.rhythm": (
        "accelerated atrial electrodes family fibrillation finding history irregular limits "
        "r_on_t rate rhythm silence stillness supraventricular ventricular verdicts"
    ),
    "tocsin_agent.mqtt": "advice client connection embedded events library password settings",
    "tocsin_agent.runtime": (
        "agent agent_update assembly beds changes clock context continuity corrections document "
        "gateway inquiry launch local_server logs metrics preflight reload renewal shadow source "
        "stream supervision tap trial turns waveform"
    ),
    "tocsin_agent.signing": "envelope guard keyring keys replays settings",
    "tocsin_agent.sources": (
        "base devices files likeness opening pacing plausibility queued scripted settings wiring"
    ),
    "tocsin_agent.sources.devices": (
        "ble grid heart_rate link_source live lsl opening polar protocol wires"
    ),
    "tocsin_agent.sources.devices.protocol": (
        "assembler conditions frames ordering packets samples session statistics timing"
    ),
    "tocsin_agent.sources.devices.wires": "base mqtt serial tcp udp",
    "tocsin_agent.sources.files": (
        "aecg array dicom edf excerpt formats guard mat parquet record_folders selection "
        "signal_names table table_columns table_exports table_head table_options table_source "
        "time_column wfdb_header wfdb_record"
    ),
    "tocsin_agent.sources.scripted": "script synthetic",
    "tocsin_agent.team": (
        "answers board console context export feed language origin presence_client receiver shown "
        "strip terminal trace trends"
    ),
    "tocsin_agent.team.board": "screen table ward",
    "tocsin_agent.team.console": (
        "actions app export headers hub link pages people picture protocol push reviewing serve "
        "sessions settings store wording"
    ),
    "tocsin_agent.team.export": (
        "answer bridge codes dicom edf fhir fhir_check fhir_r6 fhir_server files hl7v2 mllp queue "
        "table trace transport wfdb"
    ),
    "tocsin_agent.updates": (
        "bundle comparison field files manifest probation releases settings signature slot_state "
        "slots store"
    ),
    "tocsin_models": "engine errors labels onnx_file runner",
    "tocsin_dsp": (
        "arrays beats conditioning detection errors exact fir leads limits rhythms signal"
    ),
    "tocsin_dsp.beats": "beats delineation rr waves",
    "tocsin_dsp.conditioning": "condition pulses quality resample",
    "tocsin_dsp.detection": "candidates maxima path qrs shapes support",
    "tocsin_dsp.leads": "choice fusion leads trust",
    "tocsin_dsp.rhythms": "evidence fibrillation irregularity",
}
"""The public modules of each folder. A name that begins with `_` is private to its folder."""

FACES = {
    "tocsin_agent.lab.evaluate": "Selection evaluate select",
    "tocsin_agent.lab.evaluate.ec13": "Outcome as_result as_table run_suite",
    "tocsin_agent.lab.evaluate.report": "FILE_NAME StripOf StripSource write_report",
    "tocsin_agent.monitor": "ALARMS Alarm AlertEvent LabelledBeat Limits PatientMonitor Report",
    "tocsin_models": (
        "AF AF_LABELS ALARMS ALARM_LABELS BEATS CONTRACTS Contract LABELS Model Models VF "
        "VF_LABELS check_answers load_model load_models"
    ),
}
"""The names that a folder offers itself, beside its modules."""

_RUN = """
import atexit, sys
from pathlib import Path
atexit.register(lambda: Path(sys.argv[1]).write_text("\\n".join(sys.modules)))
from tocsin_agent.cli import cli
cli.main(sys.argv[2:])
"""

CONFIG = """
site = "ward3"
device = "bed7"
[source]
uri = "synthetic:sinus"
speed = "max"
[mqtt]
host = "127.0.0.1"
port = 9
[outbox]
path = "outbox.db"
"""


def loaded(folder: Path, *args: str, code: int = 0) -> set[str]:
    """Return the modules that a process of `tocsin` has loaded at its end."""
    listed = folder / "modules"
    command = [sys.executable, "-c", _RUN, str(listed), *args]
    ended = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=120, check=False
    )
    assert ended.returncode == code, ended.stderr
    return set(listed.read_text().splitlines())


def belonging(modules: set[str], packages: set[str]) -> set[str]:
    """Return the modules that are one of some packages, or in one."""
    return {name for name in modules if any(f"{name}.".startswith(f"{p}.") for p in packages)}


@pytest.fixture
def config(tmp_path: Path) -> Path:
    file = tmp_path / "tocsin.toml"
    file.write_text(CONFIG, encoding="utf-8")
    return file


def folders(name: str) -> dict[str, str]:
    """Return the public modules of a package and of those below it."""
    (place,) = import_module(name).__path__
    modules = [module for module in pkgutil.iter_modules([place]) if module.name[0] != "_"]
    found = {name: " ".join(module.name for module in modules)}
    for module in modules:
        if module.ispkg:
            found |= folders(f"{name}.{module.name}")
    return found


@pytest.mark.parametrize("package", ["tocsin_agent", "tocsin_models", "tocsin_dsp"])
def test_each_folder_has_its_public_modules(package: str) -> None:
    expected = {
        name: modules for name, modules in FOLDERS.items() if f"{name}.".startswith(f"{package}.")
    }
    assert folders(package) == expected


@pytest.mark.parametrize("name", FOLDERS)
def test_each_folder_offers_its_public_names(name: str) -> None:
    offered = getattr(import_module(name), "__all__", [])
    assert sorted(offered) == sorted(FACES.get(name, "").split())


def test_the_package_alone_loads_nothing_heavy() -> None:
    program = "import sys, tocsin_agent; print('\\n'.join(sys.modules))"
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=300, check=True
    )
    assert belonging(set(ended.stdout.splitlines()), HEAVY) == set()


@pytest.mark.parametrize("options", [(), ("--file-only",)])
@pytest.mark.parametrize(("text", "code"), [(CONFIG, 0), (CONFIG + "[log]\nlevl = 1\n", 3)])
def test_config_check_loads_no_model_broker_or_database(
    tmp_path: Path, config: Path, text: str, code: int, options: tuple[str, ...]
) -> None:
    config.write_text(text, encoding="utf-8")
    modules = loaded(tmp_path, "config", "check", *options, str(config), code=code)
    assert belonging(modules, HEAVY - {"numpy"}) == set()


def test_run_loads_nothing_that_a_gateway_does_not_need(tmp_path: Path, config: Path) -> None:
    modules = loaded(tmp_path, "run", "--config", str(config))
    assert {"tocsin_agent.delivery.publisher", "tocsin_agent.monitor.patient"} <= modules
    assert belonging(modules, NOT_ON_A_GATEWAY) == set()


def test_config_check_needs_no_home_and_no_environment(tmp_path: Path, config: Path) -> None:
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": os.environ.get("PYTHONPATH", "")}
    command = [sys.executable, "-m", "tocsin_agent", "config", "check", str(config)]
    subprocess.run(command, cwd=tmp_path, env=environment, timeout=300, check=True)
