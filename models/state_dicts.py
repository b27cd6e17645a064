"""Finds the state dict of a checkpoint that fits a network: the key under which it is, and its prefix.

Training code stores weights under a key of its own, beside optimizers and moving averages, and wrappers
(DDP, Lightning, ``torch.compile``) put a prefix before each name. Which of it applies is seen from names and
shapes: what fits the network is taken.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn.parameter import is_lazy

from cnntk.runtime.errors import CheckpointError

__all__ = ["AmbiguousWeightsError", "StateDict", "choose_state_dict", "first_names"]

_WRAPPER_PARTS = re.compile(r"(?:(?<=^)|(?<=\.))(?:_orig_mod|module)\.")
"""Names that ``torch.compile`` and DDP put into those of the modules that they wrap."""

_EMA = re.compile(r"(?:^|[._])ema(?:[._]|$)|averag", re.IGNORECASE)
_USUAL_KEYS = ("", "state_dict", "model", "model_state_dict", "net")
"""Keys under which training code usually stores the weights, the first of several that fit."""

_COUNTERS = ("total_ops", "total_params")
"""Names of the numbers that profilers register as buffers."""

_NEAREST = 3


class AmbiguousWeightsError(CheckpointError):
    """Several state dicts of a file fit the network."""


@dataclass(frozen=True)
class StateDict:
    """Tensors of a file by the names that a network has for them.

    Attributes:
        key: Key in the file under which they are, like ``state_dict``; empty for the file itself.
        prefix: Text that was removed from the beginning of their names.
        tensors: Value of each name; those of tied weights under each of their names.
        source: Mapping in the file.
        ignored: Names in the mapping that the network does not have.
        differences: Number of names that are missing, unexpected, or have another shape in the network; 0
            where it fits.
    """

    key: str
    prefix: str
    tensors: Mapping[str, Any]
    source: Mapping[str, Any]
    ignored: tuple[str, ...]
    differences: int

    @property
    def label(self) -> str:
        """Text by which users choose it, in ``FILE#LABEL``."""
        return f"{self.key}.{self.prefix}".strip(".")

    @property
    def is_average(self) -> bool:
        """Whether it is a moving average of the weights, by its name."""
        return bool(_EMA.search(self.label))


def choose_state_dict(
    content: Mapping[str, Any],
    expected: Mapping[str, Any],
    key: str,
    translate: Callable[[dict[str, Any]], dict[str, Any]] | None = None,
) -> tuple[StateDict, tuple[StateDict, ...]]:
    """Returns the state dict that fits, and others that do, too.

    Of several, the moving average is taken, as its training evaluated it; else the one under the most usual
    key.

    Args:
        content: Content of a weights file.
        expected: State dict of the network, with its parameters as values.
        key: Label of the one that the user wants; empty for any.
        translate: Translation of names to those of the network, where none fits without.

    Raises:
        CheckpointError: None fits; the message names the tensor that is missing, unexpected or of another
            shape in the one that fits best. Or several fit, and nothing says which is meant.
    """
    state_dicts = list(_state_dicts(content))
    attempts = [fit for name, state in state_dicts for fit in _fits(name, state, expected)]
    if key:
        attempts = [a for a in attempts if key in (a.label, a.key) or a.label.startswith(f"{key}.")]
        if not attempts:
            names = (
                ", ".join(sorted({repr(name) for name, _ in state_dicts if name})) or "one state dict only"
            )
            raise CheckpointError(f"no state dict {key!r} in it; it contains {names}")
    if translate is not None and all(a.differences for a in attempts):
        attempts = [_translated(a, translate, expected) for a in attempts]
    fits = _distinct([a for a in attempts if not a.differences])
    if not fits:
        best = min(attempts, key=lambda a: a.differences)
        where = f"{best.key!r} in it " if best.key else ""
        raise CheckpointError(f"{where}{_problem(best.tensors, expected)}")
    averages = [fit for fit in fits if fit.is_average]
    usual = [fit for name in _USUAL_KEYS for fit in fits if fit.key == name and not fit.is_average]
    if len(fits) == 1 or len(averages) == 1:
        chosen = (averages or fits)[0]
    elif not averages and usual and [fit.key for fit in usual].count(usual[0].key) == 1:
        chosen = usual[0]
    else:
        labels = ", ".join(repr(fit.label) for fit in fits)
        raise AmbiguousWeightsError(
            f"several state dicts in it fit: {labels}; choose one, like #{fits[0].label}"
        )
    return chosen, tuple(fit for fit in fits if fit is not chosen)


def first_names(state: Mapping[str, Any]) -> dict[str, str]:
    """Maps each name to the first name of the same tensor: tied weights are one tensor with several names."""
    first: dict[int, str] = {}
    return {name: first.setdefault(id(tensor), name) for name, tensor in state.items()}


def _state_dicts(content: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The mappings with tensors in a file, by key: itself, and those one and two levels below."""
    nested = [
        (key, value) for key, value in content.items() if isinstance(key, str) and isinstance(value, Mapping)
    ]
    below = [
        (f"{key}.{inner}", value)
        for key, outer in nested
        for inner, value in outer.items()
        if isinstance(inner, str) and isinstance(value, Mapping)
    ]
    with_tensors = [(key, state) for key, state in (("", content), *nested, *below) if _has_tensors(state)]
    yield from with_tensors or [("", {key: v for key, v in content.items() if isinstance(key, str)})]


def _has_tensors(state: Mapping[str, Any]) -> bool:
    return all(isinstance(key, str) for key in state) and any(isinstance(v, Tensor) for v in state.values())


def _fits(key: str, state: Mapping[str, Any], expected: Mapping[str, Any]) -> Iterator[StateDict]:
    """Compares a mapping with the network, with each prefix that its names may have."""
    plain = [_compared(key, prefix, state, state, expected) for prefix in _prefixes(state, expected)]
    yield from plain
    if all(attempt.differences for attempt in plain):
        unwrapped = {_WRAPPER_PARTS.sub("", name): value for name, value in state.items()}
        if len(unwrapped) == len(state) and unwrapped.keys() != state.keys():
            for prefix in _prefixes(unwrapped, expected):
                yield _compared(key, prefix, unwrapped, state, expected)


def _prefixes(state: Mapping[str, Any], expected: Mapping[str, Any]) -> dict[str, None]:
    """What may precede the network's names, by the longest of them; and what precedes all names."""
    first, required = first_names(expected), [name for name in expected if not _is_counter(name)]
    prefixes = dict.fromkeys(("", _shared_prefix(state)))
    if required:
        longest = max(required, key=len)
        aliases = [name for name in expected if first[name] == first[longest]]
        prefixes |= {
            name.removesuffix(alias): None
            for alias in aliases
            for name in state
            if name == alias or name.endswith(f".{alias}")
        }
    return prefixes


def _shared_prefix(state: Mapping[str, Any]) -> str:
    """The modules that all names have in front, with their dots."""
    shared = next(iter(state), "").rpartition(".")[0]
    while shared and not all(name.startswith(f"{shared}.") for name in state):
        shared = shared.rpartition(".")[0]
    return f"{shared}." if shared else ""


def _compared(
    key: str, prefix: str, state: Mapping[str, Any], source: Mapping[str, Any], expected: Mapping[str, Any]
) -> StateDict:
    """The tensors of ``state`` behind a prefix, and what is wrong with them."""
    inside = {name.removeprefix(prefix): v for name, v in state.items() if name.startswith(prefix)}
    outside = [name for name in state if not name.startswith(prefix)]
    counters = {name: value for name, value in expected.items() if _is_counter(name)}
    tensors = {**counters, **_with_aliases(inside, expected)}
    numbers = [name for name in tensors if name not in expected and _is_number(name, tensors[name])]
    tensors = {name: value for name, value in tensors.items() if name not in numbers}
    return StateDict(key, prefix, tensors, source, (*outside, *numbers), _differences(tensors, expected))


def _translated(
    attempt: StateDict, translate: Callable[[dict[str, Any]], dict[str, Any]], expected: Mapping[str, Any]
) -> StateDict:
    counters = {name: value for name, value in expected.items() if _is_counter(name)}
    tensors = {**counters, **translate(dict(attempt.tensors))}
    return replace(attempt, tensors=tensors, differences=_differences(tensors, expected))


def _with_aliases(state: dict[str, Any], expected: Mapping[str, Any]) -> dict[str, Any]:
    """Adds the value of a tied weight under all its names."""
    first = first_names(expected)
    by_first_name = {first[name]: value for name, value in state.items() if name in first}
    tied = {name: by_first_name[origin] for name, origin in first.items() if origin in by_first_name}
    return {**tied, **state}


def _is_counter(name: str) -> bool:
    """Whether a name is that of a count of batches, which files from before torch 0.4.1 lack."""
    return name.endswith("num_batches_tracked")


def _is_number(name: str, value: Any) -> bool:
    """Whether it is a count or a setting beside the weights, such as an average's number of updates."""
    return name.endswith(_COUNTERS) or not isinstance(value, Tensor) or not value.ndim


def _differences(state: Mapping[str, Any], expected: Mapping[str, Any]) -> int:
    return len(state.keys() ^ expected.keys()) + sum(1 for _ in _other_kinds(state, expected))


def _other_kinds(state: Mapping[str, Any], expected: Mapping[str, Any]) -> Iterator[str]:
    """The names of tensors that have another shape or kind of number in the network."""
    # extra state is any object, and a lazy parameter takes any shape
    shaped = {n: t for n, t in expected.items() if isinstance(t, Tensor) and not is_lazy(t)}
    yield from (name for name, t in shaped.items() if name in state and _kind(t) != _kind(state[name]))


def _problem(state: Mapping[str, Any], expected: Mapping[str, Any]) -> str:
    """The first difference, in words."""
    unknown = [name for name in state if name not in expected]
    if missing := [name for name in expected if name not in state]:
        close = difflib.get_close_matches(missing[0], unknown, n=_NEAREST, cutoff=0.0)
        hint = f"; the nearest names in the file are {', '.join(map(repr, close))}" if close else ""
        return f"belongs to another network: tensor {_listed(missing)} is missing{hint}"
    if unknown:
        return f"belongs to another network: tensor {_listed(unknown)} is unexpected"
    name = next(_other_kinds(state, expected))
    return f"tensor {name!r} is {_kind(state[name])}, the network has {_kind(expected[name])}"


def _listed(names: list[str]) -> str:
    more = f" (and {len(names) - 1} more)" if len(names) > 1 else ""
    return f"{names[0]!r}{more}"


def _kind(value: Any) -> str:
    """Returns shape and kind of number: 16 or 64 bits may become 32, integers and complex numbers may not."""
    if not isinstance(value, Tensor):
        return type(value).__name__
    number = "real" if value.is_floating_point() else str(value.dtype).removeprefix("torch.")
    return f"{number} {tuple(value.shape)}"


def _distinct(fits: list[StateDict]) -> list[StateDict]:
    """Leaves out state dicts that are equal to one before them."""
    distinct: list[StateDict] = []
    for fit in fits:
        if not any(_equal(fit.tensors, other.tensors) for other in distinct):
            distinct.append(fit)
    return distinct


def _equal(left: Mapping[str, Any], right: Mapping[str, Any]) -> bool:
    return all(
        value is right[name]
        or (isinstance(value, Tensor) and isinstance(right[name], Tensor) and torch.equal(value, right[name]))
        for name, value in left.items()
        if name in right
    )
