"""`finish`: a quantized graph becomes an artifact that tells what was done to it, and tests itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from cnntk.exporters.artifact import append_spec, write_hashed
from cnntk.exporters.checks.parity import FACTOR, FLOOR, SOFTMAX_ERROR
from cnntk.exporters.external_data import weights_beside
from cnntk.exporters.passes.graph import producer_of
from cnntk.exporters.session import GraphSession
from cnntk.exporters.shapes.dataflow import weight_of
from cnntk.exporters.vectors import answers_text, rounded_up
from cnntk.quantization.candidates import Original
from cnntk.quantization.config import Recipe, Target
from cnntk.quantization.weights import saturates
from cnntk.runtime.artifact.canonical import canonical_inputs
from cnntk.runtime.artifact.spec import Layer, ModelSpec, SelfTest, SelfTestCase
from cnntk.runtime.engine import Engine
from cnntk.runtime.errors import ExportCheckError, ParityError, UnsupportedArtifact
from cnntk.runtime.files import atomic_write

__all__ = ["HOLDS_ON", "Finished", "finish"]

Arrays = dict[str, NDArray[Any]]

HOLDS_ON: dict[Target, str] = {
    "any": "every CPU: no 16-bit sum of two products can saturate",
    "vnni": "CPUs that add four products in 32 bits (AVX-512 VNNI, AVX-VNNI, ARM dot products, AMX); "
    "on others 16-bit sums may saturate, and answers differ",
}
"""For which CPUs an artifact holds, by its recipe's target."""

_EPS = float(np.finfo(np.float32).eps)


@dataclass(frozen=True)
class Finished:
    """An artifact that was written.

    Attributes:
        path: of the file.
        size_bytes: of it, with its data beside it.
        spec: as it stands in the file.
    """

    path: Path
    size_bytes: int
    spec: ModelSpec


def finish(
    original: Original,
    model: ir.Model,
    target: Path,
    *,
    recipe: Recipe,
    step: float,
    record: Mapping[str, Any],
) -> Finished:
    """Writes a quantized model beside or over nothing else than ``target``, whole or not at all.

    Its self-test asks what the original's does. The answers are its own, in onnxruntime. The bounds are those
    that another sound implementation meets: a value that lies on the edge between two levels may fall to
    either side, so a logit may move by one quantization step; and the same graph with every optimization off
    is such an implementation: twice its distance is allowed, where that is more.

    Args:
        original: that was quantized.
        model: its quantized graph.
        target: the file.
        recipe: by which it was quantized.
        step: of the logits, ``(max - min) / 255`` over usual images.
        record: of how it was quantized, as JSON data, for the spec.

    Raises:
        UnsupportedArtifact: the original has no self-test.
        ExportCheckError: weights can saturate, where the recipe says that they can't.
        ParityError: the finished file does not answer what it says; nothing was written.
        UsageError: the file can't be written.
    """
    spec = original.engine.spec
    if spec is None or spec.self_test is None:
        raise UnsupportedArtifact(
            f"{original.file}: holds no self-test; export it with this version of cnntk"
        )
    if recipe.target == "any":
        _refuse_saturation(model, target)
    with weights_beside(model, target, wanted=False) as beside, atomic_write(target) as temporary:
        written = write_hashed(model, temporary, beside)
        engine = Engine(temporary, threads=original.engine.threads)
        test = _self_test(spec, engine, model, step)
        sealed = append_spec(temporary, _spec(original, spec, model, recipe, record, test), written)
        _check(Engine(temporary), target)
    data = 0 if sealed.data is None else sealed.data.size_bytes
    return Finished(target, target.stat().st_size + data, sealed)


def _spec(
    original: Original,
    spec: ModelSpec,
    model: ir.Model,
    recipe: Recipe,
    record: Mapping[str, Any],
    test: SelfTest,
) -> ModelSpec:
    """What was proven of the original holds no more: the record says what was measured instead."""
    return replace(
        spec,
        layers=_layers(spec, original.model, model),
        provenance={**spec.provenance, "quantized_from": spec.digest},
        check_results={k: v for k, v in spec.check_results.items() if k == "graph_lint"},
        quantization={**record, "holds_on": HOLDS_ON[recipe.target], "recipe": recipe.to_json()},
        self_test=test,
        fingerprints={},
        data=None,
        digest="",
    )


def _layers(spec: ModelSpec, before: ir.Model, after: ir.Model) -> tuple[Layer, ...]:
    """The layers with the weights that they have now: a node in integers bears the name of the one before."""
    names = {str(value.name): node.name for node in before.graph for value in node.outputs}
    nodes = {node.name: node for node in after.graph if node.name}
    there = after.graph.initializers
    found = []
    for layer in spec.layers:
        node = nodes.get(names.get(layer.output) or "")
        read = [] if node is None or not layer.weights else [str(v.name) for v in _read(node)]
        weights = dict.fromkeys(n for n in (*layer.weights, *read) if n in there)
        found.append(replace(layer, weights=tuple(weights)))
    return tuple(found)


_LEARNED = {"QLinearConv": (3, 8), "MatMulNBits": (1, 5)}
"""Inputs that are weights or biases; scales and zero points are neither, and layers may share them."""


def _read(node: ir.Node) -> Iterator[ir.Value]:
    """Its weights and its bias; those that are stored in 16 bits are behind a conversion."""
    for index in _LEARNED.get(node.op_type, (1, 2)):
        value = node.inputs[index] if index < len(node.inputs) else None
        cast = producer_of(value, "Cast")
        found = value if cast is None else cast.inputs[0]
        if found is not None:
            yield found


def _self_test(spec: ModelSpec, engine: Engine, model: ir.Model, step: float) -> SelfTest:
    test = spec.self_test
    if test is None:
        raise UnsupportedArtifact(f"{spec.name}: holds no self-test")
    plain = GraphSession(model)
    cases = []
    for case in test.cases:
        arrays = canonical_inputs(spec.inputs, case.pattern, case.seed, case.sizes)
        answers = engine.run(arrays)
        others = plain.run(arrays)
        cases.append(_case(case, test.strides, answers, others, step))
    return SelfTest(tuple(cases), test.strides)


def _case(
    case: SelfTestCase, strides: Mapping[str, int], answers: Arrays, others: Arrays, step: float
) -> SelfTestCase:
    """The original's bound stays part of it: what resizing may move on another device moves this, too."""
    texts, bounds = {}, {}
    for name in case.expected:
        answer, other = (a[name].astype(np.float64) for a in (answers, others))
        scale = float(np.abs(answer).max(initial=0.0))
        apart = max(2 * float(np.abs(answer - other).max(initial=0.0)), FACTOR * FLOOR * _EPS * scale)
        texts[name] = answers_text(answers[name], strides.get(name, 1))
        bounds[name] = rounded_up(max(step, apart) + case.bounds[name])
    if "probabilities" in bounds and "logits" in bounds:
        # A logit that moves by e moves a probability by at most e/2.
        bounds["probabilities"] = rounded_up(bounds["logits"] / 2 + SOFTMAX_ERROR)
    return replace(case, expected=texts, bounds=bounds)


def _refuse_saturation(model: ir.Model, target: Path) -> None:
    """Looks at the weights once more as they are in the graph, in the order in which the kernel sums."""
    for node in model.graph:
        weight = weight_of(node, 3) if node.op_type == "QLinearConv" else None
        if weight is None:
            continue
        values = weight.numpy()
        if saturates(values.transpose(0, 2, 3, 1).reshape(len(values), -1)):
            raise ExportCheckError(
                f"{target}: weights of {node.name} can saturate 16-bit sums, so that CPUs without VNNI would "
                "answer otherwise. Nothing was written; --target vnni allows it"
            )


def _check(engine: Engine, target: Path) -> None:
    for check in engine.self_test().worst:
        if not check.holds:
            raise ParityError(
                f"{target}: the finished file fails its self-test: {check.output} is off by "
                f"{check.error:.3g} in {check.case}, {check.bound:.3g} allowed. Nothing was written"
            )
