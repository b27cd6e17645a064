"""Lazy layers, which take their shapes from the first input that they see."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from cnntk.models.user_errors import one_line
from cnntk.runtime.errors import UsageError

__all__ = ["give_shapes"]

_MISFITS = (RuntimeError, ValueError, TypeError, AttributeError, LookupError)


def give_shapes(module: nn.Module, inputs: Sequence[torch.Tensor]) -> bool:
    """Gives the lazy layers of ``module`` their shapes by one run on ``inputs``, in evaluation mode.

    Args:
        module: Module whose lazy layers become plain ones in place; its training flags stay.
        inputs: Arguments of its ``forward``.

    Returns:
        Whether it had lazy layers; else nothing is run.

    Raises:
        UsageError: The run fails.
    """
    if not any(map(is_lazy, (*module.parameters(), *module.buffers()))):
        return False
    training = [each for each in module.modules() if each.training]
    module.eval()
    try:
        with torch.no_grad():
            module(*inputs)
    except _MISFITS as error:
        shapes = ", ".join("x".join(map(str, each.shape[1:])) for each in inputs)
        raise UsageError(
            f"{type(module).__name__}: its lazy layers get no shapes, because it fails on an input of shape "
            f"{shapes}: {one_line(error)}; pass the shape that it takes"
        ) from error
    for each in training:
        each.training = True
    return True
