"""Runs the passes, each on a clone and each checked alone: one that moves the answers is rolled back.

**How far answers may move.** A rewrite that keeps the function changes only the rounding. A rounding error
is relative to the numbers that it is made in, at most half the type's epsilon; over a chain of d operators,
errors that do not know of each other add up like a random walk, to sqrt(d) of one. What the network makes
of it is measured and not guessed: the answers to inputs moved by one epsilon show how much it amplifies.
So, with the largest answer as the scale::

    bound = FACTOR * sqrt(d) * max(epsilon * scale, movement)

| figure  | value | reason                                                                                  |
|---------|-------|-----------------------------------------------------------------------------------------|
| FACTOR  | 16    | a dot product of k terms rounds to about sqrt(k) / 10 epsilons, 5 at k = 2500, and the  |
|         |       | worst of many answers is 3 times that; a wrong weight moves answers by 1e-3 and more    |
| epsilon | 2^-23 | float32; 2^-10 and 2^-7 where answers are float16 and bfloat16, 2^-52 for float64       |
| d       | graph | nodes on the longest path: what an error passes through                                 |

NaN never passes. Answers that were not finite before are no evidence: the hand-written softmax answers NaN
where Softmax does not. At least one finite answer must be left for each output.

A random graph has no answers to compare. The pass that makes it deterministic is checked by expectation
(`expectation.py`); other passes can't be checked on it, and are rolled back.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from cnntk.exporters.passes.expectation import check_expectation, worst
from cnntk.exporters.passes.graph import epsilon, random_nodes
from cnntk.exporters.passes.infra import GraphPass, PassRecord, Rewrites
from cnntk.exporters.passes.order import PASSES
from cnntk.exporters.session import Arrays, GraphSession
from cnntk.runtime.errors import InferenceError

__all__ = ["run_passes"]

Inputs = Sequence[Mapping[str, NDArray[Any]]]

_FACTOR = 16.0


def run_passes(
    model: ir.Model, inputs: Inputs, passes: Sequence[GraphPass] = PASSES
) -> tuple[ir.Model, tuple[PassRecord, ...]]:
    """Rewrites a model, pass by pass.

    Args:
        model: left as it is; the result shares its weights' memory.
        inputs: sets of arrays by input name, on which answers are compared; at least one.
        passes: in their order.

    Returns:
        The rewritten model, and what became of each pass.

    Raises:
        ValueError: no inputs.
        InferenceError: onnxruntime can't run the model as it came.
    """
    if not inputs:
        raise ValueError("run_passes needs at least one set of inputs: without them no pass can be checked")
    state = _State(model, inputs)
    records = tuple(state.apply(each) for each in passes)
    return state.model, records


@dataclass(frozen=True)
class _Verdict:
    drift: float | None
    why: str | None = None
    answers: list[Arrays] | None = None


class _State:
    """The model so far, and its answers, which are computed when first needed and handed on."""

    def __init__(self, model: ir.Model, inputs: Inputs) -> None:
        self.model = model
        self._inputs = inputs
        self._answers: list[Arrays] | None = None
        self._moved: dict[str, float] = {}

    def apply(self, each: GraphPass) -> PassRecord:
        trial = self.model.clone()
        rewrites = each(trial)
        if not rewrites.done:
            return PassRecord(each.name, each.reason, "nothing to do", rewrites)
        verdict = self._judge(trial, rewrites)
        if verdict.why is not None:
            return PassRecord(each.name, each.reason, "rolled back", rewrites, verdict.drift, verdict.why)
        self.model, self._answers = trial, verdict.answers
        return PassRecord(each.name, each.reason, "applied", rewrites, verdict.drift)

    def _judge(self, trial: ir.Model, rewrites: Rewrites) -> _Verdict:
        if rewrites.replaced:
            return self._by_expectation(rewrites)
        if random_nodes(self.model):
            return _Verdict(None, "the graph is random, so its answers before and after can't be compared")
        return self._by_answers(trial, rewrites)

    def _by_expectation(self, rewrites: Rewrites) -> _Verdict:
        biases = check_expectation(self.model, self._inputs[0], rewrites.replaced)
        wrong = "; ".join(str(b) for b in biases if not b.holds)
        return _Verdict(worst(biases), wrong or None)

    def _by_answers(self, trial: ir.Model, rewrites: Rewrites) -> _Verdict:
        before = self._before()
        try:
            session = GraphSession(trial)
            after = [session.run(each) for each in self._inputs]
        except InferenceError as error:
            return _Verdict(None, f"the rewritten graph does not run: {error}")
        root = math.sqrt(max(_depth(self.model), _depth(trial)))
        drifts, reasons = [], []
        for output in self.model.graph.outputs:
            name = str(output.name)
            allowed = _FACTOR * root * epsilon(output.dtype), _FACTOR * root * self._moved.get(name, 0.0)
            pairs = [(b[name], a.get(name)) for b, a in zip(before, after, strict=True)]
            drift, reason = _compare(name, pairs, allowed, rewrites.lowest)
            drifts.append(drift)
            reasons += [reason] if reason else []
        return _Verdict(max(drifts, default=0.0), "; ".join(reasons) or None, after)

    def _before(self) -> list[Arrays]:
        if self._answers is None:
            session = GraphSession(self.model)
            self._answers = [session.run(each) for each in self._inputs]
            if not self._moved:
                self._moved = _movement(session, self._inputs, self._answers)
        return self._answers


def _movement(session: GraphSession, inputs: Inputs, answers: list[Arrays]) -> dict[str, float]:
    """How far each output moves where each input is moved by one epsilon of its type, up or down."""
    moved = dict.fromkeys(session.names, 0.0)
    for each, known in zip(inputs, answers, strict=True):
        nudged = session.run({k: _nudged(v) for k, v in each.items()})
        for name, answer in known.items():
            moved[name] = max(moved[name], _farthest(answer, nudged[name]))
    return moved


def _nudged(array: NDArray[Any]) -> NDArray[Any]:
    if not np.issubdtype(array.dtype, np.floating):
        return array
    signs = np.random.default_rng(0).choice([-1, 1], size=array.shape)
    nudged: NDArray[Any] = (array * (1 + signs * np.finfo(array.dtype).eps)).astype(array.dtype)
    return nudged


def _farthest(one: NDArray[Any], other: NDArray[Any]) -> float:
    """The largest difference of numbers that are finite in both."""
    with np.errstate(invalid="ignore", over="ignore"):
        apart = np.abs(np.asarray(one, np.float64) - np.asarray(other, np.float64))
    return float(np.max(apart[np.isfinite(apart)], initial=0.0))


def _compare(
    name: str,
    pairs: Sequence[tuple[NDArray[Any], NDArray[Any] | None]],
    allowed: tuple[float, float],
    lowest: float | None,
) -> tuple[float, str | None]:
    """Drift relative to the largest answer, and what is wrong with it.

    Args:
        name: of the output.
        pairs: before and after, for each set of inputs.
        allowed: relative to the largest answer, and absolute.
        lowest: answers below it are no evidence.
    """
    misfit = _misfit(name, pairs)
    if misfit is not None:
        return math.inf, misfit
    old = np.concatenate([np.asarray(b, np.float64).reshape(-1) for b, _ in pairs])
    new = np.concatenate([np.asarray(a, np.float64).reshape(-1) for _, a in pairs])
    evidence = np.isfinite(old) if lowest is None else np.isfinite(old) & (old >= lowest)
    if old.size and not evidence.any():
        return math.inf, f"{name}: no answer was finite before, so none can be compared"
    if not np.isfinite(new[evidence]).all():
        return math.inf, f"{name}: answers that were finite are NaN or infinite now"
    scale = float(np.max(np.abs(old[evidence]), initial=0.0))
    moved = float(np.max(np.abs(new[evidence] - old[evidence]), initial=0.0))
    drift = moved / scale if scale else (math.inf if moved else 0.0)
    bound = max(allowed[0], allowed[1] / scale if scale else 0.0)
    if drift <= bound:
        return drift, None
    return drift, f"{name}: answers moved by {drift:.2g} of the largest, {bound:.2g} is allowed"


def _misfit(name: str, pairs: Sequence[tuple[NDArray[Any], NDArray[Any] | None]]) -> str | None:
    for old, new in pairs:
        if new is None:
            return f"{name}: the rewritten graph does not answer it"
        if old.shape != new.shape or old.dtype != new.dtype:
            return f"{name}: was {old.dtype} {list(old.shape)}, is {new.dtype} {list(new.shape)}"
    return None


def _depth(model: ir.Model) -> int:
    """Nodes on the longest path."""
    depth: dict[ir.Value, int] = {}
    for node in model.graph:
        here = 1 + max((depth.get(v, 0) for v in node.inputs if v is not None), default=0)
        depth.update(dict.fromkeys(node.outputs, here))
    return max(depth.values(), default=1)
