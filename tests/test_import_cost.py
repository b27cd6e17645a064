"""What an import loads: an app pays for what it uses, and for nothing else."""

import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from cnntk.shipped import shipped_model

HEAVY = ("torch", "onnx", "onnx_ir", "onnxscript", "onnxruntime", "numpy", "PIL", "rich")


UNUSED = ("tempfile", "subprocess", "asyncio", "concurrent.futures", "importlib.metadata")
"""Modules that one answer for a PNG image does not need; with other decoders, a third of all its imports."""


def loaded_by(code: str, modules: tuple[str, ...] = HEAVY) -> set[str]:
    report = f"import sys; print('loaded:', *[m for m in {modules} if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\n{report}"], check=True, capture_output=True, text=True
    )
    return set(done.stdout.rpartition("loaded:")[2].split())


@pytest.mark.parametrize(
    "code",
    [
        "import cnntk",
        "import cnntk.runtime",
        "import cnntk.exporters",
        "import cnntk.models",
        "import cnntk.models.zoo",
        "from cnntk.cli import main; main(['--help'])",
        "from cnntk.cli import COMMANDS, main; [main([name, '--help']) for name in COMMANDS]",
    ],
)
def test_loads_nothing_heavy(code: str) -> None:
    assert loaded_by(code) == set()


@pytest.mark.parametrize(
    "code",
    [
        "from cnntk.runtime import Classifier; Classifier",
        "from cnntk.cli import main; main(['inspect'])",
        "from cnntk.cli import main; main(['bench', '--seconds', '0.01'])",
    ],
)
def test_inference_needs_neither_torch_nor_onnx(code: str) -> None:
    assert loaded_by(code) <= {"numpy", "PIL", "onnxruntime"}


WRONG_USE = {
    "train": (["--data", "mnist:x"], ["--data", "x"], ["x"], ["--device", "x"], ["-o", "{file}"]),
    "verify": (["x.onnx"], ["--against", "x.onnx"], ["--images", "x"], ["--device", "x"], ["--random"]),
    "inspect": (["x.onnx"],),
    "export": (
        ["lenet", "--random", "-o", "x/y.onnx"],
        ["lenet", "--random", "-o", "{file}"],
        ["lenet", "--random", "--samples", "x"],
        ["lenet", "--random", "--report", "{file}"],
        ["x"],
    ),
    "quantize": (
        ["--calibration", "x"],
        ["x.onnx", "--calibration", "digits"],
        ["--calibration", "digits", "--evaluation", "x"],
        ["--calibration", "digits", "-o", "x/y.onnx"],
        ["--calibration", "digits", "-o", "{file}"],
        ["--calibration", "digits", "--resume", "{file}"],
    ),
    "infer": (
        ["-m", "x.onnx", "x.png"],
        ["--device", "x", "x.png"],
        ["x.png"],
        ["x*.png"],
        ["x.png", "--resume"],
    ),
    "bench": (
        ["x.onnx"],
        ["--against", "x"],
        ["--against", "x.onnx"],
        ["--device", "x"],
        ["--save", "{file}"],
        ["--compare", "x"],
        ["--image", "x"],
    ),
}


@pytest.mark.parametrize("command", WRONG_USE)
def test_wrong_use_is_refused_before_anything_heavy_is_loaded(command: str, tmp_path: Path) -> None:
    (file := tmp_path / "file").touch()
    calls = [[command, *(text.format(file=file) for text in call)] for call in WRONG_USE[command]]
    code = f"from cnntk.cli import main\nfor call in {calls!r}: assert main(call) == 2, call"
    assert loaded_by(code) == set()


def test_evaluation_needs_neither_torch_nor_onnx(tmp_path: Path) -> None:
    for label in "01":
        (tmp_path / label).mkdir()
        Image.new("L", (28, 28)).save(tmp_path / label / "a.png")
    code = f"from cnntk.cli import main; main(['evaluate', '--data', {str(tmp_path)!r}])"
    assert loaded_by(code) <= {"numpy", "PIL", "onnxruntime"}


def test_quantization_of_artifacts_needs_no_torch() -> None:
    model = str(shipped_model())
    arguments = [model, "--calibration", "digits", "--calibration-images", "8", "--dry-run"]
    code = f"from cnntk.cli import main; assert main(['quantize', *{arguments!r}]) == 0"
    assert "torch" not in loaded_by(code)
    code = "import cnntk.quantization.pipeline"
    assert loaded_by(code, ("torch", "onnx_ir")) == {"onnx_ir"}


def test_a_first_answer_loads_one_decoder(tmp_path: Path) -> None:
    Image.new("L", (28, 28)).save(image := tmp_path / "image.png")
    code = f"from cnntk.runtime import Classifier; Classifier({str(shipped_model())!r})({str(image)!r}).best"
    decoders = tuple(f"PIL.{name}ImagePlugin" for name in ("Png", "Jpeg", "Tiff", "Gif", "WebP", "Avif"))
    assert loaded_by(code, (*UNUSED, *decoders)) == {"PIL.PngImagePlugin"}


def test_the_check_can_fail() -> None:
    assert "onnx" in loaded_by("import onnx")
