"""cnntk quantize beside its peers: onnxruntime's static and dynamic quantisers, and OpenVINO with NNCF.

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
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from PIL import Image

from cnntk import quantize, train
from cnntk.exporters import export
from cnntk.exporters.quantise.images import batches_of
from cnntk.runtime import Engine
from cnntk.runtime.spec import METADATA_KEY
from cnntk.runtime.timing import race
from cnntk.runtime.trial import example_inputs
from cnntk.splitting import images_for

Run = Callable[[dict[str, Any]], np.ndarray]
"""Inputs to logits (N, K)."""

ZOO = ("alexnet", "vgg11", "nin")
IMAGE = {"resize": "stretch", "mean": "0.485,0.456,0.406", "std": "0.229,0.224,0.225"}


@dataclass
class Rival:
    """A quantised model, or why there is none."""

    name: str
    run: Run | None
    size: int = 0
    why: str = ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=1000, help="to judge by, at most")
    parser.add_argument("--calibration", type=int, default=128, help="images, at most")
    parser.add_argument("--only", help="one of alexnet, vgg11, nin, lenet")
    parser.add_argument("models", nargs="*")
    given = parser.parse_args()
    logging.disable(logging.WARNING)
    with tempfile.TemporaryDirectory() as folder:
        for model, data in rows(given, Path(folder)):
            calibration, _, evaluation = data.partition(",")
            compare(model, calibration, evaluation or None, given, Path(folder))


def rows(given: argparse.Namespace, folder: Path) -> Iterable[tuple[Path, str]]:
    if given.models:
        for pair in given.models:
            model, _, data = pair.partition("=")
            yield Path(model), data
        return
    names = (given.only,) if given.only else (*ZOO, "lenet")
    photographs(folder / "photographs")
    for name in names:
        target = folder / f"{name}.onnx"
        if name == "lenet":
            train(name, data="digits", output=folder / name)
            export(folder / name, target)
            yield target, "digits"
        else:
            export(name, target, random=True, image=IMAGE)
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


def compare(model: Path, calibration: str, evaluation: str | None, given: Any, folder: Path) -> None:
    engine = Engine(model)
    spec = engine.spec
    if spec is None:
        sys.exit(f"{model}: is no artifact of cnntk")
    parts = images_for(calibration, spec, given.calibration, evaluation)
    feed = [
        {name: array[i : i + 1] for name, array in batch.inputs.items()}
        for batch in batches_of(spec, parts.calibration)
        for i in range(len(batch.names))
    ]
    print(f"\n{model.stem}: {engine.threads} threads, {len(feed)} calibration images", flush=True)
    ours, report = quantised_by_us(model, calibration, evaluation, given.calibration, folder)
    plain = without_spec(model, folder)
    rivals = [ours, *(make(plain, feed, folder, engine.threads) for make in (static, dynamic, openvino))]
    judge = list(islice(parts.evaluation, given.images))
    inputs = example_inputs(engine.inputs, 1, engine.image_sizes)
    expected, labels = answered(lambda x: engine.run(x)["logits"], spec, judge)
    right = "" if labels is None else f"top-1 {100 * (expected == labels).mean():.2f} %"
    print(f"  {'float32':30} {model.stat().st_size / 1e6:8.2f} MB {right}")
    for rival in rivals:
        print(f"  {rival.name:30} ", end="", flush=True)
        if rival.run is None:
            print(rival.why)
            continue
        told = [f"{rival.size / 1e6:8.2f} MB ({rival.size / model.stat().st_size:.3f})"]
        found, _ = answered(rival.run, spec, judge)
        told.append(
            f"as float32 {100 * (found == expected).mean():.2f} %"
            if labels is None
            else f"top-1 {100 * (found == labels).mean():.2f} %"
        )
        against = race(lambda: engine.run(inputs), lambda r=rival.run: r(inputs), seconds=8)
        told.append(f"{against.first_ms:.3f} -> {against.second_ms:.3f} ms, {interval(against)}")
        if rival is not ours and ours.run is not None:
            ahead = race(lambda r=rival.run: r(inputs), lambda: ours.run(inputs), seconds=8)
            told.append(f"ours {interval(ahead)} as fast")
        print("; ".join(told), flush=True)
    for note in report.notes:
        print(f"  {note}")


def interval(found: Any) -> str:
    return f"{found.ratio:.2f} [{found.low:.2f}, {found.high:.2f}]"


def answered(run: Run, spec: Any, images: Iterable[Any]) -> tuple[np.ndarray, np.ndarray | None]:
    """The best class of each image, and its label."""
    best, labels = [], []
    for batch in batches_of(spec, images):
        for i, label in enumerate(batch.labels):
            best.append(int(run({k: v[i : i + 1] for k, v in batch.inputs.items()}).argmax()))
            labels.append(label)
    return np.array(best), None if None in labels else np.array(labels)


def quantised_by_us(
    model: Path, calibration: str, evaluation: str | None, limit: int, folder: Path
) -> tuple[Rival, Any]:
    target = folder / f"{model.stem}-ours.onnx"
    report = quantize(model, calibration, evaluation=evaluation, output=target, limit=limit, force=True)
    engine = Engine(target)
    what = "cnntk quantize" if report.changed else f"cnntk quantize (stays float32: {report.reason})"
    return Rival(what, lambda x: engine.run(x)["logits"], report.size_bytes), report


def without_spec(model: Path, folder: Path) -> Path:
    """The graph alone: what an exporter would have left."""
    proto = onnx.load(model)
    kept = [p for p in proto.metadata_props if p.key != METADATA_KEY]
    del proto.metadata_props[:]
    proto.metadata_props.extend(kept)
    target = folder / f"{model.stem}-plain.onnx"
    onnx.save(proto, target)
    return target


def static(model: Path, feed: list[dict[str, Any]], folder: Path, threads: int) -> Rival:
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


def dynamic(model: Path, feed: list[dict[str, Any]], folder: Path, threads: int) -> Rival:
    from onnxruntime.quantization import quantize_dynamic

    return in_onnxruntime(
        "onnxruntime quantize_dynamic",
        lambda target: quantize_dynamic(str(model), str(target)),
        folder / f"{model.stem}-dynamic.onnx",
        threads,
    )


def in_onnxruntime(name: str, make: Callable[[Path], None], target: Path, threads: int) -> Rival:
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            make(target)
        engine = Engine(target, threads=threads)
    except Exception as error:  # whatever stops a peer is its result
        return Rival(name, None, why=f"fails: {' '.join(str(error).split())[:120]}")
    return Rival(name, lambda x: engine.run(x)["logits"], target.stat().st_size)


def openvino(model: Path, feed: list[dict[str, Any]], folder: Path, threads: int) -> Rival:
    name = "OpenVINO, NNCF int8"
    try:
        import nncf
        import openvino as ov
    except ImportError as missing:
        return Rival(name, None, why=f"{missing.name} is not installed")
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            network = ov.Core().read_model(str(model))
            network.reshape({name: list(array.shape) for name, array in feed[0].items()})
            quantised = nncf.quantize(network, nncf.Dataset(feed), subset_size=len(feed))
        target = folder / f"{model.stem}-openvino.xml"
        ov.save_model(quantised, target, compress_to_fp16=False)
        settings = {"INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY"}
        request = ov.Core().compile_model(quantised, "CPU", settings).create_infer_request()
    except Exception as error:  # whatever stops a peer is its result
        return Rival(name, None, why=f"fails: {' '.join(str(error).split())[:120]}")
    size = target.stat().st_size + target.with_suffix(".bin").stat().st_size
    return Rival(name, lambda x: request.infer(x)["logits"], size)


if __name__ == "__main__":
    main()
