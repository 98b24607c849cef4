from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from msgspec import structs

from tocsin_agent.cli.link import check
from tocsin_agent.errors import SourceError, SourceFault
from tocsin_agent.sources.files.array import ArraySource
from tocsin_agent.sources.files.excerpt import ExcerptSource
from tocsin_agent.sources.files.table import CsvSource
from tocsin_agent.sources.files.table_options import TableOptions
from tocsin_agent.sources.opening import KINDS, describe_kinds, kind_of, open_source
from tocsin_agent.sources.pacing import PacedSource
from tocsin_agent.sources.scripted.synthetic import SyntheticSource
from tocsin_agent.sources.settings import SourceSettings


def test_each_name_opens_its_kind(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("II\n0\n")
    np.save(tmp_path / "a.npy", np.zeros(3))
    assert type(open_source("excerpt")) is ExcerptSource
    assert type(open_source("synthetic")) is SyntheticSource
    assert type(open_source("synthetic:sinus")) is SyntheticSource
    assert type(open_source(str(tmp_path / "a.csv"))) is CsvSource
    assert type(open_source(str(tmp_path / "a.npy"))) is ArraySource


def test_a_device_is_live_and_never_paced() -> None:
    for uri in ("serial:/dev/ttyX?baud=921600", "tcp://127.0.0.1:9000", "udp://:9000"):
        assert not open_source(uri, speed=1.0).finite
    assert open_source("kept.link").finite


def test_a_scheme_outweighs_a_suffix() -> None:
    assert kind_of("lsl:amplifier.csv").names == ("lsl",)
    assert kind_of("mqtts://host/topic?ca=ca.toml").names == ("mqtts",)
    assert kind_of("ward/1.csv").names[0] == ".csv"
    assert kind_of("mitdb/208").names == ()


def test_no_name_is_of_two_kinds() -> None:
    names = [name for kind in KINDS for name in kind.names]
    assert len(names) == len(set(names))


def test_configuration_commands_and_errors_print_the_same_table() -> None:
    described = describe_kinds()
    configured = {field.name: field.type for field in structs.fields(SourceSettings)}["uri"]
    for kind in KINDS:
        assert kind.help in described
        for form in kind.forms:
            assert form in described
            assert f"`{form}`" in str(configured)
            assert (form in (check.params[0].help or "")) is kind.speaks_link_protocol


def test_the_table_is_light() -> None:
    code = "import sys, tocsin_agent.sources.settings; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    assert "tocsin_agent.sources.opening" in loaded
    assert not {"numpy", "paho", "onnxruntime", "asyncio", "wfdb", "serial"} & set(loaded)


def test_a_speed_paces_and_none_does_not() -> None:
    paced = open_source("excerpt", speed=10.0)
    assert isinstance(paced, PacedSource)
    assert paced.speed == 10.0


@pytest.mark.parametrize("uri", ["ftp://127.0.0.1:9000", "what", "no/such.dat"])
def test_the_error_for_an_unknown_name_lists_the_kinds(uri: str) -> None:
    with pytest.raises(SourceError, match="a source is one of") as caught:
        open_source(uri)
    assert caught.value.reason is SourceFault.NOT_FOUND
    for kind in (
        "excerpt",
        "synthetic:NAME",
        "FILE.toml",
        "FILE.csv",
        "mitdb/208",
        "serial:",
        "tcp://",
        "udp://",
    ):
        assert kind in str(caught.value)


def test_leads_are_never_ignored(tmp_path: Path) -> None:
    with open_source("synthetic:sinus", leads=["V5", "aVF"]) as source:
        assert source.spec.leads == ("V5", "aVF")
    with pytest.raises(SourceError, match="one lead, MLII"):
        open_source("excerpt", leads=["V1"])
    assert open_source("excerpt", leads=["MLII"])
    (tmp_path / "a.csv").write_text("II,V1\n0,1\n")
    options = TableOptions(rate_hz=250, leads=("II",))
    with open_source(str(tmp_path / "a.csv"), table=options, leads=["V1"]) as source:
        assert source.spec.leads == ("V1",)
    with open_source(str(tmp_path / "a.csv"), table=options) as source:
        assert source.spec.leads == ("II",)


@pytest.mark.parametrize("block_s", [0.0, -1.0, float("nan")])
def test_blocks_must_have_a_length(block_s: float) -> None:
    with pytest.raises(ValueError, match="block_s"):
        open_source("excerpt", block_s=block_s)
