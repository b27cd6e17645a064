from pathlib import Path
from typing import Any

import numpy as np

from cnntk.benchmark.cuda.inside import inside, inside_of
from cnntk.runtime.session.devices import resolve_device
from cnntk.runtime.session.session_factory import open_session


def event(name: str, op: str, provider: str) -> dict[str, Any]:
    args = {"op_name": op, "provider": f"{provider}ExecutionProvider"}
    return {"cat": "Node", "name": f"{name}_kernel_time", "args": args}


EVENTS = [
    {"cat": "Session", "name": "model_run", "args": {}},
    event("conv", "Conv", "CUDA"),
    event("Memcpy", "MemcpyToHost", "CUDA"),
    event("size", "NonZero", "CPU"),
    event("Memcpy_token_2", "MemcpyFromHost", "CUDA"),
    event("conv", "Conv", "CUDA"),
    {"cat": "Node", "name": "size_fence_before", "args": {"op_name": "NonZero"}},
]


def test_what_leaves_the_gpu() -> None:
    found = inside(EVENTS)
    assert found.to_host == ("Memcpy",)
    assert found.to_device == ("Memcpy_token_2",)
    assert found.on_cpu == ("size",)


def test_all_on_the_gpu() -> None:
    found = inside([event("conv", "Conv", "CUDA"), event("relu", "Relu", "CUDA")])
    assert found.to_json() == {"to_device": (), "to_host": (), "on_cpu": ()}


def test_the_profile_of_a_session(foreign_onnx: Path) -> None:
    images = np.zeros((1, 1, 4, 4), np.float32)
    found = inside_of(
        lambda p: open_session(foreign_onnx, resolve_device("cpu"), profile=p), {"input": images}
    )
    assert found.to_device == found.to_host == ()
    assert 1 < len(found.on_cpu) <= 3
