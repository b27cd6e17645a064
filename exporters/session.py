"""A graph in memory, run by onnxruntime node by node as it is, without a copy of its weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
from numpy.typing import NDArray

from cnntk.exporters.artifact import without_weights
from cnntk.runtime.batch_split import fixed_batch, pad_batch
from cnntk.runtime.errors import InferenceError
from cnntk.runtime.session.cores import usable_cores
from cnntk.runtime.session.devices import import_onnxruntime
from cnntk.runtime.session.session_factory import onnxruntime_errors, tensor_specs

__all__ = ["Arrays", "GraphSession", "extract_model", "inner_nodes", "inner_shapes"]

Arrays = dict[str, NDArray[Any]]

_SHARED_BYTES = 1 << 20
"""Size from which a weight is shared with onnxruntime; smaller ones may be read by its shape inference."""


class GraphSession:
    """Runs a graph, or a part of it, in onnxruntime on the CPU.

    Large weights are shared, not copied: they must not change while the session is in use.

    Args:
        model: Graph to run; it is not changed.
        outputs: Names of the values to compute, inner ones too; by default the graph's outputs.
        optimize: Let onnxruntime rewrite the graph. By default each node runs as it is.
        early_shapes: Run each Shape node as soon as its input exists, so that no value is held for it.

    Attributes:
        names: Names of the values that `run` returns.
        inputs: Names, types and shapes of the graph's inputs.
        fixed_batch: The only batch size that the graph takes; None where it takes any.

    Raises:
        InferenceError: onnxruntime does not accept the graph.
    """

    def __init__(
        self,
        model: ir.Model,
        outputs: Sequence[str] | None = None,
        *,
        optimize: bool = False,
        early_shapes: bool = False,
    ) -> None:
        copy = model.clone()
        if outputs is not None:
            values = {v.name: v for node in copy.graph for v in node.outputs}
            values |= {v.name: v for v in copy.graph.inputs}
            copy.graph.outputs[:] = [values[name] for name in outputs]
        proto, shared = _with_shared_weights(copy)
        self._shared = shared  # onnxruntime does not keep them alive
        ort = import_onnxruntime()
        options = ort.SessionOptions()
        options.log_severity_level = 4
        options.intra_op_num_threads = usable_cores()
        if not optimize:
            options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
            options.add_session_config_entry("session.disable_prepacking", "1")  # it copies the weights
        if early_shapes:
            options.execution_order = ort.ExecutionOrder.PRIORITY_BASED
        options.add_external_initializers(list(shared), list(shared.values()))
        providers = ["CPUExecutionProvider"]
        try:
            self._session = ort.InferenceSession(proto.SerializeToString(), options, providers=providers)
        except onnxruntime_errors() as error:
            raise InferenceError(f"onnxruntime can't run the graph: {_one_line(error)}") from error
        self.names: list[str] = [o.name for o in self._session.get_outputs()]
        self.inputs = tensor_specs(self._session.get_inputs())
        self.fixed_batch = fixed_batch(self.inputs)

    def run(self, inputs: Mapping[str, NDArray[Any]]) -> Arrays:
        """Computes the outputs, by name.

        Args:
            inputs: Arrays by name; names that the graph does not have are ignored. Other batch sizes than a
                fixed one are run in several batches, the last padded with its last image; outputs that do
                not follow the batch are those of the first.

        Raises:
            InferenceError: onnxruntime failed.
        """
        arrays = {spec.name: inputs[spec.name] for spec in self.inputs if spec.name in inputs}
        counts, size = {len(array) for array in arrays.values() if array.ndim}, self.fixed_batch
        if size is None or len(counts) != 1 or counts == {size}:
            return self._run(arrays)
        count = counts.pop()
        batches = (
            {name: array[start : start + size] for name, array in arrays.items()}
            for start in range(0, count, size)
        )
        outputs = [self._run(pad_batch(batch, size)) for batch in batches]
        return {
            name: np.concatenate([each[name] for each in outputs])[:count]
            if value.shape[:1] == (size,)
            else value
            for name, value in outputs[0].items()
        }

    def _run(self, arrays: Arrays) -> Arrays:
        try:
            return dict(zip(self.names, self._session.run(self.names, arrays), strict=True))
        except onnxruntime_errors() as error:
            raise InferenceError(f"onnxruntime failed in the graph: {_one_line(error)}") from error


def extract_model(model: ir.Model, start: str, *ends: str) -> ir.Model:
    """The nodes from the value ``start`` to the values ``ends`` as a model."""
    graph = ir.convenience.extract(model.graph, [start], ends)
    graph.opset_imports.update(model.graph.opset_imports)
    return ir.Model(graph, ir_version=model.ir_version, functions=list(model.functions.values()))


def inner_nodes(model: ir.Model) -> dict[str, ir.Node]:
    """Nodes by the name of their output, in topological order, for each output that is used and has a type.

    ``GraphSession(model, list(inner_nodes(model)))`` computes all of these values.
    """
    outputs = set(model.graph.outputs)
    values = (v for node in model.graph for v in node.outputs if v.name and v.type is not None)
    return {str(v.name): node for v in values if v.uses() or v in outputs if (node := v.producer())}


def inner_shapes(model: ir.Model, batches: Mapping[int, Arrays]) -> dict[int, dict[str, tuple[int, ...]]]:
    """Shape of each input and inner value by name, as onnxruntime computes it, for each batch size.

    No value is held longer than the graph itself needs it.

    Args:
        model: Graph to run; it is not changed.
        batches: Inputs by batch size.
    """
    measured = model.clone()
    names = inner_nodes(measured)
    values = [v for node in measured.graph for v in node.outputs if v.name in names]
    values.extend(measured.graph.inputs)
    nodes = [ir.node("Shape", [v]) for v in values]
    for i, node in enumerate(nodes):
        node.outputs[0].name = f"shape of {i}"
        node.outputs[0].type = ir.TensorType(ir.DataType.INT64)
    measured.graph.extend(nodes)
    measured.graph.outputs[:] = [node.outputs[0] for node in nodes]
    session = GraphSession(measured, early_shapes=True)
    results = {size: session.run(inputs).values() for size, inputs in batches.items()}
    return {
        size: {str(v.name): tuple(shape.tolist()) for v, shape in zip(values, shapes, strict=True)}
        for size, shapes in results.items()
    }


def _with_shared_weights(model: ir.Model) -> tuple[onnx.ModelProto, dict[str, Any]]:
    """The model as protobuf without its large weights, and those as onnxruntime's own arrays by name."""
    proto, shared = without_weights(model), {}
    ort = import_onnxruntime()
    for name, value in model.graph.initializers.items():
        weight = value.const_value
        if weight is None:
            continue
        if weight.nbytes >= _SHARED_BYTES and weight.dtype is ir.DataType.FLOAT:
            shared[name] = ort.OrtValue.ortvalue_from_numpy(np.ascontiguousarray(weight.numpy()))
            tensor = onnx.TensorProto(name=name, data_type=int(weight.dtype), dims=weight.numpy().shape)
            tensor.data_location = onnx.TensorProto.EXTERNAL
            tensor.external_data.add(key="location", value="shared")  # required by the format, never opened
        else:
            # A tensor outside of the file could only be found from the file's own folder.
            inline = ir.Tensor(weight.numpy()) if isinstance(weight, ir.ExternalTensor) else weight
            tensor = ir.to_proto(inline)
            tensor.name = name
        proto.graph.initializer.append(tensor)
    return proto, shared


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
