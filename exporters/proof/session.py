"""A graph in memory, run in onnxruntime."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import onnx_ir as ir

from cnntk.exporters.artifact import write_graph
from cnntk.runtime.devices import onnxruntime_module

__all__ = ["session_of"]


def session_of(model: ir.Model, *, optimise: bool = False) -> Any:
    """An onnxruntime session on ``model``, on the CPU; with every optimisation off, unless asked for."""
    ort = onnxruntime_module()
    options = ort.SessionOptions()
    options.log_severity_level = 4
    if not optimise:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "graph.onnx"
        write_graph(model, file)
        return ort.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
