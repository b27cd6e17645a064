"""Weights that are named as a source: which network they belong to, and the command that exports them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cnntk.exporters.options import format_input
from cnntk.models import zoo
from cnntk.models.python_names import names_of_file
from cnntk.models.state_dicts import AmbiguousWeightsError, choose_state_dict
from cnntk.models.weight_files import read_weights_file
from cnntk.models.weights_reference import split_reference
from cnntk.runtime.artifact.spec import Network
from cnntk.runtime.errors import CheckpointError, UsageError


def network_of_weights(text: str) -> UsageError:
    """Returns the error that says which network the weights fit, with the commands to type as notes.

    Raises:
        CheckpointError: The file is damaged, or would run code when read.
    """
    file, key = split_reference(text)
    content = read_weights_file(file)
    if commands := list(_zoo_commands(text, content, key)):
        error = UsageError(f"{text}: weights without their network; they fit a network of the zoo:")
        commands = commands[:1]
    else:
        error = UsageError(f"{text}: weights without their network; name what builds it:")
        commands = [f"cnntk export {n} --input CxHxW --weights {text}" for n in _networks_here()] or [
            f"cnntk export FILE.py:NAME --input CxHxW --weights {text}",
            f"cnntk export torchvision.models:NAME --weights {text}",
            f"cnntk export timm:NAME --weights {text}",
        ]
    for command in commands:
        error.add_note(f"  {command}")
    return error


def _zoo_commands(text: str, content: Mapping[str, Any], key: str) -> Iterator[str]:
    """Commands for the networks of the zoo that the weights fit, with their classes and channels."""
    tensors = list(_tensors(content))
    convolutions = [tensor for tensor in tensors if tensor.ndim == 4]
    biases = [tensor for tensor in tensors if tensor.ndim == 1]
    if not convolutions or not biases:
        return
    kwargs = {"num_classes": len(biases[-1]), "in_channels": convolutions[0].shape[1]}
    for name, entry in zoo.BUILT_IN.items():
        if _fits(name, kwargs, content, key):
            shape = (kwargs["in_channels"], *entry.input_shape[1:])
            size = "" if shape == entry.input_shape else f" --input {format_input(shape)}"
            yield f"cnntk export {name} --kwargs num_classes={kwargs['num_classes']}{size} --weights {text}"


def _fits(name: str, kwargs: dict[str, int], content: Mapping[str, Any], key: str) -> bool:
    with torch.device("meta"):
        expected = zoo.build(Network(name, kwargs)).state_dict(keep_vars=True)
    try:
        choose_state_dict(content, expected, key)
    except AmbiguousWeightsError:
        return True
    except CheckpointError:
        return False
    return True


def _tensors(content: Mapping[str, Any]) -> Iterator[Tensor]:
    for value in content.values():
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, Mapping):
            yield from _tensors(value)


def _networks_here() -> Iterator[str]:
    """The networks in the Python files of the current folder, by their text."""
    for file in sorted(Path().glob("*.py")):
        try:
            names = names_of_file(file).networks
        except UsageError:  # another program's file
            continue
        yield from (f"{file}:{name}" for name in names)
