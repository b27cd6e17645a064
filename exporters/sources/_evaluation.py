"""The network as it is exported: a copy in evaluation mode that shares its weights, with plain weights."""

from __future__ import annotations

import copy
import functools
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.nn.utils import parametrize, remove_spectral_norm, remove_weight_norm
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree

from cnntk.exporters.sources.outputs import name_outputs
from cnntk.runtime.errors import UsageError

# What objects raise that can't be copied: locks and files TypeError; pickling hooks, whatever they like.
_UNCOPYABLE = (TypeError, RuntimeError, AttributeError, ValueError)


def to_eval_mode(module: nn.Module) -> nn.Module:
    """Returns a copy of ``module`` for export; ``module``, its training flags and its hooks are not changed.

    The copy is in evaluation mode in every submodule, on the CPU, with contiguous weights that share the
    memory of ``module``'s where possible; weight and spectral norms are computed once; it returns a dict of
    tensors by output name.

    Raises:
        UsageError: The module has no weights yet, or is not a Python module.
    """
    module = _unwrapped(module)
    _check(module)
    copied = _copy(module)
    copied.eval()
    for submodule in copied.modules():
        submodule.training = False  # an overridden train() may have left some as they were
    with torch.no_grad():
        for submodule in copied.modules():
            _fix_weights(submodule)
    return name_outputs(copied)


def cast_weights(module: nn.Module, types: Mapping[torch.dtype, torch.dtype]) -> nn.Module:
    """Returns a copy of ``module`` in which every tensor of a type in ``types`` has the type it maps to.

    This includes tensors that are not parameters, types that the network keeps in an attribute to convert
    its input to, and those that its code names, where they become float32: ``x.double()`` is ``x.float()``.
    Casts to float16 leave the code as it is, which takes sums in float32 on purpose. Tensors of other types
    share the memory of ``module``'s.
    """

    def cast(tensor: Tensor) -> Tensor:
        if tensor.dtype not in types:
            return tensor
        plain = tensor.detach().to(types[tensor.dtype])
        return nn.Parameter(plain, requires_grad=False) if isinstance(tensor, nn.Parameter) else plain

    copied = _copy(module, cast, {id(old): new for old, new in types.items()})
    widened = {old: new for old, new in types.items() if new is torch.float32}
    return _with_conversions(copied, widened) if widened else copied


def _with_conversions(module: nn.Module, types: Mapping[torch.dtype, torch.dtype]) -> nn.Module:
    """Gives ``module`` a class of the same name whose code converts to other types than it says."""
    kind = type(module)

    @functools.wraps(kind.forward)
    def forward(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
        with _Conversions(types):
            return kind.forward(self, *args, **kwargs)

    module.__class__ = type(kind.__name__, (kind,), {"forward": forward, "__module__": kind.__module__})
    return module


class _Conversions(TorchFunctionMode):
    """Replaces types: in arguments of torch's functions, in methods such as `Tensor.double`, in results."""

    _METHODS: ClassVar[Mapping[Any, torch.dtype]] = {
        Tensor.double: torch.float64,
        Tensor.half: torch.float16,
        Tensor.bfloat16: torch.bfloat16,
    }

    def __init__(self, types: Mapping[torch.dtype, torch.dtype]) -> None:
        super().__init__()
        self._types = types

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if (new := self._types.get(self._METHODS.get(func, torch.bool))) is not None:
            return args[0].to(new)
        args, kwargs = pytree.tree_map(self._replace, (args, kwargs or {}))
        result = func(*args, **kwargs)
        if isinstance(result, Tensor) and result.dtype in self._types:
            return result.to(self._types[result.dtype])
        return result

    def _replace(self, value: Any) -> Any:
        return self._types.get(value, value) if isinstance(value, torch.dtype) else value


def _unwrapped(module: nn.Module) -> nn.Module:
    """Returns the network inside the wrappers of torch.compile and DataParallel."""
    while True:
        inner = getattr(module, "_orig_mod", None)
        if isinstance(module, nn.DataParallel | nn.parallel.DistributedDataParallel):
            inner = module.module
        if not isinstance(inner, nn.Module):
            return module
        module = inner


def _check(module: nn.Module) -> None:
    """Raises UsageError for a module without weights, or in TorchScript."""
    kind = type(module).__name__
    if isinstance(module, torch.jit.ScriptModule):
        raise UsageError(
            f"{kind} is TorchScript, which can't be captured; pass the nn.Module that it was compiled from"
        )
    for name, value in (*module.named_parameters(), *module.named_buffers()):
        if is_lazy(value):
            raise UsageError(
                f"{kind}: {name!r} is lazy and has no shape yet; run the network once on an example first"
            )
        if value.is_meta:
            raise UsageError(
                f"{kind}: {name!r} is on the meta device and has no values; load the weights first"
            )


def _copy(
    module: nn.Module, change: Callable[[Tensor], Tensor] | None = None, memo: Mapping[int, Any] | None = None
) -> nn.Module:
    """Copies deeply except for tensors, some of which torch refuses to copy: ``change`` replaces them.

    By default they share their memory. ``memo`` maps ids of further objects to their replacements.
    """
    replacements: dict[int, Any] = dict(memo or {})
    tensors = (tensor for submodule in module.modules() for tensor in _tensors(vars(submodule)))
    shared = replacements | {id(tensor): (change or _shared)(tensor) for tensor in tensors}
    try:
        return copy.deepcopy(module, dict(shared))
    except _UNCOPYABLE:
        others = (value for submodule in module.modules() for value in vars(submodule).values())
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
        return True  # submodules are checked on their own
    try:
        copy.deepcopy(value, dict(shared))
    except _UNCOPYABLE:
        return False
    return True


def _fix_weights(submodule: nn.Module) -> None:
    """Replaces each parametrized weight by its value."""
    for name in [h.name for h in submodule._forward_pre_hooks.values() if isinstance(h, WeightNorm)]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            remove_weight_norm(submodule, name)
    for name in [h.name for h in submodule._forward_pre_hooks.values() if isinstance(h, SpectralNorm)]:
        remove_spectral_norm(submodule, name)
    if parametrize.is_parametrized(submodule):
        _fix_parametrizations(submodule)


def _fix_parametrizations(submodule: nn.Module) -> None:
    """Does what ``parametrize.remove_parametrizations`` does, without changing shared classes and tensors."""
    names = tuple(submodule.get_submodule("parametrizations")._modules)
    values = {name: getattr(submodule, name) for name in names}
    submodule.__class__ = parametrize.type_before_parametrizations(submodule)
    del submodule._modules["parametrizations"]
    for name, value in values.items():
        submodule.register_parameter(name, nn.Parameter(value.detach().contiguous(), requires_grad=False))
