"""The reference: the captured torch program, run node by node in float64 and in its own precision.

The program is what torch captured, before any translation to ONNX, so it is independent of the translation
and of every pass. In float64 it is exact as far as float32 can tell; in its own precision it shows how large
torch's own error is, and with it how large an export's error may be. Its inner values have the names of the
ONNX graph's values, so that the first node that differs can be found.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import numpy as np
import onnx_ir as ir
import torch
from numpy.typing import NDArray
from torch.export.graph_signature import InputKind

from cnntk.exporters.checks._batch_axis import BatchAxes, batch_first
from cnntk.exporters.checks._inputs import FLAT, PHOTOGRAPHIC, CheckInputs
from cnntk.exporters.checks._interpreters import (
    Float32Interpreter,
    Float64Interpreter,
    Interpreter,
    PerturbedInterpreter,
    Visitor,
)
from cnntk.exporters.checks._perturbed import perturbed_model
from cnntk.exporters.checks.limits import EPSILON, FACTOR, FLOOR, SMALLEST
from cnntk.exporters.session import Arrays, GraphSession, inner_nodes
from cnntk.runtime.errors import ExportCheckError

__all__ = [
    "Float64",
    "Float64Reference",
    "GraphReference",
    "Outputs",
    "ProgramReference",
    "Reference",
    "ReferenceNames",
    "Visitor",
    "flatten_reference",
    "max_error_per_image",
    "reference_outputs",
    "scale_per_image",
    "tensor_of",
    "usual_error",
]

Float64 = NDArray[np.float64]

_SMALLEST_STEP = {2.0**-10: 2.0**-24}
"""Step of float16 below its smallest normal number, by the relative step of the type."""

_FLOAT32_TO_FLOAT64 = EPSILON["float64"] / EPSILON["float32"]

_TELLING_SHARE = 0.01
"""Least scale of an image's output, relative to the largest, at which its error counts as usual: where
outputs cancel to nothing, as a mean of a normalized image, any error is large beside them."""

_FEW_RUNS, _FEW_VALUES = 3, 16
"""Perturbed runs where an output has few values an image, whose errors may be small by chance."""


@dataclass(frozen=True)
class ReferenceNames:
    """What messages call the two runs of a reference."""

    exact: str = "float64"
    native: str = "torch"


@dataclass(frozen=True)
class Outputs:
    """The reference's outputs for `CheckInputs`, with the batch as first axis.

    Attributes:
        inputs: Inputs that were run.
        float64: Outputs in float64 by name; (images, ...).
        native: Outputs in the source's own precision.
        bounds: Limit of the absolute error of each image by output; (images,). NaN where torch overflows.
        names: What messages call ``float64`` and ``native``.
    """

    inputs: CheckInputs
    float64: Arrays
    native: Arrays
    bounds: dict[str, Float64]
    names: ReferenceNames = ReferenceNames()

    @property
    def largest_bounds(self) -> dict[str, float]:
        """Largest finite limit of an ordinary image, by output; NaN where there is none."""
        ordinary = self.inputs.ordinary
        finite = {
            name: limits[ordinary][np.isfinite(limits[ordinary])] for name, limits in self.bounds.items()
        }
        return {name: float(limits.max()) if limits.size else float("nan") for name, limits in finite.items()}


class Reference(Protocol):
    """Computes what a model should, in float64 and in the source's own precision."""

    outputs: dict[str, str]
    """Name of the program's value by name of the output."""

    names: ReferenceNames
    """What messages call its two runs."""

    def run_float64(self, inputs: Arrays, visit: Visitor | None = None) -> Arrays:
        """Outputs in float64; ``visit`` is called with the name and value of every inner float tensor."""
        ...

    def run_native(self, inputs: Arrays, visit: Visitor | None = None) -> Arrays:
        """Outputs in the source's own precision."""
        ...

    def run_perturbed(self, inputs: Arrays, eps: float, is_flat: Sequence[bool], seed: int = 0) -> Arrays:
        """Outputs of another sound program: each layer's output is off by about one step ``eps``.

        ``is_flat`` says of each image whether its pixels are alike: there all pixels of a channel are off by
        the same several steps.
        """
        ...

    def shapes(self) -> dict[str, tuple[int | str, ...]]:
        """Shape of each inner value by name according to the source, the batch as ``"N"``."""
        ...


def reference_outputs(
    reference: Reference, inputs: CheckInputs, eps: float, batch_axes: BatchAxes | None = None
) -> Outputs:
    """Runs the reference, and derives how far an export's outputs may be from it, image by image.

    An image's limit is `FACTOR` times the largest of: torch's error on it; the error of a program whose
    layers are perturbed by rounding (`Reference.run_perturbed`), which shows how much the network amplifies
    rounding on this image; torch's usual error on photographs at this scale; `FLOOR` steps. So an image
    on which rounding is amplified, as by a norm on a flat image, has a wide limit, and widens no other's.

    Args:
        reference: Reference to run.
        inputs: Inputs of the reference.
        eps: Relative step of the source's own precision, like 1.19e-7 for float32.
        batch_axes: Axis of the batch by output, where it is not the first.
    """
    axes, count = batch_axes or {}, len(inputs.kinds)
    runs = reference.run_float64(inputs.arrays), reference.run_native(inputs.arrays)
    float64, native = (batch_first(run, axes, count) for run in runs)
    amplified = {name: np.zeros(count) for name in float64}
    few = any(array[0].size < _FEW_VALUES for array in float64.values() if len(array))
    is_flat = tuple(kind in FLAT for kind in inputs.kinds)
    for seed in range(_FEW_RUNS if few else 1):
        # On all images at once: where they are mixed, others would change the outputs by more than rounding.
        perturbed = batch_first(reference.run_perturbed(inputs.arrays, eps, is_flat, seed), axes, count)
        for name, array in perturbed.items():
            amplified[name] = np.fmax(amplified[name], max_error_per_image(array, float64[name]))
    bounds = {
        name: _bounds(
            max_error_per_image(native[name], exact),
            amplified[name],
            scale_per_image(exact),
            inputs.kinds,
            eps,
        )
        for name, exact in float64.items()
    }
    return Outputs(inputs, float64, native, bounds, reference.names)


def _bounds(
    errors: Float64, amplified: Float64, scales: Float64, kinds: tuple[str, ...], eps: float
) -> Float64:
    """The limits that `reference_outputs` describes; NaN where torch overflows: nothing can be compared."""
    photographs = np.array([k in PHOTOGRAPHIC for k in kinds])
    usual = usual_error(errors[photographs], scales[photographs])
    least = np.maximum(np.maximum(usual, FLOOR * eps) * scales, FLOOR * _SMALLEST_STEP.get(eps, 0.0))
    bounds = FACTOR * np.maximum(np.fmax(errors, amplified), least) + SMALLEST
    return np.where(np.isfinite(errors), bounds, np.nan)


def usual_error(errors: Float64, scales: Float64) -> float:
    """Median of the errors relative to their scales, where those are not negligible; 0 where none is."""
    telling = scales > _TELLING_SHARE * scales.max(initial=0.0)
    return float(np.median(errors[telling] / scales[telling])) if telling.any() else 0.0


def max_error_per_image(a: NDArray[Any], b: NDArray[Any]) -> Float64:
    """Largest absolute difference of each image; NaN if any is NaN."""
    with np.errstate(invalid="ignore"):
        return np.asarray(np.abs(a.astype(np.float64) - b).reshape(len(a), -1).max(axis=1, initial=0.0))


def scale_per_image(array: NDArray[Any]) -> Float64:
    """Largest absolute value of each image."""
    return np.asarray(np.abs(array.astype(np.float64)).reshape(len(array), -1).max(axis=1, initial=0.0))


class ProgramReference:
    """Runs a captured torch program.

    Args:
        program: Decomposed program, as `Captured` holds it.
        outputs: Name of the program's node by name of the graph's output.
        substitutions: Name of the node that is used instead, by name of a node, where a pass removed a random
            mask on purpose.
    """

    names = ReferenceNames()

    def __init__(
        self,
        program: torch.export.ExportedProgram,
        outputs: Mapping[str, str],
        substitutions: Mapping[str, str] | None = None,
    ) -> None:
        self.outputs = dict(outputs)
        self._program = program
        self._substitutions = dict(substitutions or {})

    def run_float64(self, inputs: Arrays, visit: Visitor | None = None) -> Arrays:
        """Outputs in float64; ``visit`` is called with the name and value of every inner float tensor."""
        return self._run(Float64Interpreter, inputs, visit)

    def run_native(self, inputs: Arrays, visit: Visitor | None = None) -> Arrays:
        """Outputs in the program's own precision."""
        return self._run(Interpreter, inputs, visit)

    def run_perturbed(self, inputs: Arrays, eps: float, is_flat: Sequence[bool], seed: int = 0) -> Arrays:
        """Outputs in the program's own precision, with each layer's output perturbed; always the same.

        Half precision is summed in float32, so its sums round once, on flat images too.
        """
        is_flat = [each and eps <= EPSILON["float32"] for each in is_flat]
        return self._run(partial(PerturbedInterpreter, eps=eps, is_flat=is_flat, seed=seed), inputs, None)

    def shapes(self) -> dict[str, tuple[int | str, ...]]:
        """Shape of each node as torch computed it during capture; a symbolic size is the batch.

        Complex numbers are pairs in ONNX, along an axis of their own.
        """
        metas = ((n.name, n.meta.get("val")) for n in self._program.graph_module.graph.nodes)
        return {
            name: tuple(d if isinstance(d, int) else _symbol(d) for d in value.shape)
            + ((2,) if value.is_complex() else ())
            for name, value in metas
            if isinstance(value, torch.Tensor)
        }

    def _run(self, kind: Callable[..., Interpreter], inputs: Arrays, visit: Visitor | None) -> Arrays:
        values: Arrays = {node: np.zeros(0) for node in self.outputs.values()}
        interpreter = kind(self._program, self._substitutions, values, visit)
        tensors = [tensor_of(array) for array in inputs.values()]
        with torch.inference_mode():
            interpreter.run(*_placeholders(self._program, tensors))
        return {name: values[node] for name, node in self.outputs.items()}


class Float64Reference(ProgramReference):
    """Runs a captured program that is in float64 itself, whose own error is estimated from that in float32.

    There is no wider type in which float64's rounding could be measured. But rounding errors are, to first
    order, proportional to the step of the type: the same program in float32 is further from the exact result
    by 2^-23 / 2^-52 = 2^29. So its error in float32 is measured against float64, which is exact as far as
    float32 can tell, and divided by 2^29. Where a file's outputs are float32, as a classifier's always are,
    that is far below the rounding of the outputs, from which the limit then follows.
    """

    def run_native(self, inputs: Arrays, visit: Visitor | None = None) -> Arrays:
        """The float64 outputs plus 2^-29 of their error in float32."""
        inner: Arrays = {}
        exact = self.run_float64(inputs, None if visit is None else inner.__setitem__)

        def visit_estimate(name: str, float32: NDArray[Any]) -> None:
            if visit is not None and name in inner:
                visit(name, inner[name] + (float32 - inner[name]) * _FLOAT32_TO_FLOAT64)

        float32 = self._run(Float32Interpreter, inputs, visit_estimate)
        return {name: exact[name] + (float32[name] - exact[name]) * _FLOAT32_TO_FLOAT64 for name in exact}

    def run_perturbed(self, inputs: Arrays, eps: float, is_flat: Sequence[bool], seed: int = 0) -> Arrays:
        """The float64 outputs, with each layer's output perturbed by steps of float64."""
        return super().run_perturbed(inputs, min(eps, EPSILON["float64"]), is_flat, seed)


class GraphReference:
    """Runs somebody's ONNX model, which has no other reference than itself.

    ``float64`` is onnxruntime with every optimization off, ``native`` with all of them on: two float32
    programs of one function, whose difference is the rounding that its users accept already.

    Args:
        model: Graph as it was read.
        outputs: Name of the original graph's value by name of the file's output; those that the graph lacks
            are left out.

    Raises:
        ExportCheckError: The graph has none of these values.
    """

    names = ReferenceNames("the original graph (optimizations off)", "the original graph optimized")

    def __init__(self, model: ir.Model, outputs: Mapping[str, str]) -> None:
        values = {v.name for node in model.graph for v in node.outputs} | {v.name for v in model.graph.inputs}
        self.outputs = {output: value for output, value in outputs.items() if value in values}
        if not self.outputs:
            raise ExportCheckError(
                f"{', '.join(outputs)}: none of these outputs can be compared, because the original graph "
                "has no value of that name. Nothing was written"
            )
        self._values = list(dict.fromkeys(self.outputs.values()))
        self._model = model
        self._perturbed: GraphSession | None = None
        self._plain = GraphSession(model, self._values)
        self._optimized = GraphSession(model, self._values, optimize=True)

    def run_float64(self, inputs: Arrays, visit: Visitor | None = None) -> Arrays:
        """Outputs of the graph as it is, as float64."""
        return {k: v.astype(np.float64) for k, v in self._run(self._plain, inputs, visit).items()}

    def run_native(self, inputs: Arrays, visit: Visitor | None = None) -> Arrays:
        """Outputs of the graph with onnxruntime's optimizations."""
        return self._run(self._optimized, inputs, visit)

    def run_perturbed(self, inputs: Arrays, eps: float, is_flat: Sequence[bool], seed: int = 0) -> Arrays:
        """Outputs of the graph with a random factor behind each node."""
        if self._perturbed is None:
            self._perturbed = GraphSession(perturbed_model(self._model, eps), self._values)
        return self._run(self._perturbed, inputs, None)

    def shapes(self) -> dict[str, tuple[int | str, ...]]:
        """Nothing: an ONNX file has no second source of shapes."""
        return {}

    def _run(self, session: GraphSession, inputs: Arrays, visit: Visitor | None) -> Arrays:
        if visit is not None:
            # Optimized, inner values are no longer there: their own rounding is not known, then.
            for name, array in GraphSession(self._model, list(inner_nodes(self._model))).run(inputs).items():
                if array.dtype.kind == "f":
                    visit(name, array)
        results = session.run(inputs)
        outputs = {name: results[value] for name, value in self.outputs.items()}
        if visit is not None:
            for name, array in outputs.items():
                visit(name, array)
        return outputs


def flatten_reference(reference: Reference, outputs: frozenset[str]) -> Reference:
    """The reference with ``outputs`` as (N, K) where the network returns (N, K, 1, 1)."""
    return _Flattened(reference, outputs) if outputs else reference


class _Flattened:
    def __init__(self, reference: Reference, flattened: frozenset[str]) -> None:
        self.outputs = reference.outputs
        self.names = reference.names
        self.shapes = reference.shapes
        self._reference = reference
        self._flattened = flattened

    def run_float64(self, inputs: Arrays, visit: Visitor | None = None) -> Arrays:
        return self._flatten(self._reference.run_float64(inputs, visit))

    def run_native(self, inputs: Arrays, visit: Visitor | None = None) -> Arrays:
        return self._flatten(self._reference.run_native(inputs, visit))

    def run_perturbed(self, inputs: Arrays, eps: float, is_flat: Sequence[bool], seed: int = 0) -> Arrays:
        return self._flatten(self._reference.run_perturbed(inputs, eps, is_flat, seed))

    def _flatten(self, outputs: Arrays) -> Arrays:
        return {k: v.reshape(len(v), -1) if k in self._flattened else v for k, v in outputs.items()}


def _placeholders(program: torch.export.ExportedProgram, inputs: list[torch.Tensor]) -> list[Any]:
    """Values of the program's placeholders, in order: weights, buffers, constants and the user's inputs."""
    user_inputs = iter(inputs)
    stored = {**program.constants, **program.state_dict}
    return [
        next(user_inputs) if spec.kind is InputKind.USER_INPUT else stored[str(spec.target)]
        for spec in program.graph_signature.input_specs
    ]


def _symbol(size: torch.SymInt) -> str:
    """``N`` for the batch; multiples of it as torch writes them."""
    text = str(size)
    return "N" if text.isidentifier() else text


def tensor_of(array: NDArray[Any]) -> torch.Tensor:
    """The array as a tensor of the same type, bfloat16 too."""
    if array.dtype.name == "bfloat16":
        return torch.from_numpy(array.astype(np.float32)).bfloat16()
    return torch.from_numpy(np.ascontiguousarray(array))
