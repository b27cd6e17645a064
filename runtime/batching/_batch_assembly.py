"""Batch assembly: requests become one batch, and each gets its rows of the outputs."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from itertools import accumulate, pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnntk.runtime.artifact.spec import TensorSpec
from cnntk.runtime.batch_split import pad_batch
from cnntk.runtime.batching._queue_policy import Request
from cnntk.runtime.contract import is_finite
from cnntk.runtime.engine import Engine
from cnntk.runtime.log import log

Arrays = dict[str, NDArray[Any]]


class BatchRunner:
    """Runs requests as one batch and returns outputs or an error for each.

    ``fixed_batch`` is the batch size of a model that takes no other; 0 for any size.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._names = [spec.name for spec in engine.inputs]
        self._float_outputs = [spec.name for spec in engine.outputs if spec.dtype.startswith("float")]
        dimension = batch_dimension((*engine.inputs, *engine.outputs))
        self._stacks = dimension is not None
        self.fixed_batch = dimension if isinstance(dimension, int) else 0
        if not self._stacks:
            log.info(
                "%s: inputs and outputs have no common batch dimension; requests run one by one", engine.name
            )

    def request(self, inputs: Mapping[str, NDArray[Any]]) -> Request:
        """Returns ``inputs`` as a request that arrives now; raises InputError if they are not the model's."""
        self.engine.check(self._as_full_batch(inputs))
        arrays = {name: inputs[name] for name in self._names}
        rows = len(arrays[self._names[0]]) if self._stacks else 1
        shape_key = tuple(array.shape[1:] for array in arrays.values()) if self._stacks and rows else None
        return Request(arrays, rows, shape_key, time.monotonic())

    def run(self, batch: Sequence[Request]) -> list[Arrays | BaseException]:
        """Returns for each request what `Engine.run` returns or raises for it alone."""
        outputs = self._run_together(batch) if len(batch) > 1 or self.fixed_batch else None
        if outputs is None:
            return [self.run_alone(request.inputs) for request in batch]
        # A request whose outputs are not finite runs alone, with the engine's own setting.
        return [
            row_outputs
            if all(is_finite(row_outputs[name]) for name in self._float_outputs)
            else self.run_alone(request.inputs)
            for request, row_outputs in zip(batch, outputs, strict=True)
        ]

    def _as_full_batch(self, inputs: Mapping[str, NDArray[Any]]) -> Mapping[str, NDArray[Any]]:
        """Returns views with the fixed batch size; ``inputs`` if they can't be padded to it."""
        if not self.fixed_batch or not isinstance(inputs, Mapping):
            return inputs
        counts = {len(a) if isinstance(a, np.ndarray) and a.ndim else 0 for a in inputs.values()}
        if len(counts) != 1 or not 0 < min(counts) < self.fixed_batch:
            return inputs
        return {
            name: np.broadcast_to(array[:1], (self.fixed_batch, *array.shape[1:]))
            for name, array in inputs.items()
        }

    def _run_together(self, batch: Sequence[Request]) -> list[Arrays] | None:
        """Returns the outputs of one run for all requests; None if that failed."""
        try:
            inputs = stack([request.inputs for request in batch])
            if self.fixed_batch:
                inputs = pad_batch(inputs, self.fixed_batch)
            outputs = self.engine.run(inputs, allow_nonfinite=True)
            rows = [request.rows for request in batch]
            return unstack(outputs, rows, self.fixed_batch or sum(rows))
        except Exception as error:  # each request then runs alone, and the one at fault gets its error
            log.info(
                "%s: %d requests failed together and run one by one: %s", self.engine.name, len(batch), error
            )
            return None

    def run_alone(
        self, inputs: Mapping[str, NDArray[Any]], timeout: float | None = None
    ) -> Arrays | BaseException:
        """Returns what `Engine.run` returns or raises for it; a fixed batch is filled."""
        try:
            if not self.fixed_batch:
                return self.engine.run(inputs, timeout=timeout)
            self.engine.check(self._as_full_batch(inputs))
            rows = len(next(iter(inputs.values())))
            outputs = self.engine.run(pad_batch(dict(inputs), self.fixed_batch), timeout=timeout)
            return {name: value[:rows] for name, value in outputs.items()}
        except BaseException as error:  # any error is the result of this request
            return error


def batch_dimension(specs: Sequence[TensorSpec]) -> str | int | None:
    """Returns the leading dimension that all inputs and outputs share, along which requests are stacked.

    It is the name of a dimension of any size, or the size of a fixed one above 1; None if requests can't be
    stacked, because leading dimensions differ or the name has a second use.
    """
    leading = {spec.shape[0] if spec.shape else None for spec in specs}
    first = leading.pop() if len(leading) == 1 else None
    if isinstance(first, str) and first:
        return None if any(first in spec.shape[1:] for spec in specs) else first
    return first if isinstance(first, int) and first > 1 else None


def stack(requests: Sequence[Arrays]) -> Arrays:
    """Concatenates the arrays (n, ...) of requests by name; those of a single request are not copied."""
    if len(requests) == 1:
        return requests[0]
    return {name: np.concatenate([arrays[name] for arrays in requests]) for name in requests[0]}


def unstack(outputs: Arrays, rows: Sequence[int], size: int) -> list[Arrays] | None:
    """Copies each request's rows of outputs (size, ...), so that requests share no memory.

    Returns None if an output has another number of rows than ``size``.
    """
    if any(value.ndim == 0 or len(value) != size for value in outputs.values()):
        return None
    edges = list(accumulate(rows, initial=0))
    return [{name: value[a:b].copy() for name, value in outputs.items()} for a, b in pairwise(edges)]
