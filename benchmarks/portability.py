"""Whether quantized models answer alike on other CPUs: this one, and emulated ones without VNNI.

python benchmarks/portability.py [--images N] [--data DATA] [--arm64 ROOT] [--control FILE] MODEL.onnx ...

Needs qemu-user (``apt install qemu-user``), which runs Python and onnxruntime as a Haswell (AVX2, whose
16-bit sums saturate) and as a Nehalem (SSE4). Said of each model: its self-test there, how many images have
another best class than here, the largest difference of a logit, as a share of the logits' range and in
quantization steps, of which the range has 255, and of how many images all logits are the same to the bit.
Status 1 where a self-test or a best class differs, or a logit by over one step.

The images are smooth noise, or those that DATA, as ``cnntk quantize`` takes it, keeps to judge by.
``--control`` names a model whose weights can saturate (``cnntk quantize --target vnni``): that it differs on
Haswell by no more than floats do is an error, for then nothing was seen here.

ROOT adds ARM64, without and with dot products in integers: a folder with ``qemu-aarch64`` 10 or later (7.2
crashes in onnxruntime), Debian's Python 3.11 in ``root/`` and wheels for it in ``sp/``::

    # qemu-user of bookworm-backports; --extract leaves an installed one alone
    dpkg --extract qemu-user_*.deb q && cp q/usr/bin/qemu-aarch64 ROOT
    # apt with an arm64 sources list, and lists and a cache of its own
    apt-get -o APT::Architecture=arm64 download python3.11-minimal libpython3.11-minimal \\
        libpython3.11-stdlib libc6 libstdc++6 libgcc-s1 zlib1g libexpat1 libffi8 libssl3 libbz2-1.0 \\
        liblzma5 libsqlite3-0 libuuid1
    for deb in *_arm64.deb; do dpkg --extract $deb ROOT/root; done
    pip download --no-deps --only-binary=:all: --python-version 311 --platform manylinux_2_28_aarch64 \\
        --platform manylinux_2_27_aarch64 onnxruntime numpy pillow     # in the versions that run here
    for wheel in *.whl; do unzip -q $wheel -d ROOT/sp; done
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

import cnntk.runtime
from cnntk.data.batches import batches_of
from cnntk.data.calibration import split_images
from cnntk.runtime import Engine

LEVELS = 255

ROUNDING = 1e-5
"""Of the logits' range: what floats that are summed in another order stay far below."""

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
name = engine.inputs[0].name
found = [engine.run({name: x[None]}, allow_nonfinite=True)["logits"][0] for x in np.load(images).values()]
np.save(answers, np.array(found))
"""


@dataclass(frozen=True)
class Cpu:
    """Where a model runs: the Python there, and what it is run by."""

    name: str
    python: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Answers:
    """Logits (count, K), and what the self-test said."""

    logits: np.ndarray
    verdict: str


@dataclass(frozen=True)
class Portability:
    """Whether all CPUs answer as this one, and how far a logit is off at the most, of their range."""

    alike: bool
    apart: float


HERE = Cpu("here", (sys.executable,))
HASWELL, NEHALEM = (Cpu(n, ("qemu-x86_64", "-cpu", n, sys.executable)) for n in ("Haswell", "Nehalem"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=20)
    parser.add_argument("--data")
    parser.add_argument("--arm64", type=Path, metavar="ROOT")
    parser.add_argument("--control", metavar="FILE")
    parser.add_argument("models", nargs="*")
    args = parser.parse_args()
    if shutil.which("qemu-x86_64") is None:
        sys.exit("qemu-x86_64 is missing: apt install qemu-user")
    with tempfile.TemporaryDirectory() as folder:
        cpus = (HASWELL, NEHALEM, *(arm64(args.arm64.resolve(), Path(folder)) if args.arm64 else ()))
        result = [compare(model, args, cpus, Path(folder)) for model in args.models]
        if args.control and compare(args.control, args, (HASWELL,), Path(folder)).apart < ROUNDING:
            sys.exit(f"{args.control}: is alike on Haswell, so that these images show nothing")
    if not all(model.alike for model in result):
        sys.exit(1)


def arm64(root: Path, folder: Path) -> tuple[Cpu, ...]:
    """ARM64 CPUs, for whose Python this cnntk's runtime is laid out in ``folder``."""
    package = folder / "arm64" / "cnntk"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "runtime").symlink_to(Path(cnntk.runtime.__file__).parent)
    paths = {"PYTHONPATH": f"{package.parent}:{root / 'sp'}", "PYTHONHOME": str(root / "root/usr")}
    qemu = (str(root / "qemu-aarch64"), "-L", str(root / "root"))
    python = str(root / "root/usr/bin/python3.11")
    return tuple(Cpu(name, (*qemu, "-cpu", name, python), paths) for name in ("cortex-a53", "neoverse-n1"))


def compare(model: str, args: argparse.Namespace, cpus: tuple[Cpu, ...], folder: Path) -> Portability:
    images = folder / "images.npz"
    pictures = noise(model, args.images) if args.data is None else pictures_of(model, args)
    np.savez(images, *pictures)
    here = answers(model, images, HERE)
    scale, alike, most = float(np.ptp(here.logits)), True, 0.0
    print(f"{model}: here {here.verdict}, {len(pictures)} images", flush=True)
    for cpu in cpus:
        there = answers(model, images, cpu)
        flips = int((here.logits.argmax(axis=1) != there.logits.argmax(axis=1)).sum())
        apart = np.abs(here.logits - there.logits)
        share = float(apart.max()) / scale
        same = float((apart.max(axis=1) == 0).mean())
        print(
            f"  {cpu.name:11} {there.verdict}; {flips} of {len(pictures)} best classes differ, logits "
            f"{share:.1e} of their range, {share * LEVELS:.4f} steps; {same:.1%} alike to the bit",
            flush=True,
        )
        alike &= "FAILS" not in there.verdict and not flips and share * LEVELS <= 1
        most = max(most, share)
    return Portability(alike, most)


def pictures_of(model: str, args: argparse.Namespace) -> list[np.ndarray]:
    """Images to judge by, as the model takes them."""
    engine = Engine(model)
    if engine.spec is None:
        sys.exit(f"{model}: is no artifact of cnntk, and takes no images of --data")
    there = split_images(args.data, engine.spec, max_calibration_images=1).evaluation
    evenly = there.indices[:: max(len(there) // args.images, 1)][: args.images]
    images = replace(there, indices=evenly, labels=())
    name = engine.inputs[0].name
    return [array for batch in batches_of(engine, images) for array in batch.inputs[name]]


def noise(model: str, count: int) -> list[np.ndarray]:
    """Smooth noise, uint8 (H, W, C) each."""
    engine = Engine(model)
    sizes = engine.image_sizes or {}
    shape = [int(sizes.get(d, 1)) if isinstance(d, str) else d for d in engine.inputs[0].shape[1:]]
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (count, 8, 8, shape[2]))
    grown = coarse.repeat(-(-shape[0] // 8), axis=1).repeat(-(-shape[1] // 8), axis=2)
    noisy = grown[:, : shape[0], : shape[1]] + rng.normal(0, 20, (count, *shape))
    return list(noisy.clip(0, 255).astype(np.uint8))


def answers(model: str, images: Path, cpu: Cpu) -> Answers:
    target = images.with_name("answers.npy")
    command = [*cpu.python, "-W", "ignore", "-c", THERE, model, str(images), str(target)]
    environment = {**os.environ, **cpu.environment}
    run = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if run.returncode:
        sys.exit(f"{cpu.name}: {run.stderr.strip()[-500:] or run.returncode}")
    return Answers(np.load(target), run.stdout.strip())


if __name__ == "__main__":
    main()
