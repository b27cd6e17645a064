"""cnntk quantize compared with onnxruntime's static and dynamic quantizers, and OpenVINO with NNCF.

python benchmarks/quantized.py [--images N] [MODEL.onnx=CALIBRATION[,EVALUATION] ...]

Without a model: AlexNet, VGG-11 and NiN at 224 with random weights, on parts of scikit-learn's two
photographs, and a LeNet, trained on its digits. CALIBRATION and EVALUATION are DATA as cnntk quantize takes
it.

All start from the same file and see the same calibration images. Each is timed against the float32 model in
onnxruntime, and ours against each peer, in turns, with the same number of threads. Accuracy is top-1 where
the images have labels, and else how often the best class is the float32 model's. Peers that are not installed
(``pip install openvino nncf``) are named and left out.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import logging
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from common import options, print_table, row
from PIL import Image

from cnntk import quantize, train
from cnntk.benchmark.compare import compare_interleaved
from cnntk.data.batches import batches_of
from cnntk.data.calibration import split_images
from cnntk.exporters import export
from cnntk.quantization.options import QuantizeOptions
from cnntk.runtime import Engine
from cnntk.runtime.artifact.spec import METADATA_KEY

Run = Callable[[dict[str, Any]], np.ndarray]
"""Inputs to logits (N, K)."""

FLOAT = "float32"
ZOO = ("alexnet", "vgg11", "nin")
IMAGE = {"resize": "stretch", "mean": "0.485,0.456,0.406", "std": "0.229,0.224,0.225"}


@dataclass
class MeasuredModel:
    """A quantized model, or why there is none."""

    name: str
    run: Run | None
    size: int = 0
    why: str = ""


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--images", type=int, default=1000, help="to judge by, at most")
    parser.add_argument("--calibration", type=int, default=128, help="images, at most")
    parser.add_argument("--only", choices=(*ZOO, "lenet"))
    parser.add_argument("models", nargs="*")
    args = parser.parse_args()
    if args.quick:
        args.images, args.calibration, args.only = 50, 20, "lenet"
    logging.disable(logging.WARNING)
    with tempfile.TemporaryDirectory() as folder:
        for model, data in models(args, Path(folder)):
            calibration, _, evaluation = data.partition(",")
            measure(model, calibration, evaluation or None, args, Path(folder))


def models(args: argparse.Namespace, folder: Path) -> Iterator[tuple[Path, str]]:
    """Each with its DATA."""
    for pair in args.models:
        model, _, data = pair.partition("=")
        yield Path(model), data
    if args.models:
        return
    photographs(folder / "photographs")
    for name in (args.only,) if args.only else (*ZOO, "lenet"):
        target = folder / f"{name}.onnx"
        if name == "lenet":
            train(name, data="digits", output=folder / name)
            export(folder / name, target)
            yield target, "digits"
        else:
            export(name, target, random=True, preprocessing=IMAGE)
            yield target, str(folder / "photographs")


def photographs(folder: Path, count: int = 256) -> None:
    """Parts of the two photographs that scikit-learn brings, 224x224."""
    from sklearn.datasets import load_sample_images

    folder.mkdir()
    rng = np.random.default_rng(0)
    scenes = load_sample_images().images
    for i in range(count):
        scene = scenes[i % len(scenes)]
        top, left = (int(rng.integers(0, side - 224)) for side in scene.shape[:2])
        Image.fromarray(scene[top : top + 224, left : left + 224]).save(folder / f"{i:03}.png")


def measure(model: Path, calibration: str, evaluation: str | None, args: Any, folder: Path) -> None:
    engine = Engine(model)
    spec = engine.spec
    if spec is None:
        sys.exit(f"{model}: is no artifact of cnntk")
    parts = split_images(calibration, spec, args.calibration, evaluation)
    feed = [
        {name: array[i : i + 1] for name, array in batch.inputs.items()}
        for batch in batches_of(spec, parts.calibration)
        for i in range(len(batch.names))
    ]
    evaluate = list(islice(parts.evaluation, args.images))
    base = MeasuredModel(FLOAT, lambda x: engine.run(x, allow_nonfinite=True)["logits"], model.stat().st_size)
    by_cnntk, report = quantized_by_us(model, calibration, evaluation, args.calibration, folder)
    plain = without_spec(model, folder)
    peers = [make(plain, feed, folder, engine.threads) for make in (static, dynamic, openvino)]
    others = [peer for peer in peers if peer.run is not None]

    print(f"### {model.stem}\n")
    print(f"{engine.threads} threads, {len(feed)} calibration images, {len(evaluate)} to judge by.\n")
    inputs = feed[0]
    pairs = [(measured_model, base) for measured_model in (by_cnntk, *others)] + [
        (by_cnntk, peer) for peer in others
    ]
    print_table(raced(model.stem, *pair, inputs, 0.5 if args.quick else 8.0) for pair in pairs)
    expected, labels = answered(base.run, spec, evaluate)
    header = ("model", "size", "of float32", "best class as float32's", "top-1")
    print_table(
        (model_row(r, base, spec, evaluate, expected, labels) for r in (base, by_cnntk, *others)), header
    )
    entries = () if report.changed else (f"{by_cnntk.name}: stays float32: {report.reason}",)
    for note in (*entries, *report.notes, *(f"{peer.name}: {peer.why}" for peer in peers if peer.why)):
        print(f"- {note}")
    print()


def raced(
    model: str, what: MeasuredModel, baseline: MeasuredModel, inputs: dict[str, Any], seconds: float
) -> tuple[str, ...]:
    measured = compare_interleaved(lambda: baseline.run(inputs), lambda: what.run(inputs), seconds=seconds)
    return row(f"{model}, {what.name}", baseline.name, measured)


def model_row(
    measured_model: MeasuredModel,
    base: MeasuredModel,
    spec: Any,
    evaluate: list[Any],
    expected: np.ndarray,
    labels: np.ndarray | None,
) -> tuple[str, ...]:
    measured, _ = answered(measured_model.run, spec, evaluate)
    right = "" if labels is None else f"{(measured == labels).mean():.2%}"
    size, share = f"{measured_model.size / 1e6:.2f} MB", f"{measured_model.size / base.size:.3f}"
    return measured_model.name, size, share, f"{(measured == expected).mean():.2%}", right


def answered(run: Run, spec: Any, images: Iterable[Any]) -> tuple[np.ndarray, np.ndarray | None]:
    """The best class of each image, and its label."""
    best, labels = [], []
    for batch in batches_of(spec, images):
        for i, label in enumerate(batch.labels):
            best.append(int(run({k: v[i : i + 1] for k, v in batch.inputs.items()}).argmax()))
            labels.append(label)
    return np.array(best), None if None in labels else np.array(labels)


def quantized_by_us(
    model: Path, calibration: str, evaluation: str | None, limit: int, folder: Path
) -> tuple[MeasuredModel, Any]:
    target = folder / f"{model.stem}-ours.onnx"
    options = QuantizeOptions(calibration, limit, evaluation, output=target, force=True)
    report = quantize(model, options)
    engine = Engine(target)
    by_cnntk = MeasuredModel(
        "cnntk quantize", lambda x: engine.run(x, allow_nonfinite=True)["logits"], report.size_bytes
    )
    return by_cnntk, report


def without_spec(model: Path, folder: Path) -> Path:
    """The graph alone: what an exporter would have left."""
    proto = onnx.load(model)
    entries = [p for p in proto.metadata_props if p.key != METADATA_KEY]
    del proto.metadata_props[:]
    proto.metadata_props.extend(entries)
    target = folder / f"{model.stem}-plain.onnx"
    onnx.save(proto, target)
    return target


def static(model: Path, feed: list[dict[str, Any]], folder: Path, threads: int) -> MeasuredModel:
    from onnxruntime.quantization import CalibrationDataReader, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self._left = iter(feed)

        def get_next(self) -> dict[str, Any] | None:
            return next(self._left, None)

    def make(target: Path) -> None:
        prepared = target.with_suffix(".prepared.onnx")
        quant_pre_process(str(model), str(prepared), skip_symbolic_shape=True)
        quantize_static(str(prepared), str(target), Reader())

    return in_onnxruntime("onnxruntime quantize_static", make, folder / f"{model.stem}-static.onnx", threads)


def dynamic(model: Path, feed: list[dict[str, Any]], folder: Path, threads: int) -> MeasuredModel:
    from onnxruntime.quantization import quantize_dynamic

    return in_onnxruntime(
        "onnxruntime quantize_dynamic",
        lambda target: quantize_dynamic(str(model), str(target)),
        folder / f"{model.stem}-dynamic.onnx",
        threads,
    )


def in_onnxruntime(name: str, make: Callable[[Path], None], target: Path, threads: int) -> MeasuredModel:
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            make(target)
        engine = Engine(target, threads=threads)
    except Exception as error:  # whatever stops a peer is its result
        return MeasuredModel(name, None, why=f"fails: {' '.join(str(error).split())[:120]}")
    return MeasuredModel(name, lambda x: engine.run(x, allow_nonfinite=True)["logits"], target.stat().st_size)


def openvino(model: Path, feed: list[dict[str, Any]], folder: Path, threads: int) -> MeasuredModel:
    name = "OpenVINO, NNCF int8"
    try:
        import nncf
        import openvino as ov
    except ImportError as missing:
        return MeasuredModel(name, None, why=f"{missing.name} is not installed")
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            network = ov.Core().read_model(str(model))
            network.reshape({name: list(array.shape) for name, array in feed[0].items()})
            quantized = nncf.quantize(network, nncf.Dataset(feed), subset_size=len(feed))
        target = folder / f"{model.stem}-openvino.xml"
        ov.save_model(quantized, target, compress_to_fp16=False)
        settings = {"INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY"}
        request = ov.Core().compile_model(quantized, "CPU", settings).create_infer_request()
    except Exception as error:  # whatever stops a peer is its result
        return MeasuredModel(name, None, why=f"fails: {' '.join(str(error).split())[:120]}")
    size = target.stat().st_size + target.with_suffix(".bin").stat().st_size
    return MeasuredModel(name, lambda x: request.infer(x)["logits"], size)


if __name__ == "__main__":
    main()
