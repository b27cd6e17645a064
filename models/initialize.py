"""Initial weights.

Glorot and Bengio, "Understanding the difficulty of training deep feedforward neural networks", 2010,
keep the variance of activations and of gradients equal through the layers: without that the sigmoid
LeNet does not learn at all.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from torch import nn

from cnntk.runtime.errors import UsageError

__all__ = ["init_cnn", "init_normal", "initialize"]

_Module = TypeVar("_Module", bound=nn.Module)


def init_cnn(module: nn.Module) -> None:
    """Draws Xavier-uniform weights, zero biases, for Linear and Conv2d; use with ``network.apply``.

    Weights are drawn from U(-a, a) with a = sqrt(6 / (fan_in + fan_out)).
    """
    if isinstance(module, nn.Linear | nn.Conv2d):
        nn.init.xavier_uniform_(module.weight)
        _clear_bias(module)


def init_normal(module: nn.Module, std: float = 0.01) -> None:
    """Draws weights from N(0, std²), zero biases, for Linear only; use with ``network.apply``."""
    if isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, std=std)
        _clear_bias(module)


_METHODS: dict[str, Callable[[nn.Module], None]] = {"xavier": init_cnn, "normal": init_normal}


def initialize(network: _Module, method: str) -> _Module:
    """Draws the weights of ``network`` anew, in place, and returns it.

    Args:
        network: Any module; layers that the method does not cover stay as they are.
        method: ``xavier`` (`init_cnn`) or ``normal`` (`init_normal`).

    Raises:
        UsageError: There is no such method.
    """
    if method not in _METHODS:
        raise UsageError(f"unknown initialization {method!r}; choose one of {', '.join(_METHODS)}")
    network.apply(_METHODS[method])
    return network


def _clear_bias(module: nn.Linear | nn.Conv2d) -> None:
    if module.bias is not None:
        nn.init.zeros_(module.bias)
