"""Whether quantised models answer alike on other CPUs: this one, and emulated ones without VNNI.

python benchmarks/portability.py [--images N] MODEL.onnx ...

Needs qemu-user (``apt install qemu-user``), which runs Python and onnxruntime as a Haswell (AVX2, whose
16-bit sums saturate) and as a Nehalem (SSE4). Said of each model: its self-test there, how many images have
another best class than here, and the largest difference of a logit, as a share of the logits' range.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

CPUS = ("Haswell", "Nehalem")

THERE = """
import sys
import numpy as np
from cnntk.runtime import Engine
from cnntk.runtime.errors import UnsupportedArtifact
model, images, answers = sys.argv[1:]
engine = Engine(model, threads=1)
try:
    print("self-test", "holds" if engine.self_test().holds else "FAILS")
except UnsupportedArtifact:
    print("no self-test")
found = [engine.run({engine.inputs[0].name: x[None]})["logits"][0] for x in np.load(images)]
np.save(answers, np.array(found))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=20)
    parser.add_argument("models", nargs="+")
    given = parser.parse_args()
    if shutil.which("qemu-x86_64") is None:
        sys.exit("qemu-x86_64 is missing: apt install qemu-user")
    for model in given.models:
        compare(model, given.images)


def compare(model: str, count: int) -> None:
    from cnntk.runtime import Engine

    engine = Engine(model)
    sizes = engine.image_sizes or {}
    shape = [int(sizes.get(d, 1)) if isinstance(d, str) else d for d in engine.inputs[0].shape[1:]]
    with tempfile.TemporaryDirectory() as folder:
        images = Path(folder) / "images.npy"
        np.save(images, pictures(count, shape))
        here, said = answers(model, images, [])
        print(f"{model}: here {said}")
        for cpu in CPUS:
            there, said = answers(model, images, ["qemu-x86_64", "-cpu", cpu])
            flips = int((here.argmax(axis=1) != there.argmax(axis=1)).sum())
            apart = np.abs(here - there).max() / np.ptp(here)
            print(
                f"  {cpu:8} {said}; {flips} of {count} best classes differ, logits {apart:.1e} of their range"
            )


def pictures(count: int, shape: list[int]) -> np.ndarray:
    """Smooth noise, uint8 (count, H, W, C)."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (count, 8, 8, shape[2]))
    grown = coarse.repeat(-(-shape[0] // 8), axis=1).repeat(-(-shape[1] // 8), axis=2)
    noisy = grown[:, : shape[0], : shape[1]] + rng.normal(0, 20, (count, *shape))
    return noisy.clip(0, 255).astype(np.uint8)


def answers(model: str, images: Path, emulator: list[str]) -> tuple[np.ndarray, str]:
    """Logits (count, K), and what the self-test said."""
    target = images.with_name("answers.npy")
    command = [*emulator, sys.executable, "-W", "ignore", "-c", THERE, model, str(images), str(target)]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    if run.returncode:
        sys.exit(f"{' '.join(emulator)}: {run.stderr.strip()[-500:]}")
    return np.load(target), run.stdout.strip()


if __name__ == "__main__":
    main()
