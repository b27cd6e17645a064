"""The time of each node, from onnxruntime's profiler, without what the profiler itself adds.

Most of the cost of a profiler's event (shapes as text, memory, threads) lies within the node's own time: 2 to
7 us, which is nothing to a large convolution and more than most nodes of LeNet take. It is measured,
interleaved with the model, on chains of `CHAIN_LENGTH` trivial nodes over four numbers:

    a trivial node takes    b = (chain - chain of one node) / (CHAIN_LENGTH - 1), without the profiler
    the profiler reports    d, on average
    so that it adds         d - b

The cost depends on how many tensors an event describes, so nodes of 2 and of 4 tensors are measured. A chain
of one node less b is what a call costs before and after its nodes. Nothing of the model itself enters: that
the layers add up to the run without a profiler is not an identity.

An event of the profile looks like this; durations are whole microseconds, rounded down::

    {"cat": "Node", "name": "conv2d_nchwc_kernel_time", "ts": 10240, "dur": 14, "args": {"op_name": "Conv",
     "input_type_shape": [{"float": [1, 3, 8, 8]}, ...], "output_type_shape": [{"float": [1, 16, 8, 8]}],
     "activation_size": "768", "parameter_size": "1664", "output_size": "4096", ...}}

Weights that a kernel packed for itself are neither among the inputs nor in ``parameter_size``.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnntk.benchmark._inputs import session_inputs
from cnntk.benchmark.interleaved import SETTLE_S, Interleaver, TimedBlock, timed_block
from cnntk.benchmark.layers._graph import Graph, Node, build_model, read_graph
from cnntk.benchmark.workload import Workload
from cnntk.runtime.errors import InferenceError
from cnntk.runtime.files import scratch_folder
from cnntk.runtime.session.devices import resolve_device
from cnntk.runtime.session.session_factory import LoadedModel, SessionSettings, open_session

Float64 = NDArray[np.float64]
Blocks = Mapping[str, Sequence[TimedBlock]]

_BLOCK_S, _MAX_BLOCK_RUNS = 0.02, 12
_MIN_ROUNDS, _MAX_ROUNDS = 4, 120
"""More rounds would fill the disk with the profile of a small model: a kilobyte for each node of each run."""

_KERNEL, _RUN_ENDS = "_kernel_time", "model_run"
_HAS_SUBGRAPHS = frozenset({"If", "Loop", "Scan"})

CHAIN_LENGTH = 16
_CHAIN_BLOCK_S, _MAX_CHAIN_RUNS = 0.002, 8
_CHAIN_NODES = {
    2: [f"{op} (v)" for op in ("Neg", "Abs", "Floor", "Sigmoid", "Ceil", "Sign", "Relu", "Round")],
    4: ["Clip (v, low, high)", "Where (yes, v, high)", "Pad (v, pads, low)", "Sum (v, low, high)"],
}
"""Trivial nodes, by their number of tensors; neighbors differ, so that onnxruntime does not fuse them."""

_CHAIN_WEIGHTS: dict[str, NDArray[Any]] = {
    "low": np.array(-9, np.float32),
    "high": np.array(9, np.float32),
    "yes": np.array(True),
    "pads": np.zeros(8, np.int64),
}


@dataclass(frozen=True)
class ExecutedNode:
    """A node of the optimized graph, as it ran, with the shapes of its inputs and outputs.

    Types of inputs are in onnxruntime's words, like ``float`` and ``uint8``. Data are the bytes of inputs
    and outputs; those of weights leave out what the kernel has packed.
    """

    name: str
    op_type: str
    dtypes: tuple[str, ...]
    inputs: tuple[tuple[int, ...], ...]
    outputs: tuple[tuple[int, ...], ...]
    data_bytes: int
    weight_bytes: int

    @property
    def tensors(self) -> int:
        """Number of inputs and outputs that the profiler described."""
        return len(self.inputs) + len(self.outputs)


@dataclass(frozen=True)
class Profile:
    """Nodes in the order in which they ran, and their durations in microseconds, float64 (runs, nodes)."""

    nodes: tuple[ExecutedNode, ...]
    durations_us: Float64


@dataclass(frozen=True)
class ProfilerOverhead:
    """Times in each round that do not belong to the nodes, in microseconds, (rounds,).

    They are: a call before and after all nodes; what the profiler adds to a node of two tensors, and what for
    each further tensor.
    """

    call_us: Float64
    event_us: Float64
    tensor_us: Float64

    def added_us(self, nodes: Sequence[ExecutedNode]) -> Float64:
        """Time that the profiler adds to each node in microseconds, (rounds, nodes)."""
        further = np.array([node.tensors - 2 for node in nodes])
        return np.asarray(self.event_us[:, None] + self.tensor_us[:, None] * further)


@dataclass(frozen=True)
class NodeTimes:
    """The times of a model's nodes, in microseconds.

    Attributes:
        loaded: Session without profiler.
        device: Name of the device.
        original: Graph of the file.
        optimized: Graph that onnxruntime made of it; empty if it is not available.
        nodes: Nodes of the optimized graph, in the order in which they ran.
        executed: The same nodes, with the shapes that ran.
        nodes_us: Time of each node without what the profiler added, (nodes,).
        call_us: Time of a call before and after the nodes.
        run_us: Time of a run without profiler.
        profiler_us: Time that the profiler added to a node, on average.
        runs: Number of runs under the profiler that count.
    """

    loaded: LoadedModel
    device: str
    original: Graph
    optimized: Graph
    nodes: tuple[Node, ...]
    executed: tuple[ExecutedNode, ...]
    nodes_us: Float64
    call_us: float
    run_us: float
    profiler_us: float
    runs: int


def measure_nodes(workload: Workload) -> NodeTimes:
    """Times all nodes under the profiler, interleaved with runs without it.

    All figures are means over the faster half of the runs in the quieter half of the rounds, so that they are
    of the same moments and add up.
    """
    model = workload.model
    target, settings = resolve_device(workload.device), SessionSettings(threads=workload.threads)
    plain = open_session(model, target, settings)
    original = read_graph(Path(model))
    with scratch_folder() as folder:
        # The cache keeps the optimized graph, whose nodes the profile names.
        caching = replace(settings, cache=folder / "optimized")
        profiled = open_session(model, target, caching, str(folder / "profile"))
        chains = open_chains(folder, plain.threads)
        inputs = session_inputs(plain, workload.batch or 1, workload.sizes)
        wait_s = SETTLE_S if plain.threads > 1 else 0.0
        turns = {
            key: _turn(loaded.session, inputs, _BLOCK_S, _MAX_BLOCK_RUNS, wait_s)
            for key, loaded in (("plain", plain), ("profiled", profiled))
        } | chain_turns(chains)
        blocks = Interleaver(workload.seconds, _MIN_ROUNDS, _MAX_ROUNDS).run(turns)
        overhead = profiler_overhead(chains, blocks)
        profile = read_profile(Path(profiled.session.end_profiling()))
        optimized = next(map(read_graph, (folder / "optimized").glob("*/model.onnx")), Graph())
    quiet = quiet_rounds(blocks)
    added_us = overhead.added_us(profile.nodes)[quiet]
    return NodeTimes(
        loaded=plain,
        device=target.name,
        original=original,
        optimized=optimized,
        nodes=_graph_nodes(profile.nodes, optimized.nodes),
        executed=profile.nodes,
        nodes_us=(node_durations_us(blocks["profiled"], profile)[quiet] - added_us).mean(axis=0),
        call_us=float(overhead.call_us[quiet].mean()),
        run_us=float(run_latencies_us(blocks["plain"])[quiet].mean()),
        profiler_us=float(added_us.mean()),
        runs=sum(len(block.samples) for block in blocks["profiled"]),
    )


def read_profile(file: Path) -> Profile:
    """Reads the file that ``end_profiling`` wrote."""
    runs: list[list[dict[str, Any]]] = []
    run: list[dict[str, Any]] = []
    for event in json.loads(file.read_text(encoding="utf-8", errors="replace")):
        name = event.get("name", "")
        if event.get("cat") == "Node" and name.endswith(_KERNEL):
            if event["args"]["op_name"] in _HAS_SUBGRAPHS:  # its time includes that of the nodes inside
                run = [e for e in run if e["ts"] < event["ts"]]
            run.append(event)
        elif name == _RUN_ENDS:
            runs.append(run)
            run = []
    if not runs or not runs[-1]:
        raise InferenceError("onnxruntime's profile holds no run; try another onnxruntime")
    nodes = tuple(_executed_node(event) for event in runs[-1])
    if any([e["name"].removesuffix(_KERNEL) for e in run] != [n.name for n in nodes] for run in runs):
        raise InferenceError("the model executes different nodes from run to run, so layers can't be timed")
    return Profile(nodes, np.array([[e["dur"] for e in run] for run in runs], dtype=np.float64))


def _executed_node(event: dict[str, Any]) -> ExecutedNode:
    args = event["args"]
    inputs, outputs = (
        [pair for typed in args[key] for pair in typed.items()]
        for key in ("input_type_shape", "output_type_shape")
    )
    return ExecutedNode(
        name=event["name"].removesuffix(_KERNEL),
        op_type=args["op_name"],
        dtypes=tuple(dtype for dtype, _ in inputs),
        inputs=tuple(tuple(shape) for _, shape in inputs),
        outputs=tuple(tuple(shape) for _, shape in outputs),
        data_bytes=int(args["activation_size"]) + int(args["output_size"]),
        weight_bytes=int(args["parameter_size"]),
    )


def open_chains(folder: Path, threads: int) -> dict[str, Any]:
    """Sessions of trivial nodes, with and without profiler, by name; profiles are written to the folder."""
    sessions, cpu, settings = {}, resolve_device("cpu"), SessionSettings(threads=threads)
    for tensors, length in ((2, 1), (2, CHAIN_LENGTH), (4, CHAIN_LENGTH)):
        name, model = f"{length} x {tensors}", _chain(length, tensors)
        sessions[f"plain {name}"] = open_session(model, cpu, settings).session
        if length > 1:
            prefix = str(folder / f"chain-{tensors}")
            sessions[f"profiled {name}"] = open_session(model, cpu, settings, prefix).session
    return sessions


def chain_turns(chains: Mapping[str, Any]) -> dict[str, functools.partial[TimedBlock]]:
    """Turns of `open_chains`, to be interleaved with the model."""
    inputs = {"v0": np.ones((1, 1, 2, 2), np.float32)}
    return {name: _turn(chain, inputs, _CHAIN_BLOCK_S, _MAX_CHAIN_RUNS) for name, chain in chains.items()}


def profiler_overhead(chains: Mapping[str, Any], blocks: Blocks) -> ProfilerOverhead:
    """The overhead in each round; ends the profiling of the chains."""
    one_us = run_latencies_us(blocks["plain 1 x 2"])
    node_us, added_us = {}, {}
    for tensors in (2, 4):
        name = f"{CHAIN_LENGTH} x {tensors}"
        node_us[tensors] = (run_latencies_us(blocks[f"plain {name}"]) - one_us) / (CHAIN_LENGTH - 1)
        profile = read_profile(Path(chains[f"profiled {name}"].end_profiling()))
        reported_us = node_durations_us(blocks[f"profiled {name}"], profile).mean(axis=1)
        added_us[tensors] = reported_us - node_us[tensors]
    call_us = np.maximum(0.0, one_us - node_us[2])
    return ProfilerOverhead(call_us, added_us[2], (added_us[4] - added_us[2]) / 2)


def _chain(length: int, tensors: int) -> bytes:
    nodes = _CHAIN_NODES[tensors]
    lines = (
        f"[n{i}] v{i + 1} = {nodes[i % len(nodes)].replace('(v', f'(v{i}').replace(' v,', f' v{i},')}"
        for i in range(length)
    )
    shape = "float[1,1,2,2]"
    text = f"chain ({shape} v0) => ({shape} v{length}) {{ {' '.join(lines)} }}"
    return build_model(text, _CHAIN_WEIGHTS if tensors == 4 else {})


def _turn(
    session: Any, inputs: dict[str, Any], seconds: float, max_runs: int, wait_s: float = 0.0
) -> functools.partial[TimedBlock]:
    return functools.partial(
        timed_block,
        functools.partial(session.run, None, inputs),
        seconds=seconds,
        min_runs=2,
        max_runs=max_runs,
        settle_s=seconds / 8,
        wait_s=wait_s,
    )


def run_latencies_us(blocks: Sequence[TimedBlock]) -> Float64:
    """Mean latency of the faster half of each block's runs in microseconds, (rounds,).

    Other work on the machine makes a run only slower.
    """
    latencies_ms = (block.samples.latencies_ms for block in blocks)
    return np.array([1e3 * values[_faster_half(values)].mean() for values in latencies_ms])


def node_durations_us(blocks: Sequence[TimedBlock], profile: Profile) -> Float64:
    """Mean duration of each node in the faster half of each block's runs in microseconds, (rounds, nodes)."""
    rows, first = [], 0
    for block in blocks:
        first += block.settling_runs
        runs = profile.durations_us[first : first + len(block.samples)]
        rows.append(runs[_faster_half(block.samples.latencies_ms)].mean(axis=0))
        first += len(block.samples)
    return np.array(rows)


def quiet_rounds(blocks: Blocks) -> NDArray[np.intp]:
    """Indices of the half of the rounds where all sessions together were fastest, each by its median."""
    times = np.array([run_latencies_us(turns) for turns in blocks.values()])
    return _faster_half((times / np.median(times, axis=1, keepdims=True)).sum(axis=0))


def _faster_half(values: Float64) -> NDArray[np.intp]:
    return np.argsort(values)[: (len(values) + 1) // 2]


def _graph_nodes(executed: Sequence[ExecutedNode], nodes: Sequence[Node]) -> tuple[Node, ...]:
    """The graph's node of each that ran: by order, as nodes may lack names; else by name."""
    if [node.op_type for node in executed] == [node.op_type for node in nodes]:
        return tuple(nodes)
    by_name = {node.name: node for node in nodes}
    return tuple(by_name.get(node.name) or Node(node.name, node.op_type, (), ()) for node in executed)
