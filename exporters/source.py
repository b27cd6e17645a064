"""`Source`: the model that is exported, with everything that is known about it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import onnx_ir as ir
import torch
from torch import nn

from cnntk.runtime.artifact.spec import Network, Preprocessing, TensorSpec
from cnntk.runtime.errors import UsageError
from cnntk.runtime.preprocessing.choice import PreprocessingChoice, resolve_preprocessing

__all__ = ["Source", "with_preprocessing"]


@dataclass(frozen=True)
class Source:
    """A model and what is known about it. Exactly one of ``module``, ``program`` and ``graph`` is set.

    Attributes:
        name: Name of the model, for messages and the default file name.
        inputs: Inputs in the order of ``forward``'s arguments, the batch in front, as ``"N"`` or the only
            size that a graph takes; their names are those of the exported graph.
        module: torch network in evaluation mode on the CPU that returns a dict of tensors by output name. It
            shares its weights with the user's module: copy it before changing any in place.
        program: Captured program, as a ``.pt2`` file holds it.
        graph: Somebody's ONNX model, in the form that is exported.
        original_graph: The same model as its file has it, with which ``graph`` is compared; by default
            ``graph`` itself.
        classifier: Whether it is a classifier, where the source says so; None: its outputs decide.
        labels: Names of the classes; empty where they are not known.
        preprocessing: Preprocessing of the first input; None where the source has none.
        network: How to build the module again; None where that is not known.
        provenance: Origin of the model, for the spec.
        notes: Notes for the user.
        source_before_cast: Source before its weights were cast to a coarser type; None where they were not.
    """

    name: str
    inputs: tuple[TensorSpec, ...]
    module: nn.Module | None = None
    program: torch.export.ExportedProgram | None = None
    graph: ir.Model | None = None
    original_graph: ir.Model | None = None
    classifier: bool | None = None
    labels: tuple[str, ...] = ()
    preprocessing: Preprocessing | None = None
    network: Network | None = None
    provenance: dict[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    source_before_cast: Source | None = None

    def __post_init__(self) -> None:
        if sum(form is not None for form in (self.module, self.program, self.graph)) != 1:
            raise ValueError(f"Source {self.name!r}: expected exactly one of module, program and graph")


def with_preprocessing(source: Source, choice: PreprocessingChoice) -> Source:
    """``source`` with this preprocessing of its first input; fields that ``choice`` lacks stay as they are.

    Raises:
        UsageError: As `resolve_preprocessing`.
    """
    if not source.inputs:
        raise UsageError(f"--preprocessing: {source.name} has no input")
    p = resolve_preprocessing(choice, source.inputs[0], source.preprocessing)
    return replace(source, preprocessing=p)
