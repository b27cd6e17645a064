"""Everything that writes files, as commands and functions to be killed and to run out of disk space."""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path

import numpy as np
import onnx
import onnx.parser
import onnx_ir as ir
from PIL import Image
from reliability.runner import Failed

from cnntk.cli import main
from cnntk.runtime import CnntkError, Engine
from cnntk.runtime.artifact.spec import ModelSpec, TensorSpec
from cnntk.runtime.files import write_bytes
from cnntk.runtime.session.devices import import_onnxruntime
from cnntk.shipped import shipped_checkpoint, shipped_model

__all__ = ["WRITERS", "Writer", "fork", "prepare_images", "small_artifact"]

_SMALL = """<ir_version: 10, opset_import: ["": 18]>
g (float[N, 256] x) => (float[N, 100] logits)
<float[256, 100] weight, float[100] bias, float[100, 200] second, float[200, 100] third>
{ a = Gemm (x, weight, bias)  b = Gemm (a, second)  logits = Gemm (b, third) }"""
_SMALL_SPEC = ModelSpec("m", ("a",) * 100, (TensorSpec("x", "float32", ("N", 256)),), head="none")
_OLD = b"what was here before\n" * 100
_IMAGES = 60
_IMAGES_FOLDER = "<images>"
_INFER = ("cnntk.cli.infer", "cnntk.inference.output_file")
_REPORTS = (
    "cnntk.exporters.sources",
    "cnntk.reports.charts",
    "cnntk.reports.export",
    "cnntk.reports.quantize",
)


@dataclass(frozen=True)
class Writer:
    """A command or function that writes files.

    Attributes:
        name: Name in the record.
        write: Function that writes into the current folder, with the folder of images as its argument.
        check: Function that raises `Failed` where a file in the current folder is neither the old one nor
            wholly new; called with True after a run that nothing ended, where only new ones are right.
        files: Names of all that is in the folder after it.
        old: Files that are there before it.
        share: Its share of 1,000 kills.
        keeps: Names of files that a run may leave when it ends early, for the next one to continue from.
        imports: Modules that it imports when it runs.
    """

    name: str
    write: Callable[[Path], int]
    check: Callable[[bool], None]
    files: tuple[str, ...]
    old: tuple[str, ...]
    share: int
    keeps: tuple[str, ...] = ()
    imports: tuple[str, ...] = ()

    def write_old(self) -> None:
        for name in self.old:
            Path(name).write_bytes(_OLD)


def import_for(writers: Sequence[Writer]) -> None:
    """Imports what writers import when they run, so that forked processes need not."""
    import_onnxruntime()
    for name in sorted({name for writer in writers for name in writer.imports}):
        import_module(name)


def prepare_images(folder: Path) -> None:
    """Writes seeded images."""
    for i in range(_IMAGES):
        pixels = np.random.default_rng(i).integers(0, 256, (28, 28), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{i:03}.png")


def small_artifact(seed: int, target: Path, *, data_file: bool) -> None:
    """Writes an artifact as an export does, with random weights, in a second file if asked to."""
    from cnntk.exporters.artifact import append_spec, write_hashed
    from cnntk.exporters.external_data import staged_artifact

    rng = np.random.default_rng(seed)
    proto = onnx.parser.parse_model(_SMALL)
    for name, shape in {
        "weight": (256, 100),
        "bias": (100,),
        "second": (100, 200),
        "third": (200, 100),
    }.items():
        proto.graph.initializer.append(
            onnx.numpy_helper.from_array(rng.standard_normal(shape).astype(np.float32), name)
        )
    model = ir.from_proto(proto)
    with staged_artifact(model, target, required=data_file) as (temporary, data):
        written = write_hashed(model, temporary, data)
        append_spec(temporary, _SMALL_SPEC, written)


def fork(work: Callable[[], int], output: Path, before: Callable[[], object] = lambda: None) -> int:
    """Starts ``work`` in a process of its own; returns its id. Its exit status is what ``work`` returns."""
    child = os.fork()
    if child:
        return child
    status = 70
    try:
        os.setpgid(0, 0)
        log = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(log, 1)
        os.dup2(log, 2)
        sys.stdout, sys.stderr = (os.fdopen(i, "w", closefd=False) for i in (1, 2))
        before()
        status = work()
        sys.stdout.flush()
    except CnntkError as error:  # as the command line does
        os.write(2, f"{error}\n".encode())
        status = error.exit_status
    except BaseException:  # the parent reads it
        os.write(2, traceback.format_exc().encode())
    finally:
        os._exit(status)


def _bytes_of(name: str) -> bytes:
    return Path(name).read_bytes() if Path(name).exists() else b""


_NEW = bytes(range(256)) * (1 << 16)


def _write_bytes(images: Path) -> int:
    write_bytes(Path("out.bin"), _NEW)
    return 0


def _check_bytes(done: bool) -> None:
    _expect("out.bin", _bytes_of("out.bin"), [_NEW] if done else [_NEW, _OLD])


def _expect(name: str, data: bytes, allowed: Sequence[bytes]) -> None:
    if data not in allowed:
        raise Failed(f"{name}: torn: {len(data)} bytes, neither the old nor the new ones")


def _write_pair(images: Path) -> int:
    if not Path("m.onnx").exists():
        small_artifact(0, Path("m.onnx"), data_file=True)
    small_artifact(1, Path("m.onnx"), data_file=True)
    return 0


def _check_pair(done: bool) -> None:
    if done or Path("m.onnx").exists():
        _load("m.onnx")


def _load(name: str) -> Engine:
    try:
        return Engine(name)
    except CnntkError as error:
        raise Failed(f"{name}: torn: {error}") from error


def _check_artifact(name: str, page: str, done: bool) -> None:
    if done or _bytes_of(name) not in (b"", _OLD):
        engine = _load(name)
        if not engine.self_test().holds:
            raise Failed(f"{name}: fails its self-test")
    data = _bytes_of(page)
    if not data.rstrip().endswith(b"</html>") and (done or data):
        raise Failed(f"{page}: torn: {len(data)} bytes")


def _infer(*options: str) -> Callable[[Path], int]:
    return _command(
        "infer", "-m", str(shipped_model()), _IMAGES_FOLDER, "--threads", "1", "--batch", "4", *options
    )


def _check_rows(name: str, done: bool) -> None:
    data = _bytes_of(name)
    if data in (b"", _OLD) and not done:
        return
    lines = data.decode().splitlines()
    files = [json.loads(line)["file"] for line in lines] if name.endswith("jsonl") else lines[1:]
    expected = [f"{i:03}.png" for i in range(_IMAGES)]
    if len(files) != _IMAGES or any(e not in f for e, f in zip(expected, files, strict=True)):
        raise Failed(f"{name}: {len(files)} rows of {_IMAGES} images, or in another order")


def _command(*arguments: str) -> Callable[[Path], int]:
    return partial(_run_command, arguments)  # not a closure: it goes to other processes


def _run_command(arguments: Sequence[str], images: Path) -> int:
    return main([str(images) if argument == _IMAGES_FOLDER else argument for argument in arguments])


def _train(images: Path) -> int:
    resume = ["--resume"] if Path("t").exists() else []
    return main(["train", "lenet", "--data", "digits", "--epochs", "3", "-o", "t", *resume])


def _check_training(done: bool) -> None:
    from cnntk.models.checkpoint import load_checkpoint

    if done or Path("t/spec.json").exists():
        load_checkpoint("t")


def _check_baseline(done: bool) -> None:
    data = _bytes_of("b.json")
    if done or data:
        json.loads(data)


WRITERS = (
    Writer("write_bytes", _write_bytes, _check_bytes, ("out.bin",), ("out.bin",), 200),
    Writer(
        "artifact with a data file",
        _write_pair,
        _check_pair,
        ("m.*.data", "m.onnx"),
        (),
        150,
        imports=("cnntk.exporters",),
    ),
    Writer(
        "infer -o rows.csv",
        _infer("-o", "rows.csv", "--force"),
        partial(_check_rows, "rows.csv"),
        ("rows.csv",),
        ("rows.csv",),
        280,
        imports=_INFER,
    ),
    Writer(
        "infer -o rows.jsonl --resume",
        _infer("-o", "rows.jsonl", "--resume"),
        partial(_check_rows, "rows.jsonl"),
        ("rows.jsonl",),
        (),
        280,
        ("rows.jsonl.part",),
        _INFER,
    ),
    Writer(
        "export --report",
        _command("export", str(shipped_checkpoint()), "-o", "e.onnx", "--force", "--report", "e.html"),
        partial(_check_artifact, "e.onnx", "e.html"),
        ("e.html", "e.onnx"),
        ("e.onnx",),
        30,
        imports=("cnntk.cli.export", *_REPORTS),
    ),
    Writer(
        "quantize --report",
        _command(
            *("quantize", str(shipped_model()), "--calibration", "digits", "--calibration-images", "64"),
            *("--prefer", "size", "-o", "q.onnx", "--force", "--report", "q.html"),
        ),
        partial(_check_artifact, "q.onnx", "q.html"),
        ("q.html", "q.onnx"),
        ("q.onnx",),
        20,
        imports=("cnntk.cli.quantize", "cnntk.quantization.pipeline", "sklearn.datasets", *_REPORTS),
    ),
    Writer(
        "train, resumed",
        _train,
        _check_training,
        ("t/model.safetensors", "t/report.json", "t/spec.json"),
        (),
        30,
        ("t/*",),
        ("cnntk.cli.train", "cnntk.training.run", "sklearn.datasets"),
    ),
    Writer(
        "bench --save",
        _command("bench", str(shipped_model()), "--seconds", "0.05", "--save", "b.json"),
        _check_baseline,
        ("b.json",),
        (),
        10,
        imports=("cnntk.cli.bench", "cnntk.benchmark.baseline", "cnntk.benchmark.run"),
    ),
)
QUICK = WRITERS[:4]
"""Those that take well under a second."""


def _write_in_place(images: Path) -> int:
    with open("out.txt", "wb", buffering=0) as stream:
        for _ in range(100):
            stream.write(b"a line of it\n")
            time.sleep(0.002)
    return 0


def _check_in_place(done: bool) -> None:
    if len(Path("out.txt").read_bytes()) not in (1300, len(_OLD)):
        raise Failed("out.txt: torn")


IN_PLACE = Writer("in place", _write_in_place, _check_in_place, ("out.txt",), ("out.txt",), 1)
"""A control: it writes without a temporary file, which the cases must see."""


def leftovers(writer: Writer) -> list[str]:
    """Files and empty folders below the current one that do not belong there after a run that ended."""
    paths = [path for path in Path().rglob("*") if not (path.is_dir() and any(path.iterdir()))]
    return sorted(str(path) for path in paths if not any(path.match(pattern) for pattern in writer.files))


def clear(folder: Path) -> None:
    """Makes ``folder`` an empty one, and the current one."""
    os.chdir(folder.parent)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    os.chdir(folder)
