"""Opens what the user wants to export as a `Source`: model, inputs and metadata. One kind per file."""

from __future__ import annotations

import os
from dataclasses import replace

import torch
from torch import nn

from cnntk.exporters.options import ExportOptions
from cnntk.exporters.source import Source
from cnntk.exporters.source_kind import check_source, source_kind
from cnntk.exporters.sources._checkpoint import from_checkpoint
from cnntk.exporters.sources._evaluation import to_eval_mode
from cnntk.exporters.sources._factory import from_factory, from_module, from_zoo
from cnntk.exporters.sources._onnx_file import from_onnx
from cnntk.exporters.sources._program import from_program, from_pt2
from cnntk.exporters.sources._timm import from_timm
from cnntk.exporters.sources._torchvision import from_torchvision
from cnntk.exporters.sources._transformers import from_transformers
from cnntk.exporters.sources._weights import network_of_weights
from cnntk.exporters.sources.inputs import in_forward_order
from cnntk.exporters.sources.plugins import open_plugin_source
from cnntk.exporters.sources.precision import cast_source

__all__ = ["SourceLike", "open_source"]

SourceLike = str | os.PathLike[str] | nn.Module | torch.export.ExportedProgram


def open_source(source: SourceLike, options: ExportOptions) -> Source:
    """Opens the model that ``source`` names.

    Args:
        source: A checkpoint's folder or file, a zoo name, ``package.module:NAME``,
            ``path/file.py:NAME``, a ``.pt2`` or ``.onnx`` file, ``transformers:NAME``, ``timm:NAME``,
            ``torchvision.models:NAME``, a scheme of a plug-in (``docs/plugins.md``), a torch module, or an
            exported program.
        options: Options of the export; those that concern the source apply.

    Raises:
        UsageError: There is no such source, an option is missing or contradicts it, a size is dynamic, or it
            can't be cast.
        CheckpointError: The weights are damaged, would run code when read, or belong to another network.
        ArtifactError: The ``.pt2`` or ``.onnx`` file is damaged, or can't run here.
        MissingDependency: The source needs a package that is not installed.
    """
    opened = _open(source, options)
    if options.labels:
        opened = replace(opened, labels=tuple(options.labels))
    if opened.module is not None:
        module = to_eval_mode(opened.module)
        opened = replace(opened, module=module, inputs=in_forward_order(module, opened.inputs))
    return cast_source(opened, options.dtype)


def _open(source: SourceLike, options: ExportOptions) -> Source:
    if isinstance(source, nn.Module):
        return from_module(source, options)
    if isinstance(source, torch.export.ExportedProgram):
        return from_program(source, options)
    text = os.fspath(source)
    check_source(text, options)
    scheme, _, rest = text.partition(":")
    match source_kind(text):
        case "checkpoint":
            return from_checkpoint(text, options)
        case "pt2":
            return from_pt2(text, options)
        case "onnx":
            return from_onnx(text, options)
        case "transformers":
            return from_transformers(rest, options)
        case "timm":
            return from_timm(rest, options)
        case "torchvision.models":
            return from_torchvision(rest, options)
        case "plugin":
            return open_plugin_source(scheme, rest, options)
        case "weights":
            raise network_of_weights(text)
        case "factory":
            return from_factory(text, options)
        case _:
            return from_zoo(text, options)
