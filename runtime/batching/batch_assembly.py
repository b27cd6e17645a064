"""Requests become one batch, and its answers go back to them, row by row."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from itertools import accumulate, pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnntk.runtime.artifact.spec import TensorSpec
from cnntk.runtime.batch_split import pad_batch
from cnntk.runtime.batching.queue_policy import Request
from cnntk.runtime.engine import Engine
from cnntk.runtime.log import log
from cnntk.runtime.session.finite import is_finite

__all__ = ["BatchRunner", "batch_dimension", "stack", "unstack"]

Arrays = dict[str, NDArray[Any]]


class BatchRunner:
    """Runs requests as one batch, and finds for each of them its answer or its failure.

    Args:
        engine: that runs the batches.

    Attributes:
        engine: that runs the batches.
        fixed_batch: the rows of a batch, where the model takes no others; 0 where it takes any.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._allow_nonfinite = engine._allow_nonfinite
        self._names = [spec.name for spec in engine.inputs]
        self._floating = [spec.name for spec in engine.outputs if spec.dtype.startswith("float")]
        dimension = batch_dimension((*engine.inputs, *engine.outputs))
        self._stacks = dimension is not None
        self.fixed_batch = dimension if isinstance(dimension, int) else 0
        if not self._stacks:
            log.info("%s: inputs and outputs share no batch; requests run one by one", engine.name)

    def request(self, inputs: Mapping[str, NDArray[Any]]) -> Request:
        """``inputs`` as a request that has just arrived.

        Raises:
            InputError: a name, dtype or shape does not fit.
        """
        self.engine.check(self._full_batch(inputs))
        arrays = {name: inputs[name] for name in self._names}
        rows = len(arrays[self._names[0]]) if self._stacks else 1
        kind = tuple(array.shape[1:] for array in arrays.values()) if self._stacks and rows else None
        return Request(arrays, rows, kind, time.monotonic())

    def answers(self, batch: Sequence[Request]) -> list[Arrays | BaseException]:
        """For each request what `Engine.run` returns or raises for it alone."""
        together = self._together(batch) if len(batch) > 1 or self.fixed_batch else None
        if together is None:
            return [self._alone(request.inputs) for request in batch]
        return [
            answer if self._passes(answer) else self._alone(request.inputs)
            for request, answer in zip(batch, together, strict=True)
        ]

    def _full_batch(self, inputs: Mapping[str, NDArray[Any]]) -> Mapping[str, NDArray[Any]]:
        """Views of the shapes that a fixed batch will have; ``inputs`` where they can't be padded to it."""
        if not self.fixed_batch or not isinstance(inputs, Mapping):
            return inputs
        counts = {len(a) if isinstance(a, np.ndarray) and a.ndim else 0 for a in inputs.values()}
        if len(counts) != 1 or not 0 < min(counts) < self.fixed_batch:
            return inputs
        return {
            name: np.broadcast_to(array[:1], (self.fixed_batch, *array.shape[1:]))
            for name, array in inputs.items()
        }

    def _together(self, batch: Sequence[Request]) -> list[Arrays] | None:
        """The answers of one run for all; None where that can't be had."""
        try:
            inputs = stack([request.inputs for request in batch])
            if self.fixed_batch:
                inputs = pad_batch(inputs, self.fixed_batch)
            answers = self.engine.run(inputs, allow_nonfinite=True)
            rows = [request.rows for request in batch]
            return unstack(answers, rows, self.fixed_batch or sum(rows))
        except Exception as error:  # whoever is to blame hears of it, alone
            log.info(
                "%s: %d requests failed together, and run one by one: %s", self.engine.name, len(batch), error
            )
            return None

    def _alone(self, inputs: Arrays) -> Arrays | BaseException:
        try:
            if not self.fixed_batch:
                return self.engine.run(inputs)
            rows = len(next(iter(inputs.values())))
            return {
                name: value[:rows]
                for name, value in self.engine.run(pad_batch(inputs, self.fixed_batch)).items()
            }
        except BaseException as error:  # the caller's, whatever it is
            return error

    def _passes(self, answer: Arrays) -> bool:
        """Whether an answer is finite. Where it isn't, the engine shall say what it thinks of that."""
        return all(is_finite(answer[name]) for name in self._floating)


def batch_dimension(specs: Sequence[TensorSpec]) -> str | int | None:
    """What requests can be stacked along: the leading dimension, where a model has it everywhere.

    Args:
        specs: of all inputs and outputs.

    Returns:
        Its name, if it takes any size; its size, if that is fixed and above 1; None if requests can't be
        stacked, because an input or output has another leading dimension, or the name has a second use.
    """
    leading = {spec.shape[0] if spec.shape else None for spec in specs}
    first = leading.pop() if len(leading) == 1 else None
    if isinstance(first, str) and first:
        return None if any(first in spec.shape[1:] for spec in specs) else first
    return first if isinstance(first, int) and first > 1 else None


def stack(parts: Sequence[Arrays]) -> Arrays:
    """The arrays of ``parts`` on top of each other, by name.

    Args:
        parts: arrays (n, ...) with the same names, and for each name the same trailing shape.

    Returns:
        Arrays (sum of all n, ...); those of a single part are not copied.
    """
    if len(parts) == 1:
        return parts[0]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def unstack(answers: Arrays, rows: Sequence[int], size: int) -> list[Arrays] | None:
    """Each request's rows of ``answers``, copied: nobody holds, or writes to, what is another's.

    Args:
        answers: arrays (size, ...) with the rows of all requests in their order, and padding.
        rows: how many each request has.
        size: rows of the batch that was run.

    Returns:
        For each request its arrays by name; None if an answer has other than ``size`` rows.
    """
    if any(value.ndim == 0 or len(value) != size for value in answers.values()):
        return None
    edges = list(accumulate(rows, initial=0))
    return [{name: value[a:b].copy() for name, value in answers.items()} for a, b in pairwise(edges)]
