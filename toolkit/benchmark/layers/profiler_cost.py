"""What onnxruntime's profiler adds to the time that it states for a node, measured on nodes that do nothing.

Most of an event's cost (shapes as text, memory, threads) lies within the node's own time: 2 to 7 us, which is
nothing to a large convolution and more than most nodes of LeNet take. It is measured, beside the model and in
turn with it, on chains of `LENGTH` nodes over four numbers:

    a node that does nothing takes     b = (chain - chain of one node) / (LENGTH - 1), without the profiler
    the profiler states                d, on average
    so that it adds                    d - b

and, because it depends on how many tensors the profiler writes down, that is done with two kinds of nodes,
of 2 and of 4 tensors. A chain of one node less b is what a call costs before and behind all nodes. Nothing of
the model itself goes into it: that the layers add up to the run without a profiler is no identity.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnntk.benchmark.layers.profile import Profile, read_profile
from cnntk.benchmark.layers.rounds import Player
from cnntk.benchmark.layers.small_graphs import model, node, tensor, value
from cnntk.runtime.session.devices import resolve_device
from cnntk.runtime.session.session_factory import SessionSettings, open_session

__all__ = ["Calibration", "Cost"]

LENGTH = 16
_SECONDS, _MOST = 0.002, 8
_SHAPE = (1, 1, 2, 2)
_FEW, _MANY = 2, 4
_KINDS: dict[int, list[tuple[str, list[str]]]] = {
    _FEW: [(op, ["x"]) for op in ("Neg", "Abs", "Floor", "Sigmoid", "Ceil", "Sign", "Relu", "Round")],
    _MANY: [
        ("Clip", ["x", "low", "high"]),
        ("Where", ["yes", "x", "high"]),
        ("Pad", ["x", "pads", "low"]),
        ("Sum", ["x", "low", "high"]),
    ],
}
_CONSTANTS: dict[str, NDArray[Any]] = {
    "low": np.array(-9, np.float32),
    "high": np.array(9, np.float32),
    "yes": np.array(True),
    "pads": np.zeros(8, np.int64),
}


@dataclass(frozen=True)
class Cost:
    """What is not the layers' own.

    Attributes:
        call_us: of a call, before and behind all nodes.
        event_us: that the profiler adds to a node of two tensors.
        tensor_us: that it adds for each further one.
    """

    call_us: float
    event_us: float
    tensor_us: float

    def of(self, tensors: int) -> float:
        """What the profiler adds to a node of so many inputs and outputs, in microseconds."""
        return self.event_us + self.tensor_us * (tensors - _FEW)


@dataclass
class Calibration:
    """Sessions of nodes that do nothing, with and without profiler.

    Attributes:
        folder: for profiles.
        threads: on the CPU, as the model's.
        profiles: of the sessions that have one, by name, once it has ended.
    """

    folder: Path
    threads: int
    profiles: dict[str, Profile] = field(default_factory=dict)
    _sessions: dict[str, Any] = field(default_factory=dict)
    _players: dict[str, Player] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._add("one", _chain(1, _FEW), profiled=False)
        for tensors in (_FEW, _MANY):
            self._add(f"plain {tensors}", _chain(LENGTH, tensors), profiled=False)
            self._add(f"profiled {tensors}", _chain(LENGTH, tensors), profiled=True)

    @property
    def players(self) -> tuple[Player, ...]:
        """What is to be played in turn with the model."""
        return tuple(self._players.values())

    def end(self) -> None:
        """Reads what was profiled."""
        for name, session in self._sessions.items():
            if name.startswith("profiled"):
                self.profiles[name] = read_profile(Path(session.end_profiling()))

    def cost(self, round_: int) -> Cost:
        """As it was in one round: machines change their pace."""
        one = self._players["one"].blocks[round_].latency_us
        added = {}
        idle = 0.0
        for tensors in (_MANY, _FEW):
            chain = self._players[f"plain {tensors}"].blocks[round_].latency_us
            idle = (chain - one) / (LENGTH - 1)
            added[tensors] = self._stated(f"profiled {tensors}", round_) - idle
        return Cost(max(0.0, one - idle), added[_FEW], (added[_MANY] - added[_FEW]) / (_MANY - _FEW))

    def _stated(self, name: str, round_: int) -> float:
        block = self._players[name].blocks[round_]
        return float(np.mean(block.durations_us(self.profiles[name])))

    def _add(self, name: str, graph: bytes, *, profiled: bool) -> None:
        prefix = str(self.folder / name.replace(" ", "-")) if profiled else None
        session = open_session(
            graph, resolve_device("cpu"), SessionSettings(threads=self.threads), prefix
        ).session
        self._sessions[name] = session
        self._players[name] = Player(_call(session), _SECONDS, _MOST)


def _call(session: Any) -> Callable[[], object]:
    inputs = {"v0": np.ones(_SHAPE, np.float32)}
    return lambda: session.run(None, inputs)


def _chain(length: int, tensors: int) -> bytes:
    """Nodes one after the other, each of so many inputs and outputs; neighbors are of different kinds."""
    kinds = _KINDS[tensors]
    nodes = []
    for i in range(length):
        op, others = kinds[i % len(kinds)]
        read = [f"v{i}" if name == "x" else name for name in others]
        nodes.append(node(op, read, f"v{i + 1}"))
    weights = [tensor(name, numbers) for name, numbers in _CONSTANTS.items()] if tensors == _MANY else []
    ends = [[value(name, np.float32, _SHAPE)] for name in ("v0", f"v{length}")]
    return model(nodes, weights, *ends)
