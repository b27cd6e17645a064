"""`Engine` on CUDA against bare onnxruntime and torch, interleaved: median latency at batch 1 and 64.

python benchmarks/cuda.py NAME=MODEL.onnx ...   (lenet, alexnet, vgg16: torch's network of the same name)
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

import numpy as np

from cnntk.runtime import Engine
from cnntk.runtime.devices import onnxruntime_module
from cnntk.runtime.trial import example_inputs


def main() -> None:
    for argument in sys.argv[1:]:
        name, _, model = argument.partition("=")
        engine = Engine(model, "cuda", warm_up=True)
        print(f"{name}: self-test {'holds' if engine.self_test().holds else 'FAILS'}")
        for batch in (1, 64):
            compare(name, model, engine, batch)


def compare(name: str, model: str, engine: Engine, batch: int) -> None:
    ort = onnxruntime_module()
    session = ort.InferenceSession(model, providers=[("CUDAExecutionProvider", {"use_tf32": "0"})])
    inputs = example_inputs(engine.inputs, batch, engine.image_sizes)
    binding = engine.bind(inputs)
    calls: dict[str, Callable[[], object]] = {
        "bare onnxruntime": lambda: session.run(None, inputs),
        "Engine.run": lambda: engine.run(inputs),
        "Engine.bind": lambda: binding.run(inputs),
    }
    if (eager := torch_call(name, batch)) is not None:
        calls["torch eager"] = eager
    times = interleaved(calls)
    base = times["bare onnxruntime"]
    for call, ms in times.items():
        print(f"  batch {batch:3} {call:18} {ms:8.3f} ms  {ms / base:6.3f}")


def torch_call(name: str, batch: int) -> Callable[[], object] | None:
    """The zoo's network in torch, from host array to host array; None where there is none of that name."""
    import torch

    from cnntk.models import build, find, names
    from cnntk.runtime.spec import Network

    if name not in names():
        return None
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    network = build(Network(name)).eval().cuda()
    images = torch.randn(batch, *find(name).input_shape).numpy()

    def call() -> object:
        with torch.inference_mode():
            return network(torch.from_numpy(images).cuda()).cpu().numpy()

    return call


def interleaved(calls: dict[str, Callable[[], object]], rounds: int = 200) -> dict[str, float]:
    """Median latency in ms of each call, all in turn."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for i in range(rounds + 20):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            if i >= 20:
                times[name].append((time.perf_counter() - start) * 1e3)
    return {name: float(np.median(found)) for name, found in times.items()}


if __name__ == "__main__":
    main()
