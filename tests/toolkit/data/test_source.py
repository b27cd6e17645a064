"""The forms of DATA."""

import subprocess
import sys
from pathlib import Path

import pytest

from cnntk.data import open_data
from cnntk.runtime.errors import DataError, UsageError


def test_every_form_is_opened(mnist_folder: Path) -> None:
    assert open_data(f"mnist:{mnist_folder}").name == "mnist"
    assert open_data(f"fashion-mnist:{mnist_folder}").name == "fashion-mnist"


def test_photos(photo_folder: Path) -> None:
    assert open_data(f"folder:{photo_folder}").name == f"folder:{photo_folder.name}"


def test_cifar(cifar_batches: Path) -> None:
    assert open_data(f"cifar10:{cifar_batches}").name == "cifar10"


@pytest.mark.parametrize("text", ["", "digit", "mnist", "mnist:", "imagenet:/data", "/data"])
def test_other_forms_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match=r"expected one of digits, mnist:DIR, .*, folder:DIR"):
        open_data(text)


@pytest.mark.parametrize("kind", ["mnist", "fashion-mnist", "cifar10", "folder"])
def test_a_missing_folder_is_named(kind: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nowhere: no such folder"):
        open_data(f"{kind}:{tmp_path / 'nowhere'}")


def test_data_needs_no_torch() -> None:
    program = "import sys, cnntk.data; print([m for m in ('torch', 'sklearn', 'onnx') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_without_scikit_learn() -> None:
    program = """
import sys
sys.modules["sklearn"] = None
from cnntk.data import open_data
from cnntk.runtime.errors import MissingDependency
try:
    open_data("digits")
except MissingDependency as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == 'the data set digits needs scikit-learn; run: pip install "cnntk[train]"\n'
