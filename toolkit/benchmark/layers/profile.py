"""What onnxruntime's profiler says of each node of each run.

An event looks like this; durations are whole microseconds, cut off::

    {"cat": "Node", "name": "conv2d_nchwc_kernel_time", "ts": 10240, "dur": 14, "args": {"op_name": "Conv",
     "input_type_shape": [{"float": [1, 3, 8, 8]}, ...], "output_type_shape": [{"float": [1, 16, 8, 8]}],
     "activation_size": "768", "parameter_size": "1664", "output_size": "4096", ...}}

Weights that a kernel packed for itself stand neither among the inputs nor in ``parameter_size``.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnntk.runtime.errors import InferenceError

__all__ = ["Profile", "RanNode", "read_profile"]

_KERNEL = "_kernel_time"
_RUN_ENDS = "model_run"
_HAS_SUBGRAPHS = frozenset({"If", "Loop", "Scan"})


@dataclass(frozen=True)
class RanNode:
    """A node of the optimized graph, as it ran.

    Attributes:
        name: of the node.
        op: operator.
        dtypes: of its inputs, as onnxruntime calls them: ``float``, ``uint8``.
        inputs: shapes of its inputs.
        outputs: shapes of its outputs.
        data_bytes: what it read and wrote that is no weight.
        weight_bytes: what it read of weights, but for those that it has packed.
    """

    name: str
    op: str
    dtypes: tuple[str, ...]
    inputs: tuple[tuple[int, ...], ...]
    outputs: tuple[tuple[int, ...], ...]
    data_bytes: int
    weight_bytes: int

    @property
    def tensors(self) -> int:
        """How many inputs and outputs the profiler wrote down."""
        return len(self.inputs) + len(self.outputs)


@dataclass(frozen=True)
class Profile:
    """All runs of a session.

    Attributes:
        nodes: in the order in which they ran.
        durations_us: float64 (runs, nodes).
    """

    nodes: tuple[RanNode, ...]
    durations_us: NDArray[np.float64]


def read_profile(file: Path) -> Profile:
    """Reads what `end_profiling` left.

    Raises:
        InferenceError: there is no run in it, or the runs went different ways through the graph.
    """
    runs: list[list[dict[str, Any]]] = []
    run: list[dict[str, Any]] = []
    for event in json.loads(file.read_text(encoding="utf-8", errors="replace")):
        name = event.get("name", "")
        if event.get("cat") == "Node" and name.endswith(_KERNEL):
            if event["args"]["op_name"] in _HAS_SUBGRAPHS:  # its time holds that of the nodes inside
                run = [e for e in run if e["ts"] < event["ts"]]
            run.append(event)
        elif name == _RUN_ENDS:
            runs.append(run)
            run = []
    if not runs or not runs[-1]:
        raise InferenceError("onnxruntime's profile holds no run; try another onnxruntime")
    nodes = tuple(_node(event) for event in runs[-1])
    if any([e["name"].removesuffix(_KERNEL) for e in run] != [n.name for n in nodes] for run in runs):
        raise InferenceError("the model takes another way through its graph from run to run")
    return Profile(nodes, np.array([[e["dur"] for e in run] for run in runs], dtype=np.float64))


def _node(event: dict[str, Any]) -> RanNode:
    args = event["args"]
    inputs, outputs = (
        [pair for typed in args[key] for pair in typed.items()]
        for key in ("input_type_shape", "output_type_shape")
    )
    return RanNode(
        name=event["name"].removesuffix(_KERNEL),
        op=args["op_name"],
        dtypes=tuple(dtype for dtype, _ in inputs),
        inputs=tuple(tuple(shape) for _, shape in inputs),
        outputs=tuple(tuple(shape) for _, shape in outputs),
        data_bytes=int(args["activation_size"]) + int(args["output_size"]),
        weight_bytes=int(args["parameter_size"]),
    )
