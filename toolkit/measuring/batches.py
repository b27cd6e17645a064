"""Inputs of the batches that are asked for, where the model takes them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from numpy.typing import NDArray

from cnntk.runtime.engine import Engine
from cnntk.runtime.errors import UsageError
from cnntk.runtime.session.opening import Opened, tensor_specs
from cnntk.runtime.trial import example_inputs

__all__ = ["batch_inputs", "chosen_batch", "fixed_batch", "session_inputs"]


def fixed_batch(engine: Engine) -> int | None:
    """The only batch that a model takes; None where it is free."""
    first = engine.inputs[0].shape[:1]
    return first[0] if first and isinstance(first[0], int) else None


def chosen_batch(engine: Engine, asked: Sequence[int] = ()) -> int:
    """Images a run, where one number is needed: the first that was asked for, the fixed one, or 1."""
    return asked[0] if asked else fixed_batch(engine) or 1


def batch_inputs(engine: Engine, batch: int) -> dict[str, NDArray[Any]]:
    """Seeded noise for each input, at the size at which there is nothing to resize.

    Raises:
        UsageError: the model's batch is fixed at another, or a further size is open.
    """
    fixed = fixed_batch(engine)
    if fixed is not None and fixed != batch:
        raise UsageError(
            f"{engine.name}: its batch is fixed at {fixed}, not {batch}; export it with a free one"
        )
    return example_inputs(engine.inputs, batch, engine.image_sizes)


def session_inputs(opened: Opened, batch: int) -> dict[str, NDArray[Any]]:
    """Likewise for a session without an engine around it.

    Raises:
        UsageError: as `batch_inputs`.
    """
    preprocessing = None if opened.spec is None else opened.spec.preprocessing
    sizes = None if preprocessing is None else preprocessing.image_sizes
    return example_inputs(tensor_specs(opened.session.get_inputs()), batch, sizes)
