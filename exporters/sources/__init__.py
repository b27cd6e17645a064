"""What the user has becomes a `Source`: a model, its inputs and what is known about it. One kind a file."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from cnntk.exporters.source import Source, SourceOptions
from cnntk.exporters.sources.checkpoint import from_checkpoint, is_checkpoint
from cnntk.exporters.sources.evaluation import to_eval_mode
from cnntk.exporters.sources.factory import from_factory
from cnntk.exporters.sources.inputs import in_forward_order, parse_input
from cnntk.exporters.sources.module import from_module
from cnntk.exporters.sources.onnx_file import from_onnx
from cnntk.exporters.sources.plugins import ENTRY_POINT_GROUP, find_plugin
from cnntk.exporters.sources.precision import cast_source
from cnntk.exporters.sources.program import from_program, from_pt2
from cnntk.exporters.sources.timm import from_timm
from cnntk.exporters.sources.transformers import from_transformers
from cnntk.exporters.sources.zoo import from_zoo
from cnntk.models.zoo import names
from cnntk.runtime.errors import UsageError

__all__ = ["ENTRY_POINT_GROUP", "SourceLike", "open_source", "parse_input"]

SourceLike = str | os.PathLike[str] | nn.Module | torch.export.ExportedProgram


def open_source(source: SourceLike, options: SourceOptions) -> Source:
    """The model that ``source`` names.

    Args:
        source: a checkpoint's folder or file, a zoo name, ``package.module:factory``,
            ``path/file.py:factory``, a ``.pt2`` or ``.onnx`` file, ``transformers:NAME``, ``timm:NAME``, what
            an entry point of the group ``cnntk.sources`` adds, a torch module, or an exported program.
        options: what to take from the user rather than from the source.

    Raises:
        UsageError: there is no such source, or an option is missing or does not fit it, or it can't be cast.
        CheckpointError: the weights are damaged or belong to another network.
        ArtifactError: the ``.pt2`` or ``.onnx`` file is damaged, or can't be run here.
        MissingDependency: the source needs a package that is not installed.
    """
    found = _opened(source, options)
    if options.labels is not None:
        found = replace(found, labels=options.labels)
    if found.module is not None:
        module = to_eval_mode(found.module)
        found = replace(found, module=module, inputs=in_forward_order(module, found.inputs))
    return cast_source(found, options.dtype)


def _opened(source: SourceLike, options: SourceOptions) -> Source:
    if isinstance(source, nn.Module):
        return from_module(source, options)
    if isinstance(source, torch.export.ExportedProgram):
        return from_program(source, options)
    text = os.fspath(source)
    scheme, _, rest = text.partition(":")
    if is_checkpoint(text):
        return from_checkpoint(text, options)
    if Path(text).suffix == ".pt2":
        return from_pt2(text, options)
    if Path(text).suffix == ".onnx":
        return from_onnx(text, options)
    if scheme == "transformers" and rest:
        return from_transformers(rest, options)
    if scheme == "timm" and rest:
        return from_timm(rest, options)
    if rest and (plugin := find_plugin(scheme)) is not None:
        return plugin(rest, options)
    if rest:
        return from_factory(text, options)
    _check_is_name(text)
    return from_zoo(text, options)


def _check_is_name(text: str) -> None:
    """Says what is wrong with a path that no kind of source took."""
    path = Path(text)
    if path.suffix == ".py":
        raise UsageError(f"{text}: name the function that builds the network: {text}:function")
    if path.is_dir() and text not in names():
        raise UsageError(f"{text}: is no checkpoint; expected spec.json and model.safetensors in it")
    if os.sep in text:
        raise UsageError(f"{text}: no such checkpoint")
