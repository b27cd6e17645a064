"""The captured program is the module: torch may specialize while it captures, and says nothing."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn
from torch.utils import _pytree as pytree

from cnntk.exporters.checks.parity import Answers
from cnntk.exporters.checks.record import Check
from cnntk.exporters.checks.reference import Arrays, tensor_of
from cnntk.exporters.checks.returned import compare_returned
from cnntk.exporters.sources.inputs import parameters_of
from cnntk.runtime.errors import ExportCheckError, ParityError

__all__ = ["check_capture", "tensors_of"]


def check_capture(module: nn.Module, answers: Answers, order: tuple[str, ...], images: int) -> Check:
    """Runs the module itself, as Python, on the trials.

    Args:
        module: deterministic.
        answers: of the captured program.
        images: how many of the trials.
        order: the outputs' names in the order in which the module returns them; for a softmax of the logits
            that the head took away, its operator; "" for one that is not kept.

    Raises:
        ExportCheckError: a second call answers something else.
        ParityError: an answer differs from the program's by more than the bound of the export.
    """
    found, second = (tensors_of(module, answers.trials.batch(images)) for _ in range(2))
    if any(not torch.equal(a.nan_to_num(), b.nan_to_num()) for a, b in zip(found, second, strict=True)):
        raise ExportCheckError(
            f"{type(module).__name__}: two calls on one input differ: it is random, or it remembers earlier "
            "calls in a buffer. Nothing was written"
        )
    worst = 0.0
    for name, tensor in zip(order, found, strict=False):
        returned = compare_returned(name, tensor, answers, module)
        if returned is None:
            continue
        judged = np.isfinite(returned.bounds)
        errors = returned.errors[judged]
        worst = max(worst, float(errors.max(initial=0.0)))
        if not (errors <= returned.bounds[judged]).all():
            raise ParityError(
                f"{name}: the program that torch captured differs from the module by {errors.max():.3g}: "
                "something in it depends on values in a way that capturing loses. Nothing was written"
            )
    return Check("capture", f"the module itself differs from float64 by at most {worst:.2g}")


def tensors_of(module: nn.Module, arrays: Arrays) -> list[torch.Tensor]:
    """The tensors that a module answers; inputs go by name where its parameters bear their names."""
    inputs = {name: tensor_of(array) for name, array in arrays.items()}
    by_name = inputs.keys() <= set(parameters_of(module) or ())
    with torch.inference_mode():
        answer = module(**inputs) if by_name else module(*inputs.values())
    return [t for t in pytree.tree_leaves(answer) if isinstance(t, torch.Tensor)]
