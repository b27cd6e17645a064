"""Preprocessing in the graph, for tests: a network that answers its input, and images."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import onnx.parser
import onnx_ir as ir
import onnxruntime

from cnntk.exporters.preprocessing import add_preprocessing
from cnntk.runtime.artifact.spec import Preprocessing
from cnntk.runtime.preprocessing.preprocess import preprocess

Run = Callable[[np.ndarray], np.ndarray]


def echo(p: Preprocessing) -> ir.Model:
    """A network that answers its input."""
    shape = (p.channels, p.height, p.width) if p.layout == "NCHW" else (p.height, p.width, p.channels)
    kind = f"float[N, {', '.join(map(str, shape))}]"
    text = (
        '<ir_version: 10, opset_import: ["" : 18]>\n'
        f"echo ({kind} input) => ({kind} answer) {{ answer = Identity (input) }}"
    )
    return ir.from_proto(onnx.parser.parse_model(text))


def open_session(model: ir.Model, optimize: bool = True) -> Any:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    if not optimize:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    data = ir.to_proto(model).SerializeToString()
    return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])


def graph(p: Preprocessing) -> Run:
    """The graph's way; onnxruntime's optimized graph answers the same as the plain one, to the bit."""
    model = echo(p)
    add_preprocessing(model, p)
    onnx.checker.check_model(ir.to_proto(model), full_check=True)
    sessions = [open_session(model, optimize) for optimize in (False, True)]

    def run(batch: np.ndarray) -> np.ndarray:
        plain, optimized = (s.run(None, {"image": batch})[0] for s in sessions)
        np.testing.assert_array_equal(plain, optimized)
        return plain

    return run


def gap(run: Run, batch: np.ndarray, p: Preprocessing) -> float:
    """How far the graph is from the host, in levels, at the worst."""
    outputs, expected = run(batch), preprocess(list(batch), p)
    assert outputs.shape == expected.shape
    assert outputs.dtype == np.float32
    level = p.scale / np.array(p.std).reshape((-1, 1, 1) if p.layout == "NCHW" else (-1,))
    return float((abs(outputs - expected) / level).max())


def dark_and_light(
    rng: np.random.Generator, size: tuple[int, int], channels: int, count: int = 2
) -> np.ndarray:
    """Noise, every other image clearly light: uint8 (count, H, W, C)."""
    noise = rng.integers(0, 256, (count, *size, channels), dtype=np.uint8) >> 1
    noise[1::2] += np.uint8(128)
    return noise
