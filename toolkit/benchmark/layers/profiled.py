"""`measure_nodes`: each node of a model under onnxruntime's profiler, in turn with runs without it."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnntk.benchmark.inputs import session_inputs
from cnntk.benchmark.layers.graph import Graph, Node, graph_of
from cnntk.benchmark.layers.profile import Profile, RanNode, read_profile
from cnntk.benchmark.layers.profiler_cost import Calibration
from cnntk.benchmark.layers.rounds import SETTLE_S, Player, calm_rounds, play
from cnntk.runtime.errors import UsageError
from cnntk.runtime.session.devices import resolve_device
from cnntk.runtime.session.session_factory import LoadedModel, SessionSettings, open_session

__all__ = ["NodeTimes", "measure_nodes"]

_BLOCK_S, _MOST_RUNS = 0.02, 12
_FEWEST_ROUNDS, _MOST_ROUNDS = 4, 120
"""More would fill the disk with the profile of a small model: a kilobyte for each node of each run."""


@dataclass(frozen=True)
class NodeTimes:
    """What was measured of a model.

    Attributes:
        opened: without profiler.
        device: its name.
        original: the file's graph.
        optimized: as onnxruntime made it; empty where that can't be had.
        nodes: of the optimized graph, in the order in which they ran.
        ran: the same, with shapes.
        nodes_us: (nodes,), without what the profiler added.
        call_us: before and behind the nodes.
        run_us: without profiler.
        profiler_us: that it added to a node, on average.
        runs: under the profiler that were counted.
    """

    opened: LoadedModel
    device: str
    original: Graph
    optimized: Graph
    nodes: tuple[Node, ...]
    ran: tuple[RanNode, ...]
    nodes_us: NDArray[np.float64]
    call_us: float
    run_us: float
    profiler_us: float
    runs: int


def measure_nodes(
    model: str | os.PathLike[str], *, threads: int | None, batch: int, device: str, seconds: float
) -> NodeTimes:
    """Measures all nodes.

    All figures are means over the faster half of the runs in the quieter half of the rounds, so that they are
    of the same moments and add up.

    Args:
        model: an ``.onnx`` file.
        threads: as `Engine` takes them.
        batch: images a run.
        device: as `Engine` takes it.
        seconds: to measure for; at least four rounds of two runs.

    Raises:
        UsageError: batch or seconds are not positive, or the model's input has no size to try.
        CnntkError: the model can't be loaded or run there.
    """
    if batch < 1 or not 0 < seconds < float("inf"):
        raise UsageError(f"batch {batch} and seconds {seconds} must be positive numbers")
    where, settings = resolve_device(device), SessionSettings(threads=threads)
    plain = open_session(model, where, settings)
    with TemporaryDirectory(prefix="cnntk-") as name:
        folder = Path(name)
        # What the cache keeps is the graph that the profile speaks of.
        kept = replace(settings, cache=folder / "optimized")
        profiled = open_session(model, where, kept, str(folder / "profile"))
        calibration = Calibration(folder, plain.threads)
        inputs, settle = session_inputs(plain, batch), SETTLE_S if plain.threads > 1 else 0.0
        pair = [Player(_call(o.session, inputs), _BLOCK_S, _MOST_RUNS, settle) for o in (plain, profiled)]
        everybody = (*pair, *calibration.players)
        play(everybody, seconds=seconds, at_least=_FEWEST_ROUNDS, at_most=_MOST_ROUNDS)
        calibration.end()
        profile = read_profile(Path(profiled.session.end_profiling()))
        optimized = next(map(graph_of, (folder / "optimized").glob("*/model.onnx")), Graph())
    return NodeTimes(
        opened=plain,
        device=where.name,
        original=graph_of(Path(model)),
        optimized=optimized,
        nodes=_paired(profile.nodes, optimized.nodes),
        ran=profile.nodes,
        **_averages(pair, calibration, profile),
    )


def _averages(pair: Sequence[Player], calibration: Calibration, profile: Profile) -> dict[str, Any]:
    """The figures: of each round, and the mean over the quiet ones."""
    plain, profiled = (player.blocks for player in pair)
    calm = calm_rounds((*pair, *calibration.players))
    costs = [calibration.cost(int(i)) for i in calm]
    added = np.array([[cost.of(node.tensors) for node in profile.nodes] for cost in costs])
    stated = np.array([profiled[i].durations_us(profile) for i in calm])
    return {
        "nodes_us": (stated - added).mean(axis=0),
        "call_us": float(np.mean([cost.call_us for cost in costs])),
        "run_us": float(np.mean([plain[i].latency_us for i in calm])),
        "profiler_us": float(added.mean()),
        "runs": sum(len(block.trace) for block in profiled),
    }


def _call(session: Any, inputs: dict[str, NDArray[Any]]) -> Callable[[], object]:
    return lambda: session.run(None, inputs)


def _paired(ran: Sequence[RanNode], nodes: Sequence[Node]) -> tuple[Node, ...]:
    """The graph's node of each that ran: by order, as nodes may lack names; else by name."""
    if [node.op for node in ran] == [node.op for node in nodes]:
        return tuple(nodes)
    by_name = {node.name: node for node in nodes}
    return tuple(by_name.get(node.name) or Node(node.name, node.op, (), ()) for node in ran)
