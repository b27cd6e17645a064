"""What a check takes and returns: `Candidate` and `Check`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
from torch import Tensor, from_numpy, nn

from cnntk.exporters._model_inputs import ExportedInterface
from cnntk.exporters.capture import Captured
from cnntk.exporters.checks._batch_axis import BatchAxes, batch_first
from cnntk.exporters.checks._inputs import CheckInputs, OutputCache, Run, Samples
from cnntk.exporters.checks.reference import Outputs, Reference
from cnntk.exporters.session import Arrays
from cnntk.exporters.source import Source
from cnntk.runtime.codec import NOT_IN_JSON


@dataclass(frozen=True)
class Check:
    """A property of the export that was checked and holds; a check that fails raises.

    Attributes:
        name: Name of the check, like ``batch invariance``.
        detail: Figures and limits, in one line.
        rows: Table behind the line, for checks that have one.
    """

    name: str
    detail: str
    rows: tuple[Any, ...] = field(default=(), metadata=NOT_IN_JSON)


def _not_run(*_: object) -> Any:
    raise ValueError("the candidate's file has not been written and run yet")


@dataclass(frozen=True, eq=False)
class Candidate:
    """An exported graph before its file is released, with everything that checks need.

    Attributes:
        source: Model that was exported.
        captured: Graph as it was captured, before the passes, and its program.
        model: Graph of the network, with torch's notes on its nodes.
        interface: Graph that is written to the file, with preprocessing in front where it takes images.
        reference: Computes what the graph should, in float64 and in the source's own precision.
        inputs: Inputs on which both are run.
        eps: Relative step of the source's precision, like 1.19e-7 for float32.
        module: The source as a torch module; None where it is not torch's or is random.
        output_names: Names of the outputs in the order in which ``module`` returns them: ``Softmax`` or
            ``LogSoftmax`` for one that the head removed, "" for one that is not in the graph.
        softmax_of_logits: Whether the file computes ``probabilities`` as the softmax of ``logits``.
        batch_axes: Axis of the batch by output of the file.
        tolerance: Error that the user accepts on inputs that no photograph resembles, relative to the largest
            output.
        large: Whether the reference takes seconds an image, so that checks run on few images.
        samples: The user's own inputs; None where there are none.
        skipped: Reasons for which passes left a node as it was.
        file: Written file; None where there is none yet.
        run: Runs the written file; arrays in, arrays out.
        wait_for_reference: Returns the reference's outputs for ``inputs``, which are computed meanwhile.
    """

    source: Source
    captured: Captured
    model: ir.Model
    interface: ExportedInterface
    reference: Reference
    inputs: CheckInputs
    eps: float
    module: nn.Module | None
    output_names: tuple[str, ...]
    large: bool
    softmax_of_logits: bool = False
    batch_axes: BatchAxes = field(default_factory=dict)
    tolerance: float = 0.0
    samples: Samples | None = None
    skipped: tuple[str, ...] = ()
    file: Path | None = None
    run: Run = _not_run
    wait_for_reference: Callable[[], Outputs] = _not_run

    @cached_property
    def outputs(self) -> OutputCache:
        """Outputs of the written file for `inputs`, with the batch as first axis."""
        return OutputCache(self.run_batch_first, self.inputs)

    def run_batch_first(self, inputs: Arrays) -> Arrays:
        """`run`, with the batch as first axis of each output."""
        return batch_first(self.run(inputs), self.batch_axes, len(next(iter(inputs.values()))))

    def images_first(self, name: str, output: Tensor, count: int) -> Tensor:
        """An output of `module` for ``count`` images with the batch as first axis, as in `batch_first`."""
        arrays = batch_first({name: output.double().numpy()}, self.batch_axes, count)
        return from_numpy(np.ascontiguousarray(arrays[name])).to(output.dtype)

    @property
    def expected(self) -> Outputs:
        """Outputs of the reference for `inputs`."""
        return self.wait_for_reference()
