"""Quantisation: seven bits make the answers equal on every processor."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tocsin_models import VF, load_model

if find_spec("torch") is None or find_spec("onnx") is None:
    if os.environ.get("TOCSIN_REQUIRE_TOOLS") == "1":
        pytest.fail("torch or onnx is missing: pip install -e '.[train]'", pytrace=False)
    pytest.skip("torch or onnx is missing: pip install -e '.[train]'", allow_module_level=True)

SEVEN_BITS = 64
OVERFLOWS = 1 << 15


def largest_weights(path: Path) -> list[int]:
    """Return the largest weight of each array of bytes in a model file."""
    import onnx

    arrays: list[Any] = [onnx.numpy_helper.to_array(i) for i in onnx.load(path).graph.initializer]
    return [int(np.abs(a.astype(int)).max()) for a in arrays if a.dtype == np.int8 and a.ndim > 1]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of the exporter itself
@pytest.mark.parametrize(("narrow", "most"), [(True, SEVEN_BITS), (False, 127)])
def test_weights_have_seven_bits_where_narrow(tmp_path: Path, narrow: bool, most: int) -> None:
    import torch
    from torch import nn

    from tocsin_training.exporting import export

    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv1d(1, 8, 5), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 28, 2))
    given = {"x": np.random.default_rng(0).standard_normal((300, 1, 32)).astype(np.float32)}
    _, quantised = export(net, "some", given, tmp_path, narrow=narrow)
    assert largest_weights(quantised) == [most, most]
    assert (2 * most * 255 < OVERFLOWS) is narrow


def test_no_product_of_the_fibrillation_model_can_overflow() -> None:
    model = load_model(VF)
    file = Path(__file__).parents[2] / "models" / "tocsin_models" / f"{model.name}.onnx"
    assert max(largest_weights(file)) <= SEVEN_BITS
