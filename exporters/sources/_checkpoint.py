"""A checkpoint that ``cnntk train`` wrote: its folder, or the weights in it."""

from __future__ import annotations

from pathlib import Path

import torch

from cnntk.exporters.checks.limits import EPSILON
from cnntk.exporters.options import ExportOptions
from cnntk.exporters.source import Source
from cnntk.exporters.sources.inputs import form, one_shape, refuse_build_options
from cnntk.models.checkpoint import load_checkpoint
from cnntk.runtime.errors import UsageError


def from_checkpoint(text: str, options: ExportOptions) -> Source:
    """Opens the trained network with everything that its spec says."""
    refuse_build_options(f"{text} is a checkpoint, which contains network and weights", options)
    checkpoint = load_checkpoint(text, trust=options.trust)
    spec = checkpoint.spec
    trained, requested = spec.inputs[0].shape[1:], one_shape(options.input_shape, text)
    if requested is not None and requested != trained:
        raise UsageError(f"--input {form(requested)}: {text} was trained at {form(trained)}")
    dtype = spec.inputs[0].dtype
    if dtype in EPSILON:  # weights are read into a network of float32, which holds those of half precision
        checkpoint.module.to(getattr(torch, dtype))
    return Source(
        name=_name(Path(text)),
        inputs=spec.inputs,
        module=checkpoint.module,
        classifier=spec.head == "classifier",
        labels=spec.labels,
        preprocessing=spec.preprocessing,
        network=spec.network,
        provenance=spec.provenance,
    )


def _name(path: Path) -> str:
    """Returns the folder's name, which distinguishes a user's runs of one network."""
    path = path.resolve()
    return path.parent.name if path.suffix == ".safetensors" else path.name
