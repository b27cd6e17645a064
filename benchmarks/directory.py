"""How fast `infer` is on a folder of photographs, against what the cores could do and against a plain loop.

    python benchmarks/directory.py [FOLDER of photographs]      # without one, images are made up

The photographs are brought to sizes around 500x375 and saved as JPEG of quality 90; the networks have random
weights, and with --int8 integer layers. `infer` is compared with:

- a plain loop of Pillow, numpy and session.run with its default threads; the bar is to be 1.3 times as fast.
- the ideal: core-time of an image's decoding, preprocessing and network by the number of cores, each
  measured alone on one core; the bar is to be 0.9 times as fast. Core-time is what the thread ran, not what
  the clock said: other processes do not add to it. It holds for a machine that has nothing else to do: how
  much of the cores others took meanwhile is printed, too, and the share of what they left.

All are measured in turn, round by round. Memory is the largest resident size after so many images, and after
many more; the bar is no growth.
"""

from __future__ import annotations

import argparse
import multiprocessing
import tempfile
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path
from typing import TypeVar

import numpy as np
from common import duration, in_turn, options, paired, print_table, row
from PIL import Image

from cnntk import quantize
from cnntk.benchmark.memory import read_status
from cnntk.benchmark.statistics.system_load import load_between, read_counters
from cnntk.inference import infer
from cnntk.inference.pipeline import BATCH
from cnntk.runtime.artifact.spec import Preprocessing
from cnntk.runtime.classifier import Classifier
from cnntk.runtime.session.cores import usable_cores

IMAGENET = Preprocessing(
    "rgb",
    224,
    224,
    resize="shortest",
    crop_ratio=0.875,
    mean=(0.485, 0.456, 0.406),
    std=(0.229, 0.224, 0.225),
)
T = TypeVar("T")

ALONE = 96
"""Images on which the core-times are measured: whole batches."""

PARTS = ("decoding", "preprocessing", "network", "all, in infer")


def main() -> None:
    args = arguments()
    with tempfile.TemporaryDirectory() as temporary:
        photos = Path(temporary) / "photos"
        make_photos(args.folder, photos, args.images)
        files = sorted(map(str, photos.iterdir()))
        rounds = f"{args.rounds} rounds in turn"
        print(f"{len(files)} images, {usable_cores()} cores, {rounds}; the time is an image's.\n")
        for network in args.networks:
            host, model = Path(temporary) / f"{network}-host.onnx", Path(temporary) / f"{network}.onnx"
            export(network, host, "host")
            export(network, model, args.preprocess)
            if args.int8:
                host, model = (to_integers(path, photos) for path in (host, model))
            compare(network, model, host, files, args.rounds)
            few, many = grown(model, files, args.many)
            print(f"Memory: {few:.0f} MB after {len(files)} images, {many:.0f} MB after {args.many}.\n")


def arguments() -> argparse.Namespace:
    parser = options(__doc__)
    parser.add_argument("folder", nargs="?", type=Path, help="of photographs; by default made-up images")
    parser.add_argument("--networks", nargs="+", default=["nin", "alexnet"], help="of the zoo")
    parser.add_argument("--preprocess", choices=("graph", "host"), default="graph", help="of infer's model")
    parser.add_argument("--int8", action="store_true", help="quantize the networks before")
    parser.add_argument("--images", type=int, default=400)
    parser.add_argument("--many", type=int, default=4000, help="images after which memory is looked at again")
    parser.add_argument("--rounds", type=int, default=7)
    args = parser.parse_args()
    if args.quick:
        args.networks, args.images, args.many, args.rounds = ["nin"], ALONE, 2 * ALONE, 1
    return args


def make_photos(source: Path | None, folder: Path, count: int) -> None:
    """Writes ``count`` JPEG files of about 500x375, of the photographs in ``source`` in turn."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    if source is None:
        originals = [synthetic_image(rng) for _ in range(20)]
    else:
        originals = [Image.open(file).convert("RGB") for file in sorted(source.iterdir())]
    for i, original in enumerate(islice(cycle(originals), count)):
        width = int(rng.integers(420, 581))
        size = width, int(width * rng.uniform(0.65, 0.85))
        original.resize(size, Image.Resampling.BICUBIC).save(folder / f"{i:05}.jpg", quality=90)


def synthetic_image(rng: np.random.Generator) -> Image.Image:
    """Coarse and fine noise, which is about as long to decode as a photograph."""
    coarse, fine = (
        Image.fromarray(rng.integers(0, 256, (n, n, 3), dtype=np.uint8)).resize(
            (600, 450), Image.Resampling.BICUBIC
        )
        for n in (8, 200)
    )
    return Image.blend(coarse, fine, 0.25)


def export(network: str, path: Path, preprocess: str) -> None:
    """An artifact with random weights that takes photographs as most networks of ImageNet do."""
    from cnntk.exporters import export as export_network

    export_network(network, path, random=True, preprocessing=IMAGENET, preprocess=preprocess)  # type: ignore[arg-type]


def to_integers(model: Path, photos: Path) -> Path:
    """The network with as many integer layers as there can be."""
    output = model.with_stem(f"{model.stem}-int8")
    quantize(model, calibration=str(photos), output=output, calibration_images=64, max_drop=100.0, threads=1)
    return output


@dataclass(frozen=True)
class Run:
    """What one run over the files took.

    Attributes:
        each_ms: of an image.
        spent_ms: core-time of an image.
        others: share of the cores that other processes took meanwhile.
    """

    each_ms: float
    spent_ms: float
    others: float


def compare(network: str, model: Path, host: Path, files: list[str], rounds: int) -> None:
    """Prints a network's figures."""
    classifier = Classifier(model, threads=1)
    plain = Plain(host)
    calls = {
        "alone": lambda: alone_ms(classifier, files[:ALONE]),
        "infer": lambda: timed(lambda: infer(classifier, files)),
        "plain": lambda: timed(lambda: map(plain, files)),
    }
    measured = in_turn(calls, rounds)
    infer_ms = [run.each_ms for run in measured["infer"]]
    busy = np.array([run.others for run in measured["infer"]])
    alone = np.array(measured["alone"])
    ideal_ms = alone.sum(axis=1) / usable_cores()
    baseline = {
        "a plain loop": [run.each_ms for run in measured["plain"]],
        "the ideal": ideal_ms,
        "the ideal on what others left": ideal_ms / np.maximum(1 - busy, 0.05),
    }
    print(f"### {network}\n")
    print_table(
        row(f"{network}, infer", name, paired(times_ms, infer_ms)) for name, times_ms in baseline.items()
    )
    spent_ms = np.median([run.spent_ms for run in measured["infer"]])
    print("Core-time of an image, the parts alone on one core and all of them in `infer`:\n")
    print_table([[duration(ms) for ms in (*np.median(alone, axis=0), spent_ms)]], PARTS)
    print(
        f"Others took {np.median(busy):.0%} of the cores while `infer` ran. "
        f"The plain loop has the same class for {same(classifier, plain, files)} of {ALONE} images."
    )


def timed(work: Callable[[], Iterable[object]]) -> Run:
    before, cpu_s, start = read_counters(), time.process_time(), time.perf_counter()
    count = sum(1 for _ in work())
    ms, cpu_s = 1e3 * (time.perf_counter() - start), time.process_time() - cpu_s
    others = load_between(before, read_counters()).other_cpu_share
    return Run(ms / count, 1e3 * cpu_s / count, others)


def alone_ms(classifier: Classifier, files: list[str]) -> tuple[float, float, float]:
    """Core-times of an image: decoding, preprocessing, network."""
    decoding, pixels = core_ms(lambda: [classifier.read(file) for file in files])
    fitting, fitted = core_ms(lambda: [classifier.prepare(image) for image in pixels])
    batches = [fitted[i : i + BATCH] for i in range(0, len(fitted), BATCH)]
    network, _ = core_ms(lambda: [classifier.classify_prepared(batch) for batch in batches])
    return decoding / len(files), fitting / len(files), network / len(files)


def core_ms(work: Callable[[], list[T]]) -> tuple[float, list[T]]:
    start = time.thread_time()
    done = work()
    return 1e3 * (time.thread_time() - start), done


class Plain:
    """What one writes without cnntk: Pillow, numpy, and a session with its default threads."""

    def __init__(self, model: Path) -> None:
        import onnxruntime

        self.session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
        self.labels = Classifier(model, threads=1).labels
        self.mean = np.array(IMAGENET.mean, np.float32)
        self.std = np.array(IMAGENET.std, np.float32)

    def __call__(self, file: str) -> np.ndarray:
        with Image.open(file) as opened:
            image = opened.convert("RGB")
        height, width = IMAGENET.resized_size(image.height, image.width)
        image = image.resize((width, height), Image.Resampling.BILINEAR)
        left, top = (width - 224) // 2, (height - 224) // 2
        levels = np.asarray(image.crop((left, top, left + 224, top + 224)), np.float32)
        values = ((levels / 255 - self.mean) / self.std).transpose(2, 0, 1)[None]
        return np.asarray(self.session.run(["probabilities"], {"input": np.ascontiguousarray(values)})[0][0])

    def label(self, file: str) -> str:
        """The best class."""
        return self.labels[int(self(file).argmax())]


def same(classifier: Classifier, plain: Plain, files: list[str]) -> int:
    """For how many of the first images `infer` and the plain loop have the same class."""
    return sum(
        result.predictions is not None and result.predictions.best.label == plain.label(result.file)
        for result in infer(classifier, files[:ALONE])
    )


def grown(model: Path, files: list[str], many: int) -> list[float]:
    """Largest resident MB after all files and after ``many``, in a process of its own."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(peaks, model, files, many).result()


def peaks(model: Path, files: list[str], many: int) -> list[float]:
    results = infer(model, islice(cycle(files), many))
    measured = []
    for count in (len(files), many - len(files)):
        assert sum(1 for _ in islice(results, count)) == count
        measured.append(read_status()["peak"] / 1e6)
    return measured


if __name__ == "__main__":
    main()
