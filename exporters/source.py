"""`Source`: what an export starts from, and what is known about it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import onnx_ir as ir
import torch
from torch import nn

from cnntk.runtime.artifact.spec import Network, Preprocessing, TensorSpec

__all__ = ["Dtype", "InputShape", "Source", "SourceOptions"]

InputShape = tuple[int, ...] | Mapping[str, tuple[int, ...] | TensorSpec]
"""(C, H, W) of the only input, or each input's shape by name; without the batch, but in a `TensorSpec`."""


Dtype = Literal["auto", "float32", "float16", "float64"]
"""Of the artifact's weights and inputs; ``auto``: as the source has them, where onnxruntime can run that."""


@dataclass(frozen=True)
class Source:
    """A model and what is known about it. Exactly one of ``module``, ``program`` and ``graph`` is there.

    Attributes:
        name: for people and for the file.
        inputs: in the order of ``forward``'s arguments, the batch as ``"N"`` in front; names are those that
            the artifact's graph will bear.
        module: a torch network in evaluation mode, on the CPU, that answers a dict of tensors by output name.
            It shares its weights with the user's own: copy it before changing any in place.
        program: captured before, as a ``.pt2`` file holds it.
        graph: somebody's ONNX model.
        classifier: whether it is one, where the source says so itself; None: the graph has to tell.
        labels: of the classes; empty where they are not known.
        preprocessing: None where the source does not say.
        network: how to build the module again; None where that is not known.
        provenance: where it comes from.
        notes: what the user should know about the source.
        source_before_cast: The source with its original weights, where a cast may have changed their values;
            else None.
    """

    name: str
    inputs: tuple[TensorSpec, ...]
    module: nn.Module | None = None
    program: torch.export.ExportedProgram | None = None
    graph: ir.Model | None = None
    classifier: bool | None = None
    labels: tuple[str, ...] = ()
    preprocessing: Preprocessing | None = None
    network: Network | None = None
    provenance: dict[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    source_before_cast: Source | None = None

    def __post_init__(self) -> None:
        if sum(part is not None for part in (self.module, self.program, self.graph)) != 1:
            raise ValueError(
                f"Source {self.name!r}: give one of module, program and graph, and no second one"
            )


@dataclass(frozen=True)
class SourceOptions:
    """What the user says about a source; None or empty where the source is to say it itself.

    Attributes:
        input_shape: of what the network takes.
        weights: ``.safetensors`` or ``.pt`` file.
        kwargs: arguments of the factory, or fields of the configuration.
        labels: of the classes, in the order of the logits.
        random: take seeded random weights.
        seed: of the random weights.
        dtype: to cast the network to, before it is captured.
        as_graph: take an ``.onnx`` that cnntk wrote as somebody's, without what it says of itself.
    """

    input_shape: InputShape | None = None
    weights: str | None = None
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    labels: tuple[str, ...] | None = None
    random: bool = False
    seed: int = 0
    dtype: Dtype = "auto"
    as_graph: bool = False
