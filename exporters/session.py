"""A graph in memory, run in onnxruntime as it stands, without a copy of its weights."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnx_ir as ir

from cnntk.exporters.artifact import without_weights
from cnntk.runtime.session.cores import usable_cores
from cnntk.runtime.session.devices import onnxruntime_module

__all__ = ["session_of"]

_LARGE = 1 << 20
"""Bytes from which a weight is handed over in place; smaller ones may be read while shapes are inferred."""


def session_of(model: ir.Model, *, optimize: bool = False, shapes_first: bool = False) -> Any:
    """An onnxruntime session on ``model``, on the CPU; with every optimization off, unless asked for.

    Large weights stay where they are, so ``model`` must outlive the session and keep them unchanged.
    ``shapes_first`` runs each Shape node as soon as it can be, so that no value is kept for it.
    """
    ort = onnxruntime_module()
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = usable_cores()
    if not optimize:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.add_session_config_entry("session.disable_prepacking", "1")  # it copies the weights
    if shapes_first:
        options.execution_order = ort.ExecutionOrder.PRIORITY_BASED
    frame = without_weights(model)
    lent = {}
    for name, value in model.graph.initializers.items():
        weight = value.const_value
        if weight is None:
            continue
        if weight.nbytes >= _LARGE and weight.dtype is ir.DataType.FLOAT:
            lent[name] = ort.OrtValue.ortvalue_from_numpy(np.ascontiguousarray(weight.numpy()))
            frame.graph.initializer.append(_elsewhere(name, weight))
        else:
            tensor = ir.to_proto(weight)
            tensor.name = name
            frame.graph.initializer.append(tensor)
    options.add_external_initializers(list(lent), list(lent.values()))
    session = ort.InferenceSession(frame.SerializeToString(), options, providers=["CPUExecutionProvider"])
    session.lent = lent  # as long as the session lives
    return session


def _elsewhere(name: str, weight: ir.TensorProtocol) -> onnx.TensorProto:
    """A weight whose numbers are not in the model; the place that is named is never looked at."""
    tensor = onnx.TensorProto(name=name, data_type=int(weight.dtype), dims=weight.numpy().shape)
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="lent")
    return tensor
