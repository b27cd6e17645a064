"""Small made data sets in the formats that are read."""

import gzip
import pickle
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image


def save_idx(file: Path, values: np.ndarray) -> None:
    """``values`` as an IDX file, gzip where the name says so."""
    data = struct.pack(f">BBBB{values.ndim}I", 0, 0, 8, values.ndim, *values.shape) + values.tobytes()
    file.write_bytes(gzip.compress(data) if file.suffix == ".gz" else data)


@pytest.fixture
def write_idx() -> Callable[[Path, np.ndarray], None]:
    """Writes an array as an IDX file."""
    return save_idx


@pytest.fixture
def mnist_folder(tmp_path: Path) -> Path:
    """30 training and 10 test images of 6x5 pixels, gzip."""
    random = np.random.default_rng(0)
    for prefix, count in (("train", 30), ("t10k", 10)):
        images = random.integers(0, 256, (count, 6, 5), dtype=np.uint8)
        save_idx(tmp_path / f"{prefix}-images-idx3-ubyte.gz", images)
        save_idx(tmp_path / f"{prefix}-labels-idx1-ubyte.gz", (np.arange(count) % 10).astype(np.uint8))
    return tmp_path


@pytest.fixture
def cifar_batches(tmp_path: Path) -> Path:
    """Five batches of 4 images and a test batch, of two classes, pickled like the originals."""
    random = np.random.default_rng(0)
    for name in (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"):
        data = random.integers(0, 256, (4, 3072), dtype=np.uint8)
        (tmp_path / name).write_bytes(pickle.dumps({b"data": data, b"labels": [0, 1, 1, 0]}, protocol=2))
    (tmp_path / "batches.meta").write_bytes(pickle.dumps({b"label_names": [b"cat", b"dog"]}, protocol=2))
    return tmp_path


@pytest.fixture
def photo_folder(tmp_path: Path) -> Path:
    """Two classes of 5 photos, of several sizes and formats."""
    random = np.random.default_rng(0)
    for name in ("zebra", "ant"):
        (tmp_path / name).mkdir()
        for i, suffix in enumerate(("png", "jpg", "bmp", "webp", "gif")):
            pixels = random.integers(0, 256, (20 + i, 30, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / name / f"{i}.{suffix}")
    return tmp_path
