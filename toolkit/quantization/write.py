"""`write_quantized`: makes a quantized graph an artifact that records how it was created."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.numpy_helper
import onnx_ir as ir

from cnntk.exporters.artifact import append_spec, values_text, write_hashed
from cnntk.exporters.checks.limits import FACTOR, FLOOR, SOFTMAX_ERROR, round_up
from cnntk.exporters.external_data import staged_artifact
from cnntk.exporters.passes.graph import constant, producer_of
from cnntk.exporters.session import Arrays, GraphSession
from cnntk.quantization._weight_check import check_quantized_weights
from cnntk.quantization.candidates import Equalized, Original
from cnntk.quantization.config import QuantConfig, groups_of
from cnntk.quantization.integer_layers import WEIGHTS_AND_SCALES, integer_layer
from cnntk.quantization.options import Format, Target
from cnntk.quantization.quantizer import INT8_PRODUCTS
from cnntk.quantization.weights import can_saturate
from cnntk.runtime.artifact.canonical import canonical_inputs
from cnntk.runtime.artifact.spec import Layer, ModelSpec, SelfTest, SelfTestCase
from cnntk.runtime.codec import as_json
from cnntk.runtime.engine import Engine
from cnntk.runtime.errors import ExportCheckError, ParityError, UnsupportedArtifact
from cnntk.runtime.files import scratch_folder
from cnntk.runtime.sections import first_names
from cnntk.runtime.session.devices import import_onnxruntime

__all__ = ["OPERATORS", "PORTABLE_TO", "QuantizedFile", "write_quantized"]

PORTABLE_TO: dict[Target, str] = {
    "any": "every CPU: no 16-bit sum of two products can saturate",
    "vnni": "CPUs that add four products in 32 bits (AVX-512 VNNI, AVX-VNNI, ARM dot products, AMX); "
    "on others 16-bit sums can saturate, and outputs differ",
}
"""CPUs that compute the same outputs, by the target of the config."""

OPERATORS: dict[Format, str] = {
    "onnxruntime": "onnxruntime's integer operators",
    "portable": "standard ONNX operators, 8-bit integers between QuantizeLinear and DequantizeLinear",
}
"""What the files of each format consist of."""

_BLOCK_KERNELS = (
    "; {names} round activations to 8 bits where a CPU has kernels for that (x86 with AVX2, ARM with dot "
    "products), and multiply floats elsewhere (WebAssembly, Cortex-A53), so that logits differ"
)

_EPS = float(np.finfo(np.float32).eps)


@dataclass(frozen=True)
class QuantizedFile:
    """An artifact that was written.

    Attributes:
        path: Path of the file.
        size_bytes: Size of the file, including external data.
        spec: Spec in the file.
    """

    path: Path
    size_bytes: int
    spec: ModelSpec


def write_quantized(
    original: Original,
    model: ir.Model,
    target: Path,
    *,
    config: QuantConfig,
    logit_step: float,
    record: Mapping[str, Any],
    source: Equalized | None = None,
) -> QuantizedFile:
    """Writes a quantized model to ``target``, completely or not at all.

    Its self-test has the inputs of the original's. Expected outputs are its own, in onnxruntime. The bounds
    are those that another correct implementation meets: a value on the edge between two integers can become
    either, so a logit can move by one quantization step; and the same graph with every optimization off is
    such an implementation, so that twice its difference is allowed if that is more.

    Args:
        original: Model that was quantized.
        model: Its quantized graph.
        target: File to write.
        config: Config of the quantized graph.
        logit_step: Quantization step of the logits, ``(max - min) / 255`` over usual images.
        record: How the model was quantized and measured, as JSON data for the spec.
        source: Graph in float32 whose weights were quantized, and its calibration; by default the original's.

    Raises:
        UnsupportedArtifact: The original has no self-test.
        ExportCheckError: Weights can saturate although the config excludes it, or differ from ``source``;
            onnxruntime computes other layers in integers than the graph; a portable graph has operators that
            are not of the ONNX standard.
        ParityError: The written file does not compute what its self-test expects; it was removed.
        UsageError: The file can't be written.
    """
    spec = original.engine.spec
    if spec is None or spec.self_test is None:
        raise UnsupportedArtifact(f"{original.file}: has no self-test; export it with this version of cnntk")
    _check_graph(original, model, target, config, source)
    with staged_artifact(model, target) as (temporary, external):
        written = write_hashed(model, temporary, external)
        _refuse_rewriting(temporary, model, target)
        engine = Engine(temporary, threads=original.engine.threads)
        quantized_spec = replace(
            spec,
            layers=_layers(spec, original.model, model),
            provenance={**spec.provenance, "quantized_from": spec.digest},
            # Other results of the original's checks don't apply: the record has measurements instead.
            check_results={k: v for k, v in spec.check_results.items() if k == "graph_lint"},
            quantization={**record, **_description(config, model)},
            self_test=_self_test(spec, spec.self_test, engine, model, logit_step, config.format),
            fingerprints={},
            data=None,
            digest="",
        )
        final_spec = append_spec(temporary, quantized_spec, written)
        _check_self_test(Engine(temporary), target)
        size_bytes = temporary.stat().st_size
    data_bytes = 0 if final_spec.data is None else final_spec.data.size_bytes
    return QuantizedFile(target, size_bytes + data_bytes, final_spec)


def _check_graph(
    original: Original, model: ir.Model, target: Path, config: QuantConfig, source: Equalized | None
) -> None:
    """Checks weights and operators against the config, without running the graph."""
    if config.target == "any":
        _refuse_saturation(model, target)
    if config.format == "portable":
        _refuse_other_domains(model, target)
    before, calibration = (original.model, None) if source is None else (source.model, source.calibration)
    check_quantized_weights(before, model, calibration, corrected=config.bias_correction)


def _description(config: QuantConfig, model: ir.Model) -> dict[str, Any]:
    """What the spec says of a quantized graph besides its record."""
    return {
        "portable_to": _portable_to(config, model),
        "operators": OPERATORS[config.format],
        "config": as_json(config),
    }


def _layers(spec: ModelSpec, before: ir.Model, after: ir.Model) -> tuple[Layer, ...]:
    """The layers with their new weights: a node in integers has the name of the one that it replaced."""
    node_names = {str(value.name): node.name for node in before.graph for value in node.outputs}
    nodes = {node.name: node for node in after.graph if node.name}
    layers = []
    for layer in spec.layers:
        node = nodes.get(node_names.get(layer.output) or "")
        names = [] if node is None or not layer.weights else [str(v.name) for v in _parameters(node)]
        weights = dict.fromkeys(n for n in (*layer.weights, *names) if n in after.graph.initializers)
        layers.append(replace(layer, weights=tuple(weights)))
    return tuple(layers)


def _parameters(node: ir.Node) -> Iterator[ir.Value]:
    """Weights and bias of a node; those that are stored in 16 bits are behind a conversion.

    Scales and zero points are neither, and layers can share them.
    """
    integers = integer_layer(node)
    indices = (1, 5) if node.op_type == "MatMulNBits" else (1, 2)
    values = [node.inputs[i] for i in indices if i < len(node.inputs)]
    for value in values if integers is None else (integers.weight, integers.bias):
        cast = producer_of(value, "Cast")
        value = value if cast is None else cast.inputs[0]
        if value is not None:
            yield value


def _self_test(
    spec: ModelSpec, test: SelfTest, engine: Engine, model: ir.Model, logit_step: float, format: Format
) -> SelfTest:
    """The self-test with new outputs and bounds.

    Other runtimes round other ties, so that for them each case has the largest difference of all cases.
    """
    unoptimized, outputs, differences = GraphSession(model), [], []
    for case in test.cases:
        arrays = canonical_inputs(spec.inputs, case.pattern, case.seed, case.sizes)
        outputs.append(engine.run(arrays))
        differences.append(_differences(case, outputs[-1], unoptimized.run(arrays)))
    if format == "portable":
        largest = {name: max(d.get(name, 0.0) for d in differences) for d in differences for name in d}
        differences = [largest] * len(differences)
    cases = [
        _case(*each, test.strides, logit_step) for each in zip(test.cases, outputs, differences, strict=True)
    ]
    return SelfTest(tuple(cases), test.strides)


def _differences(case: SelfTestCase, outputs: Arrays, unoptimized: Arrays) -> dict[str, float]:
    """Largest difference of each output, and at least that of rounding to float32."""
    differences = {}
    for name in case.expected:
        output, other = (a[name].astype(np.float64) for a in (outputs, unoptimized))
        scale = float(np.abs(output).max(initial=0.0))
        largest = float(np.abs(output - other).max(initial=0.0))
        differences[name] = max(2 * largest, FACTOR * FLOOR * _EPS * scale)
    return differences


def _case(
    case: SelfTestCase,
    outputs: Arrays,
    differences: Mapping[str, float],
    strides: Mapping[str, int],
    logit_step: float,
) -> SelfTestCase:
    """The original's bound is added: what resizing changes on another device changes this model, too."""
    texts, bounds = {}, {}
    for name in case.expected:
        texts[name] = values_text(outputs[name], strides.get(name, 1))
        bounds[name] = round_up(max(logit_step, differences[name]) + case.bounds[name])
    if "probabilities" in bounds and "logits" in bounds:
        # A logit that moves by e moves a probability by at most e/2.
        bounds["probabilities"] = round_up(bounds["logits"] / 2 + SOFTMAX_ERROR)
    return replace(case, expected=texts, bounds=bounds)


def _portable_to(config: QuantConfig, model: ir.Model) -> str:
    """CPUs that compute the same outputs, and the layers whose activations are rounded on some of them."""
    names = [
        str(node.name)
        for node in model.graph
        if node.op_type == "MatMulNBits" and node.attributes.get_int("accuracy_level", 0) == INT8_PRODUCTS
    ]
    return PORTABLE_TO[config.target] + (_BLOCK_KERNELS.format(names=first_names(names, 3)) if names else "")


def _refuse_saturation(model: ir.Model, target: Path) -> None:
    """Checks the weights as they are in the graph, in the order in which the kernel sums."""
    for node in model.graph:
        rows = _summed_rows(node)
        if rows is not None and can_saturate(rows):
            raise ExportCheckError(
                f"{target}: weights of {node.name} can saturate 16-bit sums, so that CPUs without VNNI would "
                "compute other outputs. Nothing was written; --target vnni allows it"
            )


def _refuse_other_domains(model: ir.Model, target: Path) -> None:
    """Checks that every operator, in subgraphs too, is of the ONNX standard."""
    others = {f"{node.domain}.{node.op_type}" for node in model.graph.all_nodes() if node.domain}
    if others:
        raise ExportCheckError(
            f"{target}: has {first_names(sorted(others), 3)}, which is not of the ONNX standard, so that "
            "other runtimes can't read it. Nothing was written; --format onnxruntime allows it"
        )


def _summed_rows(node: ir.Node) -> Any:
    """Weights (M, K) in the order of the sum; None where the kernels of all CPUs sum in 32 bits."""
    layer = integer_layer(node)
    values = None if layer is None else constant(layer.weight)
    if layer is None or values is None:
        return None
    if not layer.is_conv:
        return values.T
    if groups_of(node) == len(values) and values.shape[1] == 1:
        return None  # depthwise
    return values.transpose(0, 2, 3, 1).reshape(len(values), -1)


def _refuse_rewriting(file: Path, model: ir.Model, target: Path) -> None:
    """Checks that onnxruntime computes each layer in integers that the graph has in integers, and no other.

    Layers are told apart by their weights and scales, so that both are those of the graph.
    """
    onnxruntime = import_onnxruntime()
    with scratch_folder() as folder:
        optimized = folder / "optimized.onnx"
        options = onnxruntime.SessionOptions()
        options.log_severity_level, options.optimized_model_filepath = 4, str(optimized)
        onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
        graph = onnx.load(optimized, load_external_data=False).graph
    computed, stated = dict(_computed_integers(graph)), dict(_stated_integers(model))
    for names, run_time, file_text in (
        ([name for key, name in computed.items() if key not in stated], "integers", "float32"),
        ([name for key, name in stated.items() if key not in computed], "float32", "integers"),
    ):
        if names:
            raise ExportCheckError(
                f"{target}: onnxruntime {onnxruntime.__version__} computes {first_names(names, 3)} in "
                f"{run_time}, which the graph has in {file_text}. Nothing was written; please report it"
            )


def _stated_integers(model: ir.Model) -> Iterator[tuple[tuple[bytes, ...], str]]:
    """Weights and scales of the layers that a graph has in integers, and their names."""
    for node in model.graph:
        layer = integer_layer(node)
        values = None if layer is None else (layer.weight, layer.scales)
        if node.op_type == "MatMulNBits":
            values = (node.inputs[1], node.inputs[2])
        if values is not None:
            arrays = [constant(value) for value in values]
            yield tuple(b"" if a is None else a.tobytes() for a in arrays), str(node.name)


def _computed_integers(graph: onnx.GraphProto) -> Iterator[tuple[tuple[bytes, ...], str]]:
    """The same of the graph that onnxruntime runs."""
    weights = {weight.name: weight for weight in graph.initializer}
    for node in graph.node:
        if (indices := WEIGHTS_AND_SCALES.get(node.op_type)) is not None:
            names = [node.input[i] for i in indices]
            arrays = [onnx.numpy_helper.to_array(weights[name]) for name in names if name in weights]
            yield tuple(array.tobytes() for array in arrays), node.name


def _check_self_test(engine: Engine, target: Path) -> None:
    for check in engine.self_test().worst:
        if not check.holds:
            raise ParityError(
                f"{target}: the quantized file fails its self-test: {check.output} has an error of "
                f"{check.error:.3g} in {check.case} (limit {check.bound:.3g}). Nothing was written"
            )
