"""`Engine` on CUDA compared with bare onnxruntime and torch; where a run's time goes: GPU, host, copies.

python benchmarks/gpu.py [NAME=MODEL.onnx ...]   # NAME: torch's network of that name, where the zoo has one

By default the LeNet that ships with cnntk. Not called ``cuda.py``: that would stand for NVIDIA's own package.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from common import duration, options, print_table, row

from cnntk.benchmark.compare import compare_interleaved
from cnntk.benchmark.cuda.report import Copies, CudaTimes, cuda_times
from cnntk.benchmark.workload import Workload
from cnntk.runtime import Engine
from cnntk.runtime.example_inputs import example_inputs
from cnntk.runtime.session.devices import import_onnxruntime, resolve_device
from cnntk.shipped import shipped_model

Call = Callable[[], object]

BATCHES = (1, 64)


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("models", nargs="*", default=[f"lenet={shipped_model()}"], metavar="NAME=MODEL.onnx")
    args = parser.parse_args()
    seconds = 0.5 if args.quick else 10.0
    models = [argument.partition("=")[::2] for argument in args.models]
    print("From host array to host array, a run; all in float32, TF32 switched off.\n")
    print_table(
        row(f"{what}, {name}, batch {batch}", "session.run", compare_interleaved(*calls, seconds=seconds))
        for name, model in models
        for batch in BATCHES
        for what, calls in pairs(name, model, batch)
    )
    print("Where the time goes; copies from and to memory that is not page-locked.\n")
    result = [
        (f"{name}, batch {batch}", cuda_times(Workload(model, "cuda", batch=batch, seconds=seconds)))
        for name, model in models
        for batch in BATCHES
    ]
    print_table([split(*one) for one in result], ("what", "copies in", "GPU", "handing over", "copies out"))
    for what, times in result:
        for text in times.findings:
            print(f"- {what}: {text}")


def pairs(name: str, model: str, batch: int) -> Iterator[tuple[str, tuple[Call, Call]]]:
    """Each with bare onnxruntime first."""
    engine = Engine(model, "cuda", warm_up=True)
    session = import_onnxruntime().InferenceSession(model, providers=resolve_device("cuda").providers)
    inputs = example_inputs(engine.inputs, batch, engine.image_sizes)
    binding = engine.bind(inputs)

    def bare() -> object:
        return session.run(None, inputs)

    yield "Engine.run", (bare, lambda: engine.run(inputs))
    yield "Engine.bind", (bare, lambda: binding.run(inputs))
    yield "session.run", (bare, lambda: session.run(None, inputs))
    if (eager := torch_call(name, batch)) is not None:
        yield "torch eager", (bare, eager)


def torch_call(name: str, batch: int) -> Call | None:
    """The zoo's network in torch; None where there is none of that name."""
    import torch

    from cnntk.models import build, find, names
    from cnntk.runtime.artifact.spec import Network

    if name not in names():
        return None
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    network = build(Network(name)).eval().cuda()
    images = torch.randn(batch, *find(name).input_shape).numpy()

    def call() -> object:
        with torch.inference_mode():
            return network(torch.from_numpy(images).cuda()).cpu().numpy()

    return call


def split(what: str, result: CudaTimes) -> tuple[str, ...]:
    times = (duration(estimate.value) for estimate in (result.device_ms, result.launch_ms))
    return what, copied(result.to_device), *times, copied(result.to_host)


def copied(result: Copies) -> str:
    rate = "" if result.gb_per_s is None else f", {result.gb_per_s:.2g} GB/s"
    return f"{duration(result.ms.value)}{rate}"


if __name__ == "__main__":
    main()
