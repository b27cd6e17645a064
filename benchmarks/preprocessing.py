"""What preprocessing in the graph costs, beside Pillow's resize, too, and how far it is from Pillow's.

python benchmarks/preprocessing.py [FOLDER of photographs]      # by default scikit-learn's two

Cost: the same network with and without preprocessing in the graph, run in turn in one process on an image
that has the size already. Beside Pillow: all from bytes to the network's floats, against Pillow's resize of
an image, neither cropped nor converted. Parity: photographs brought to sizes from 32x32 to 3000x4000,
resized from there.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import onnxruntime
import torch
from common import options, print_table, row
from PIL import Image

from cnntk.benchmark.compare import compare_interleaved
from cnntk.exporters.capture import capture
from cnntk.exporters.passes import run_passes
from cnntk.exporters.preprocessing import add_preprocessing
from cnntk.exporters.source import Source
from cnntk.models import build
from cnntk.runtime.artifact.spec import Network, Preprocessing, ResizeForm, TensorSpec
from cnntk.runtime.preprocessing.preprocess import preprocess, resize_and_crop

LENET = Preprocessing("gray", 28, 28, mean=(0.1307,), std=(0.3081,))
IMAGENET = Preprocessing("rgb", 224, 224, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
LIGHT, SHORTEST = {"invert": "light-background"}, {"resize": "shortest"}
SIZES = ((32, 32), (100, 120), (224, 224), (480, 640), (1080, 1920), (3000, 4000))

CASES: tuple[tuple[str, str, Preprocessing, tuple[int, int]], ...] = (
    ("lenet", "stretch", LENET, (28, 28)),
    ("lenet", "shortest", replace(LENET, **SHORTEST), (28, 28)),
    ("lenet", "longest", replace(LENET, resize="longest"), (28, 28)),
    ("lenet", "stretch, light background", replace(LENET, **LIGHT), (28, 28)),
    ("lenet", "longest, light background", replace(LENET, resize="longest", **LIGHT), (28, 28)),
    ("nin", "stretch", IMAGENET, (224, 224)),
    ("nin", "shortest", replace(IMAGENET, **SHORTEST), (224, 224)),
    ("nin", "float32 levels", replace(IMAGENET, levels="float32"), (224, 224)),
    ("nin", "stretch, light background", replace(IMAGENET, **LIGHT), (224, 224)),
    ("nin", "shortest, bgr", replace(IMAGENET, color="bgr", **SHORTEST), (224, 224)),
    ("nin", "crop 0.875 of 375x500", replace(IMAGENET, crop_ratio=0.875, **SHORTEST), (375, 500)),
)
"""Network, what is special, preprocessing, and the size of the image: height and width."""

PHOTOS = ((375, 500), (1080, 1920), (3000, 4000))
FORMS: tuple[ResizeForm, ...] = ("exact", "fast", "operator")


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("folder", nargs="?", type=Path)
    args = parser.parse_args()
    print("One image, one thread, bare onnxruntime; compared with the same network on preprocessed floats:\n")
    cases, seconds = (CASES[:1], 0.5) if args.quick else (CASES, 7.0)
    print_table(r for case in cases for r in costs(*case, seconds=seconds))
    originals = (
        [np.asarray(Image.open(file).convert("RGB")) for file in sorted(args.folder.iterdir())]
        if args.folder
        else samples()
    )
    print("From 256 of the shortest side, 224x224 of the middle, beside Pillow's resize alone, one thread:\n")
    print_table(r for size in (PHOTOS[:1] if args.quick else PHOTOS) for r in beside_pillow(size, seconds))
    print("How far levels resized in the graph are from Pillow's, 0 to 255, to 224x224:\n")
    header = ("from", "interpolation", "levels", "photographs", "at the worst", "on average")
    print_table(parity(originals, SIZES[:2] if args.quick else SIZES), header)


def costs(
    name: str, what: str, p: Preprocessing, size: tuple[int, int], *, seconds: float
) -> Iterator[tuple[str, ...]]:
    """In the graph, and on the host."""
    plain = network(name, p)
    pixels = plain.clone()
    record = add_preprocessing(pixels, p)
    image = np.random.default_rng(0).integers(0, 256, (*size, p.channels), dtype=np.uint8)
    inputs, batch = preprocess([image], p), image[None]
    with_floats, with_pixels = session(plain), session(pixels)

    def bare() -> object:
        return with_floats.run(None, {"input": inputs})

    graph = compare_interleaved(bare, lambda: with_pixels.run(None, {"image": batch}), seconds=seconds)
    yield row(f"{name}, {what}: in the graph, {record.nodes} nodes", "floats", graph)
    host = compare_interleaved(
        bare, lambda: with_floats.run(None, {"input": preprocess([image], p)}), seconds=seconds
    )
    yield row(f"{name}, {what}: on the host", "floats", host)


def beside_pillow(size: tuple[int, int], seconds: float) -> Iterator[tuple[str, ...]]:
    """Each form of the resize in the graph, against Pillow's resize."""
    p = replace(IMAGENET, crop_ratio=0.875, **SHORTEST)
    pixels = next(photos(samples(), size))
    image, (height, width) = Image.fromarray(pixels), p.resized_size(*size)

    def pillow() -> object:
        return image.resize((width, height), Image.Resampling.BILINEAR)

    for form in FORMS:
        run = session(resizer(replace(p, resize_form=form))).run
        result = compare_interleaved(pillow, partial(run, None, {"image": pixels[None]}), seconds=seconds)
        yield row(f"{size[0]}x{size[1]}, {form}", "Pillow's resize", result)


def network(name: str, p: Preprocessing) -> ir.Model:
    torch.manual_seed(0)
    shape = (p.channels, p.height, p.width)
    module = build(Network(name, {"in_channels": p.channels, "image_size": p.height})).eval()
    captured = capture(Source(name, (TensorSpec("input", "float32", ("N", *shape)),), module=module)).model
    noise = np.random.default_rng(0).normal(size=(1, *shape)).astype(np.float32)
    return run_passes(captured, [{"input": noise}])[0]


def session(model: ir.Model) -> Any:
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = 1
    data = ir.to_proto(model).SerializeToString()
    return onnxruntime.InferenceSession(data, settings, providers=["CPUExecutionProvider"])


def samples() -> list[np.ndarray]:
    """The two photographs that scikit-learn brings."""
    from sklearn.datasets import load_sample_images

    return list(load_sample_images().images)


def parity(originals: Sequence[np.ndarray], sizes: Sequence[tuple[int, int]]) -> Iterator[tuple[str, ...]]:
    """How far the graph's resize is from Pillow's, at the worst and on average."""
    for interpolation in ("bilinear", "bicubic"):
        for levels in ("uint8", "float32"):
            p = replace(
                IMAGENET, interpolation=interpolation, levels=levels, mean=(0.0,) * 3, std=(1 / 255,) * 3
            )
            run = session(resizer(p))
            for size in sizes:
                gaps = np.array([gap(run, photo, p) for photo in photos(originals, size)])
                worst, mean = f"{gaps[:, 0].max():.4f}", f"{gaps[:, 1].mean():.5f}"
                yield f"{size[0]}x{size[1]}", interpolation, levels, str(len(gaps)), worst, mean


def gap(run: Any, photo: np.ndarray, p: Preprocessing) -> tuple[float, float]:
    apart = np.abs(run.run(None, {"image": photo[None]})[0][0].transpose(1, 2, 0) - resize_and_crop(photo, p))
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


def photos(originals: Sequence[np.ndarray], size: tuple[int, int]) -> Iterator[np.ndarray]:
    """Every photograph at that size; of the large sizes, the first few."""
    for pixels in originals[: 4 if size[0] > 1000 else None]:
        yield np.asarray(Image.fromarray(pixels).resize(size[::-1], Image.Resampling.LANCZOS))


if __name__ == "__main__":
    main()
