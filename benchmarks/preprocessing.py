"""What preprocessing in the graph costs, and how far its resize is from Pillow's.

python benchmarks/preprocessing.py [FOLDER of photographs]

Cost: the same network with and without preprocessing in the graph, run in turn in one process on an image
that has the size already. Parity: photographs brought to sizes from 32x32 to 3000x4000, resized from there.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import onnxruntime
import torch
from PIL import Image

from cnntk.exporters.capture import capture
from cnntk.exporters.passes import run_passes
from cnntk.exporters.pixels import PixelsRecord, add_preprocessing
from cnntk.exporters.source import Source
from cnntk.models import build
from cnntk.runtime.preprocess import fit, preprocess
from cnntk.runtime.spec import Network, Preprocessing, TensorSpec

LENET = Preprocessing("grey", 28, 28, mean=(0.1307,), std=(0.3081,))
IMAGENET = Preprocessing("rgb", 224, 224, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
SIZES = ((32, 32), (100, 120), (224, 224), (480, 640), (1080, 1920), (3000, 4000))


def main() -> None:
    print(f"onnxruntime {onnxruntime.__version__}, 1 thread; medians of interleaved runs")
    light = {"invert": "light-background"}
    for what, p in {
        "stretch": LENET,
        "shortest": replace(LENET, resize="shortest"),
        "longest": replace(LENET, resize="longest"),
        "stretch, light-background": replace(LENET, **light),
        "longest, light-background": replace(LENET, resize="longest", **light),
    }.items():
        cost("lenet", what, p, rounds=5000)
    shortest = replace(IMAGENET, resize="shortest")
    for what, p in {
        "stretch": IMAGENET,
        "shortest": shortest,
        "float32 levels": replace(IMAGENET, levels="float32"),
        "stretch, light-background": replace(IMAGENET, **light),
        "shortest, bgr": replace(shortest, color="bgr"),
    }.items():
        cost("nin", what, p, rounds=60)
    cost(
        "nin",
        "a photo of 375x500, crop 0.875",
        replace(shortest, crop_ratio=0.875),
        rounds=60,
        size=(375, 500),
    )
    for folder in sys.argv[1:]:
        parity(sorted(Path(folder).iterdir()))


def cost(name: str, what: str, p: Preprocessing, rounds: int, size: tuple[int, int] | None = None) -> None:
    """Prints the graph's time with preprocessing against the same with a float input."""
    plain = network(name, p)
    pixels = plain.clone()
    record = add_preprocessing(pixels, p)
    image = np.random.default_rng(0).integers(
        0, 256, (*(size or (p.height, p.width)), p.channels), dtype=np.uint8
    )
    inputs, batch = preprocess([image], p), image[None]
    with_floats, with_pixels = session(plain), session(pixels)
    bare, ours, host = interleave(
        (
            lambda: with_floats.run(None, {"input": inputs}),
            lambda: with_pixels.run(None, {"image": batch}),
            lambda: with_floats.run(None, {"input": preprocess([image], p)}),
        ),
        rounds,
    )
    print(
        f"{name}, {what}: {bare:.1f} µs on floats, {ours - bare:+.1f} µs ({ours / bare - 1:+.1%}) in the "
        f"graph, {host - bare:+.1f} µs on the host; {told(record)}"
    )


def told(record: PixelsRecord) -> str:
    folded = f"{len(record.folded)} folded" + (f", not {len(record.kept)}" if record.kept else "")
    return f"{record.nodes} nodes, {folded}"


def network(name: str, p: Preprocessing) -> ir.Model:
    torch.manual_seed(0)
    shape = (p.channels, p.height, p.width)
    module = build(Network(name, {"in_channels": p.channels, "image_size": p.height})).eval()
    captured = capture(Source(name, (TensorSpec("input", "float32", ("N", *shape)),), module=module)).model
    noise = np.random.default_rng(0).normal(size=(1, *shape)).astype(np.float32)
    return run_passes(captured, [{"input": noise}])[0]


def session(model: ir.Model) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    data = ir.to_proto(model).SerializeToString()
    return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])


def interleave(calls: tuple[Callable[[], object], ...], rounds: int) -> list[float]:
    """Median in µs of each, called in turn."""
    times = np.empty((len(calls), rounds))
    for i in range(-max(3, rounds // 20), rounds):
        for which in np.roll(np.arange(len(calls)), i):
            start = time.perf_counter_ns()
            calls[which]()
            if i >= 0:
                times[which, i] = time.perf_counter_ns() - start
    return [float(t) for t in np.median(times, axis=1) / 1e3]


def parity(files: list[Path]) -> None:
    """Prints how far the graph's resize is from Pillow's, at the worst and on average."""
    for interpolation in ("bilinear", "bicubic"):
        for levels in ("uint8", "float32"):
            p = replace(
                IMAGENET, interpolation=interpolation, levels=levels, mean=(0.0,) * 3, std=(1 / 255,) * 3
            )
            run = session(resizer(p))
            for size in SIZES:
                gaps = [gap(run, photo, p) for photo in photos(files, size)]
                worst, mean = max(g for g, _ in gaps), float(np.mean([m for _, m in gaps]))
                print(
                    f"{interpolation}, {levels}, {size[0]}x{size[1]} to 224x224, {len(gaps)} photographs: "
                    f"{worst:.4f} levels at the worst, {mean:.5f} on average"
                )


def gap(run: Any, photo: np.ndarray, p: Preprocessing) -> tuple[float, float]:
    apart = np.abs(run.run(None, {"image": photo[None]})[0][0].transpose(1, 2, 0) - fit(photo, p))
    return float(apart.max()), float(apart.mean())


def resizer(p: Preprocessing) -> ir.Model:
    """Nothing but the preprocessing."""
    value = ir.Value(name="input", type=ir.TensorType(ir.DataType.FLOAT), shape=ir.Shape(("N", 3, 224, 224)))
    node = ir.node("Identity", [value])
    node.outputs[0].name, node.outputs[0].type, node.outputs[0].shape = "levels", value.type, value.shape
    graph = ir.Graph([value], node.outputs, nodes=[node], opset_imports={"": 18}, name="resizer")
    model = ir.Model(graph, ir_version=10)
    add_preprocessing(model, p)
    return model


def photos(files: list[Path], size: tuple[int, int]) -> Iterator[np.ndarray]:
    """Every photograph at that size; of the large sizes, the first few."""
    for file in files[: 4 if size[0] > 1000 else None]:
        with Image.open(file) as image:
            yield np.asarray(image.convert("RGB").resize(size[::-1], Image.Resampling.LANCZOS))


if __name__ == "__main__":
    main()
