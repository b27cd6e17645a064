"""Observes whether the code of a network loads weights while it builds it."""

from __future__ import annotations

import contextlib
import functools
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import safetensors.torch
import torch
from torch import nn

__all__ = ["LoadingCalls", "observe_loading"]

_LOADERS: tuple[tuple[Any, str], ...] = (
    (torch, "load"),
    (nn.Module, "load_state_dict"),
    (safetensors.torch, "load_file"),
    (safetensors.torch, "load_model"),
)


@dataclass
class LoadingCalls:
    """The functions that loaded weights, in the order of their first calls."""

    names: dict[str, None] = field(default_factory=dict)

    @property
    def text(self) -> str:
        """The names, for a sentence; empty where nothing was loaded."""
        return ", ".join(self.names)


@contextlib.contextmanager
def observe_loading(calls: LoadingCalls, seed: int) -> Iterator[None]:
    """Records the calls that load weights in this thread, and changes each seed that the code sets.

    A fixed seed in the code would make random weights look like loaded ones: they would be equal in every
    build. So `torch.manual_seed` takes the code's seed and ``seed``.
    """
    thread, manual_seed = threading.get_ident(), torch.manual_seed

    def mixed_seed(value: int) -> torch.Generator:
        here = threading.get_ident() == thread
        return manual_seed((int(value) ^ (seed + 1) * 0x9E3779B1) % 2**63 if here else value)

    with contextlib.ExitStack() as stack:
        for owner, name in _LOADERS:
            _replace(stack, owner, name, _recorded(calls, owner, name, thread))
        for owner in (torch, torch.random):
            _replace(stack, owner, "manual_seed", mixed_seed)
        yield


def _replace(stack: contextlib.ExitStack, owner: Any, name: str, function: Callable[..., Any]) -> None:
    stack.callback(setattr, owner, name, getattr(owner, name))
    setattr(owner, name, function)


def _recorded(calls: LoadingCalls, owner: Any, name: str, thread: int) -> Callable[..., Any]:
    function = getattr(owner, name)

    @functools.wraps(function)
    def record(*args: Any, **kwargs: Any) -> Any:
        if threading.get_ident() == thread:
            calls.names[name] = None
        return function(*args, **kwargs)

    return record
