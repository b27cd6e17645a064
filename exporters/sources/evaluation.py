"""The network as it is exported: a copy that shares its weights, in evaluation mode, with plain weights."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.nn.utils import parametrize, remove_spectral_norm, remove_weight_norm
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm

from cnntk.exporters.sources.outputs import name_outputs
from cnntk.runtime.errors import UsageError

__all__ = ["cast_weights", "to_eval_mode"]

# What objects raise that can't be copied: locks and files TypeError; pickling hooks, whatever they like.
_UNCOPYABLE = (TypeError, RuntimeError, AttributeError, ValueError)


def to_eval_mode(module: nn.Module) -> nn.Module:
    """A copy of ``module`` for export; ``module`` itself, its training flags and hooks stay as they are.

    The copy is in evaluation mode in every part, on the CPU, with contiguous weights that share the memory of
    ``module``'s where those were so already; weight and spectral norms are computed once and for all; it
    answers a dict of tensors, by output name.

    Raises:
        UsageError: it has no weights yet, or is no Python module.
    """
    module = _unwrapped(module)
    _check(module)
    twin = _twin(module)
    twin.eval()
    for part in twin.modules():
        part.training = False  # an overridden train() may have left some as they were
    with torch.no_grad():
        for part in twin.modules():
            _settle(part)
    return name_outputs(twin)


def cast_weights(module: nn.Module, types: Mapping[torch.dtype, torch.dtype]) -> nn.Module:
    """A copy of ``module`` in which every tensor of a type in ``types`` has the type named there.

    Also tensors that are no parameters, and types that the network keeps in an attribute to convert its input
    to; tensors of other types share the memory of ``module``'s.
    """

    def cast(tensor: Tensor) -> Tensor:
        if tensor.dtype not in types:
            return tensor
        plain = tensor.detach().to(types[tensor.dtype])
        return nn.Parameter(plain, requires_grad=False) if isinstance(tensor, nn.Parameter) else plain

    return _twin(module, cast, {id(old): new for old, new in types.items()})


def _unwrapped(module: nn.Module) -> nn.Module:
    """The network inside torch.compile's and DataParallel's shells."""
    while True:
        inner = getattr(module, "_orig_mod", None)
        if isinstance(module, nn.DataParallel | nn.parallel.DistributedDataParallel):
            inner = module.module
        if not isinstance(inner, nn.Module):
            return module
        module = inner


def _check(module: nn.Module) -> None:
    kind = type(module).__name__
    if isinstance(module, torch.jit.ScriptModule):
        raise UsageError(
            f"{kind} is TorchScript, which can't be captured; give the nn.Module it was made from"
        )
    for name, value in (*module.named_parameters(), *module.named_buffers()):
        if is_lazy(value):
            raise UsageError(
                f"{kind}: {name!r} is lazy and has no shape yet; run the network once on an example before"
            )
        if value.is_meta:
            raise UsageError(
                f"{kind}: {name!r} is on the meta device and has no values; load the weights first"
            )


def _twin(
    module: nn.Module, change: Callable[[Tensor], Tensor] | None = None, memo: Mapping[int, Any] | None = None
) -> nn.Module:
    """A deep copy but for the tensors, which torch refuses to copy in part: they become what ``change`` says.

    By default they share their memory. ``memo`` has further stand-ins, by the id of what they stand for.
    """
    kept: dict[int, Any] = dict(memo or {})
    tensors = (tensor for part in module.modules() for tensor in _tensors(vars(part)))
    shared = kept | {id(tensor): (change or _shared)(tensor) for tensor in tensors}
    try:
        return copy.deepcopy(module, dict(shared))
    except _UNCOPYABLE:
        others = (value for part in module.modules() for value in vars(part).values())
        return copy.deepcopy(module, shared | {id(v): v for v in others if not _copyable(v, shared)})


def _shared(tensor: Tensor) -> Tensor:
    plain = tensor.detach().cpu().contiguous()
    if type(tensor) is nn.Parameter:
        return nn.Parameter(plain, requires_grad=False)
    return plain if type(tensor) is Tensor else tensor


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, dict):
        yield from _tensors(list(value.values()))
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _tensors(item)


def _copyable(value: Any, shared: dict[int, Any]) -> bool:
    if isinstance(value, dict) and any(isinstance(v, nn.Module) for v in value.values()):
        return True  # the parts answer for themselves
    try:
        copy.deepcopy(value, dict(shared))
    except _UNCOPYABLE:
        return False
    return True


def _settle(part: nn.Module) -> None:
    """Puts the value of each parametrised weight in its place."""
    for name in [h.name for h in part._forward_pre_hooks.values() if isinstance(h, WeightNorm)]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            remove_weight_norm(part, name)
    for name in [h.name for h in part._forward_pre_hooks.values() if isinstance(h, SpectralNorm)]:
        remove_spectral_norm(part, name)
    if parametrize.is_parametrized(part):
        _settle_parametrizations(part)


def _settle_parametrizations(part: nn.Module) -> None:
    """As ``parametrize.remove_parametrizations``, which would change the class and tensors that we share."""
    names = tuple(part.get_submodule("parametrizations")._modules)
    values = {name: getattr(part, name) for name in names}
    part.__class__ = parametrize.type_before_parametrizations(part)
    del part._modules["parametrizations"]
    for name, value in values.items():
        part.register_parameter(name, nn.Parameter(value.detach().contiguous(), requires_grad=False))
