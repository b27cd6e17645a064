"""Runs the passes, each on a copy and each checked alone: one that changes the outputs is rolled back.

**How far outputs may differ.** A rewrite that keeps the function changes only the rounding. A rounding error
is relative to the numbers it arises in, at most half the type's epsilon; over a chain of d operators
independent errors add up like a random walk, to sqrt(d) times one. How much the network amplifies them is
measured: the model also runs on inputs perturbed by one epsilon. With the largest output as the scale::

    bound = FACTOR * sqrt(d) * max(epsilon * scale, difference under perturbation)

| figure  | value | reason                                                                                  |
|---------|-------|-----------------------------------------------------------------------------------------|
| FACTOR  | 16    | a dot product of k terms rounds to about sqrt(k) / 10 epsilons, 5 at k = 2500, and the  |
|         |       | worst of many outputs is 3 times that; a wrong weight changes outputs by 1e-3 and more  |
| epsilon | 2^-23 | float32; 2^-10 and 2^-7 where outputs are float16 and bfloat16, 2^-52 for float64       |
| d       | graph | nodes on the longest path, which an error passes through                                |

NaN never passes. Outputs that were not finite before are not compared: the handwritten softmax returns NaN
where Softmax does not. At least one finite element must be left for each output.

Outputs of a random graph can't be compared. The pass that makes it deterministic is checked by expectation
(``_expectation.py``); any other pass on a random graph is rolled back.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from cnntk.exporters.passes._expectation import check_expectation
from cnntk.exporters.passes.graph import epsilon, random_nodes
from cnntk.exporters.passes.infra import GraphPass, PassRecord, Rewrites
from cnntk.exporters.passes.order import PASSES
from cnntk.exporters.session import Arrays, GraphSession
from cnntk.runtime.errors import InferenceError

__all__ = ["compare_graphs", "run_passes", "sensitivity"]

Inputs = Sequence[Mapping[str, NDArray[Any]]]

_FACTOR = 16.0

_Verdict = tuple[float | None, str | None, list[Arrays] | None]
"""Largest relative difference, reason for a rollback, and outputs of the rewritten graph."""


def run_passes(
    model: ir.Model, inputs: Inputs, passes: Sequence[GraphPass] = PASSES
) -> tuple[ir.Model, tuple[PassRecord, ...]]:
    """Rewrites a model, pass by pass.

    Args:
        model: Model to rewrite; it is not changed. The result shares the memory of its weights.
        inputs: Sets of arrays by input name, on which outputs are compared; at least one.
        passes: Passes in the order in which they run.

    Returns:
        The rewritten model, never ``model`` itself, and the record of each pass.

    Raises:
        ValueError: ``inputs`` is empty.
        InferenceError: onnxruntime can't run the model before any rewrite.
    """
    if not inputs:
        raise ValueError("run_passes needs at least one set of inputs: without them no pass can be checked")
    state = _State(model.clone(), inputs)
    records = tuple(state.apply(each) for each in passes)
    return state.model, records


class _State:
    """The model so far and its outputs, which are computed when first needed and passed on."""

    def __init__(self, model: ir.Model, inputs: Inputs) -> None:
        self.model = model
        self._inputs = inputs
        self._outputs: list[Arrays] | None = None
        self._sensitivity: dict[str, float] = {}

    def apply(self, each: GraphPass) -> PassRecord:
        trial = self.model.clone()
        rewrites = each(trial)
        if not rewrites.applied:
            return PassRecord(each.name, each.reason, "nothing to do", rewrites)
        max_rel_diff, reason, outputs = self._check(trial, rewrites)
        if reason is not None:
            return PassRecord(each.name, each.reason, "rolled back", rewrites, max_rel_diff, reason)
        self.model, self._outputs = trial, outputs
        return PassRecord(each.name, each.reason, "applied", rewrites, max_rel_diff)

    def _check(self, trial: ir.Model, rewrites: Rewrites) -> _Verdict:
        if rewrites.substitutions:
            biases = check_expectation(self.model, self._inputs[0], rewrites.substitutions)
            wrong = "; ".join(str(b) for b in biases if not b.holds)
            return max(abs(b.ratio - 1) for b in biases), wrong or None, None
        if random_nodes(self.model):
            return None, "the graph is random, so its outputs before and after can't be compared", None
        return self._by_outputs(trial, rewrites)

    def _by_outputs(self, trial: ir.Model, rewrites: Rewrites) -> _Verdict:
        before = self._before()
        try:
            session = GraphSession(trial)
            after = [session.run(each) for each in self._inputs]
        except InferenceError as error:
            return None, f"the rewritten graph does not run: {error}", None
        models = (self.model, trial)
        return *compare_graphs(models, before, after, self._sensitivity, rewrites.comparison_floor), after

    def _before(self) -> list[Arrays]:
        if self._outputs is None:
            session = GraphSession(self.model)
            self._outputs = [session.run(each) for each in self._inputs]
            if not self._sensitivity:
                self._sensitivity = sensitivity(session, self._inputs, self._outputs)
        return self._outputs


def compare_graphs(
    models: tuple[ir.Model, ir.Model],
    before: Sequence[Arrays],
    after: Sequence[Arrays],
    sensitivity: Mapping[str, float],
    comparison_floor: float | None = None,
) -> tuple[float, str | None]:
    """Compares two graphs that should compute the same.

    Args:
        models: The graphs before and after a rewrite.
        before: Outputs of the first, for each set of inputs.
        after: Outputs of the second.
        sensitivity: Each output's difference under perturbed inputs.
        comparison_floor: Smallest output before that is compared; None compares all.

    Returns:
        Largest difference relative to the largest output, and what differs by more than rounding.
    """
    factor = _FACTOR * math.sqrt(max(map(_depth, models)))
    diffs, reasons = [], []
    for output in models[0].graph.outputs:
        name = str(output.name)
        allowed = factor * epsilon(output.dtype), factor * sensitivity.get(name, 0.0)
        pairs = [(b[name], a.get(name)) for b, a in zip(before, after, strict=True)]
        max_rel_diff, reason = _compare(name, pairs, allowed, comparison_floor)
        diffs.append(max_rel_diff)
        reasons += [reason] if reason else []
    return max(diffs, default=0.0), "; ".join(reasons) or None


def sensitivity(session: GraphSession, inputs: Inputs, outputs: Sequence[Arrays]) -> dict[str, float]:
    """Returns each output's largest difference where each input is changed by one epsilon, up or down."""
    differences = dict.fromkeys(session.names, 0.0)
    for each, before in zip(inputs, outputs, strict=True):
        perturbed = session.run({k: _perturbed(v) for k, v in each.items()})
        for name, output in before.items():
            differences[name] = max(differences[name], _max_diff(output, perturbed[name]))
    return differences


def _perturbed(array: NDArray[Any]) -> NDArray[Any]:
    if not np.issubdtype(array.dtype, np.floating):
        return array
    signs = np.random.default_rng(0).choice([-1, 1], size=array.shape)
    perturbed: NDArray[Any] = (array * (1 + signs * np.finfo(array.dtype).eps)).astype(array.dtype)
    return perturbed


def _max_diff(one: NDArray[Any], other: NDArray[Any]) -> float:
    """Returns the largest difference of elements that are finite in both arrays."""
    with np.errstate(invalid="ignore", over="ignore"):
        difference = np.abs(np.asarray(one, np.float64) - np.asarray(other, np.float64))
    return float(np.max(difference[np.isfinite(difference)], initial=0.0))


def _compare(
    name: str,
    pairs: Sequence[tuple[NDArray[Any], NDArray[Any] | None]],
    allowed: tuple[float, float],
    comparison_floor: float | None,
) -> tuple[float, str | None]:
    """Returns the largest difference relative to the largest output, and what is wrong with it.

    Args:
        name: Name of the output.
        pairs: Outputs before and after, for each set of inputs.
        allowed: Bounds relative to the largest output, and absolute.
        comparison_floor: Smallest output before that is compared; None compares all.
    """
    mismatch = _mismatch(name, pairs)
    if mismatch is not None:
        return math.inf, mismatch
    old = np.concatenate([np.asarray(b, np.float64).reshape(-1) for b, _ in pairs])
    new = np.concatenate([np.asarray(a, np.float64).reshape(-1) for _, a in pairs])
    evidence = np.isfinite(old) if comparison_floor is None else np.isfinite(old) & (old >= comparison_floor)
    if old.size and not evidence.any():
        return math.inf, f"{name}: no element was finite before, so none can be compared"
    if not np.isfinite(new[evidence]).all():
        return math.inf, f"{name}: elements that were finite before are NaN or infinite"
    scale = float(np.max(np.abs(old[evidence]), initial=0.0))
    difference = float(np.max(np.abs(new[evidence] - old[evidence]), initial=0.0))
    max_rel_diff = difference / scale if scale else (math.inf if difference else 0.0)
    bound = max(allowed[0], allowed[1] / scale if scale else 0.0)
    if max_rel_diff <= bound:
        return max_rel_diff, None
    return max_rel_diff, f"{name}: max rel difference {max_rel_diff:.2g} (limit {bound:.2g})"


def _mismatch(name: str, pairs: Sequence[tuple[NDArray[Any], NDArray[Any] | None]]) -> str | None:
    for old, new in pairs:
        if new is None:
            return f"{name}: the rewritten graph has no such output"
        if old.shape != new.shape or old.dtype != new.dtype:
            return f"{name}: was {old.dtype} {list(old.shape)}, became {new.dtype} {list(new.shape)}"
    return None


def _depth(model: ir.Model) -> int:
    """Returns the number of nodes on the longest path."""
    depth: dict[ir.Value, int] = {}
    for node in model.graph:
        level = 1 + max((depth.get(v, 0) for v in node.inputs if v is not None), default=0)
        depth.update(dict.fromkeys(node.outputs, level))
    return max(depth.values(), default=1)
