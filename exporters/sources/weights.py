"""A network that is built here gets the user's weights, or random ones where the user asks for them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from cnntk.exporters.source import SourceOptions
from cnntk.models.checkpoint import load_weights
from cnntk.runtime.errors import UsageError

__all__ = ["with_weights"]


def with_weights(
    build: Callable[[], nn.Module], name: str, options: SourceOptions
) -> tuple[nn.Module, dict[str, Any]]:
    """The network that ``build`` builds, and where its weights come from.

    Raises:
        UsageError: neither weights nor random ones were asked for, or both.
        CheckpointError: the weights are damaged, would run code when read, or belong to another network.
    """
    if (options.weights is None) == (not options.random):
        raise UsageError(
            f"{name}: give its weights (--weights FILE), or --random for a trial with random ones"
            if options.weights is None
            else "--weights and --random exclude each other"
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(options.seed)
        module = build()
    if options.weights is None:
        return module, {"weights": f"random, seed {options.seed}"}
    load_weights(module, options.weights)
    return module, {"weights": Path(options.weights).name}
