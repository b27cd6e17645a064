"""What of a model does not stay on the GPU: nodes that run on the CPU, and the copies around them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from typing import Any

from cnntk.runtime.session.placement import run_profiled
from cnntk.runtime.session.session_factory import LoadedModel

__all__ = ["Inside", "inside", "inside_of"]

_KERNEL = "_kernel_time"
_TO_DEVICE, _TO_HOST = "MemcpyFromHost", "MemcpyToHost"


@dataclass(frozen=True)
class Inside:
    """Nodes of the graph as onnxruntime ran it, by name.

    Attributes:
        to_device: copies from the host that onnxruntime put in between.
        to_host: copies to the host; at each of them the host waits for the GPU.
        on_cpu: what ran on the CPU.
    """

    to_device: tuple[str, ...]
    to_host: tuple[str, ...]
    on_cpu: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """As JSON data."""
        return asdict(self)


def inside_of(open_profiled: Callable[[str], LoadedModel], inputs: dict[str, Any]) -> Inside:
    """Runs a model once under onnxruntime's profiler.

    Args:
        open_profiled: opens the model; takes the beginning of the profile's path.
        inputs: for the run.
    """
    _, events = run_profiled(open_profiled, inputs, 1)
    return inside(events)


def inside(events: Iterable[dict[str, Any]]) -> Inside:
    """What a profile says; its format is told in `cnntk.benchmark.layers.profile`."""
    nodes = {
        event["name"].removesuffix(_KERNEL): event["args"]
        for event in events
        if event.get("cat") == "Node" and event["name"].endswith(_KERNEL)
    }
    return Inside(
        to_device=tuple(name for name, args in nodes.items() if args["op_name"] == _TO_DEVICE),
        to_host=tuple(name for name, args in nodes.items() if args["op_name"] == _TO_HOST),
        on_cpu=tuple(name for name, args in nodes.items() if args.get("provider") == "CPUExecutionProvider"),
    )
