"""How fast `infer` is on a folder of photographs, against what the cores could do and against a plain loop.

    python benchmarks/directory.py [FOLDER of photographs]      # without one, images are made up

The photographs are brought to sizes around 500x375 and saved as JPEG of quality 90; the networks have random
weights. For each it prints:

- infer: images a second, from file to answer.
- ideal: cores / (core-time of an image's decoding + preprocessing + network), each measured alone on one
  core. Core-time is what the thread ran, not what the clock said: other processes do not add to it.
- share: infer / ideal; the bar is 0.9. It holds for a machine that has nothing else to do: how many cores
  others took meanwhile is printed, too, and the share of those that they left.
- plain: a loop of Pillow, numpy and session.run with its default threads; the bar is to be 1.3 times as fast.
- memory: the largest resident size after so many images, and after many more; the bar is no growth.

All are measured in turn, round by round, and medians are printed.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path
from typing import TypeVar

import numpy as np
from PIL import Image

from cnntk.inference import infer
from cnntk.inference.running import BATCH
from cnntk.runtime.classifier import Classifier
from cnntk.runtime.cores import usable_cores
from cnntk.runtime.spec import Preprocessing

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


def main() -> None:
    arguments = _arguments()
    if arguments.memory_of:
        _memory(arguments.memory_of, _files(arguments.folder), arguments.images, arguments.many)
        return
    with tempfile.TemporaryDirectory() as temporary:
        photos = Path(temporary) / "photos"
        make_photos(arguments.folder, photos, arguments.images)
        files = _files(photos)
        print(f"{len(files)} images, {usable_cores()} cores, {arguments.rounds} rounds")
        for network in arguments.networks:
            host, model = Path(temporary) / f"{network}-host.onnx", Path(temporary) / f"{network}.onnx"
            export(network, host, "host")
            export(network, model, arguments.preprocess)
            compare(network, model, host, files, arguments.rounds)
            if arguments.many > len(files):
                command = [sys.executable, __file__, str(photos), "--memory-of", str(model)]
                sizes = ["--images", str(len(files)), "--many", str(arguments.many)]
                subprocess.run([*command, *sizes], check=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", nargs="?", type=Path, help="of photographs; by default made-up images")
    parser.add_argument("--networks", nargs="+", default=["nin", "alexnet"], help="of the zoo")
    parser.add_argument("--preprocess", choices=("graph", "host"), default="graph", help="of infer's model")
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument(
        "--many", type=int, default=20_000, help="images after which memory is looked at again"
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--memory-of", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


def make_photos(source: Path | None, folder: Path, count: int) -> None:
    """Writes ``count`` JPEG files of about 500x375, of the photographs in ``source`` in turn."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    originals = _opened(source) if source else [_made_up(rng) for _ in range(20)]
    for i, original in enumerate(islice(cycle(originals), count)):
        width = int(rng.integers(420, 581))
        size = width, int(width * rng.uniform(0.65, 0.85))
        original.resize(size, Image.Resampling.BICUBIC).save(folder / f"{i:05}.jpg", quality=90)


def export(network: str, path: Path, preprocess: str) -> None:
    """An artifact with random weights that takes photographs as most networks of ImageNet do."""
    from cnntk.exporters import export as export_network

    export_network(network, path, random=True, image=IMAGENET, preprocess=preprocess)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Round:
    """What one round measured.

    Attributes:
        alone_ms: core-times of an image: decoding, preprocessing, network.
        infer: images a second.
        plain: images a second.
        others: cores that other processes took while `infer` ran.
        spent_ms: core-time of an image in `infer`.
    """

    alone_ms: tuple[float, float, float]
    infer: float
    plain: float
    others: float
    spent_ms: float

    @property
    def share(self) -> float:
        """Of the ideal."""
        return self.infer / self.ideal

    @property
    def ideal(self) -> float:
        """Images a second."""
        return 1e3 * usable_cores() / sum(self.alone_ms)

    @property
    def share_of_rest(self) -> float:
        """Of the ideal on the cores that others left."""
        return self.share * usable_cores() / max(0.1, usable_cores() - self.others)


def compare(network: str, model: Path, host: Path, files: list[str], rounds: int) -> None:
    """Prints a network's figures."""
    classifier = Classifier(model, threads=1)
    plain = Plain(host)
    same = sum(
        result.predictions is not None and result.predictions.best.label == plain.label(result.file)
        for result in infer(classifier, files[:ALONE])
    )
    measured = [one_round(classifier, plain, files) for _ in range(rounds)]

    def median(of: Callable[[Round], float]) -> float:
        return statistics.median(map(of, measured))

    def both(of: Callable[[Round], float]) -> str:
        return f"{median(of):.2f} (best round {max(map(of, measured)):.2f})"

    decoding, fitting, running = (statistics.median(r.alone_ms[i] for r in measured) for i in range(3))
    print(
        f"{network}: an image alone on one core: decoding {decoding:.2f} ms, preprocessing {fitting:.2f} ms,"
    )
    print(f"  network {running:.2f} ms; in infer {median(lambda r: r.spent_ms):.2f} ms")
    print(f"  infer {both(lambda r: r.infer)} images/s, ideal {median(lambda r: r.ideal):.2f}")
    print(f"  share {both(lambda r: r.share)}; others took {median(lambda r: r.others):.2f} cores,")
    print(f"  share of the rest {both(lambda r: r.share_of_rest)}")
    print(f"  plain {both(lambda r: r.plain)} images/s, the same class for {same} of {len(files[:ALONE])}")
    print(f"  infer is {both(lambda r: r.infer / r.plain)} times as fast as plain", flush=True)


def one_round(classifier: Classifier, plain: Plain, files: list[str]) -> Round:
    """Each part alone, then `infer`, then the plain loop."""
    alone = _alone_ms(classifier, files[:ALONE])
    busy, own, start = _busy_s(), time.process_time(), time.perf_counter()
    count = sum(1 for _ in infer(classifier, files))
    wall, own, busy = time.perf_counter() - start, time.process_time() - own, _busy_s() - busy
    start = time.perf_counter()
    for file in files:
        plain(file)
    plain_s = time.perf_counter() - start
    return Round(alone, count / wall, len(files) / plain_s, max(0.0, busy - own) / wall, 1e3 * own / count)


def _alone_ms(classifier: Classifier, files: list[str]) -> tuple[float, float, float]:
    decoding, pixels = _core_ms(lambda: [classifier.read(file) for file in files])
    fitting, fitted = _core_ms(lambda: [classifier.fit(image) for image in pixels])
    batches = [fitted[i : i + BATCH] for i in range(0, len(fitted), BATCH)]
    network, _ = _core_ms(lambda: [classifier.classify_fitted(batch) for batch in batches])
    return decoding / len(files), fitting / len(files), network / len(files)


def _core_ms(work: Callable[[], list[T]]) -> tuple[float, list[T]]:
    start = time.thread_time()
    done = work()
    return 1e3 * (time.thread_time() - start), done


def _busy_s() -> float:
    """Core-seconds that all processes ran since the machine was started; the hypervisor's share, too."""
    with open("/proc/stat", encoding="ascii") as stream:
        user, nice, system, _idle, _wait, hard, soft, stolen, *_ = map(int, stream.readline().split()[1:])
    return (user + nice + system + hard + soft + stolen) / os.sysconf("SC_CLK_TCK")


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


def _memory(model: Path, files: list[str], few: int, many: int) -> None:
    """Prints the largest resident size after ``few`` and after ``many`` images, named again and again."""
    results = infer(model, islice(cycle(files), many))
    sizes = []
    for count in (few, many - few):
        done = sum(1 for _ in islice(results, count))
        assert done == count
        sizes.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3)
    print(f"  memory: {sizes[0]:.0f} MB after {few} images, {sizes[1]:.0f} MB after {many}", flush=True)


def _files(folder: Path) -> list[str]:
    return sorted(map(str, folder.iterdir()))


def _opened(folder: Path) -> list[Image.Image]:
    return [Image.open(file).convert("RGB") for file in _files(folder)]


def _made_up(rng: np.random.Generator) -> Image.Image:
    """Coarse and fine noise, which is about as long to decode as a photograph."""
    coarse, fine = (
        Image.fromarray(rng.integers(0, 256, (n, n, 3), dtype=np.uint8)).resize(
            (600, 450), Image.Resampling.BICUBIC
        )
        for n in (8, 200)
    )
    return Image.blend(coarse, fine, 0.25)


if __name__ == "__main__":
    main()
