from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cnntk.exporters.checks._inputs import SAMPLES, read_samples
from cnntk.exporters.source import Source
from cnntk.runtime.artifact.spec import Preprocessing, TensorSpec
from cnntk.runtime.errors import UsageError
from cnntk.runtime.preprocessing.preprocess import preprocess

IMAGE = TensorSpec("input", "float32", ("N", 3, 8, 8))
AGE = TensorSpec("age", "int64", ("N", 1))
P = Preprocessing("rgb", 8, 8, mean=(0.5,) * 3, std=(0.25,) * 3)
RNG = np.random.default_rng(0)


def source(*inputs: TensorSpec, preprocessing: Preprocessing | None = None) -> Source:
    return Source("net", inputs or (IMAGE,), graph=object(), preprocessing=preprocessing)


def pixels(count: int) -> list[np.ndarray]:
    return [RNG.integers(0, 256, (9 + i, 12, 3), np.uint8) for i in range(count)]


@pytest.fixture
def folder(tmp_path: Path) -> Callable[[int], Path]:
    """A folder of photos, with what folders hold besides."""

    def make(count: int) -> Path:
        photos = tmp_path / "photos"
        (photos / "more").mkdir(parents=True)
        for i, array in enumerate(pixels(count)):
            Image.fromarray(array).save(photos / ("more" if i % 2 else ".") / f"{i}.PNG")
        if count > 2:
            (photos / "2.PNG").rename(photos / "2")
        (photos / "notes.txt").write_text("mine")
        (photos / ".hidden.png").write_bytes(b"")
        return photos

    return make


def test_arrays_by_input() -> None:
    arrays = {
        "age": np.arange(7)[:, None],
        "input": RNG.random((7, 3, 8, 8), np.float32),
    }
    samples = read_samples(arrays, source(IMAGE, AGE))
    assert (samples.total, samples.names) == (7, ("number 1", "number 2", "number 3", "number 4"))
    assert list(samples.arrays) == ["input", "age"]
    for name, array in samples.arrays.items():
        np.testing.assert_array_equal(array, arrays[name][:SAMPLES])


def test_an_npz(tmp_path: Path) -> None:
    array = RNG.random((2, 3, 8, 8), np.float32)
    np.savez(tmp_path / "s.npz", input=array)
    samples = read_samples(tmp_path / "s.npz", source())
    np.testing.assert_array_equal(samples.arrays["input"], array)
    assert (samples.total, samples.names) == (2, ("number 1", "number 2"))


def test_a_folder_goes_through_the_preprocessing(folder: Callable[[int], Path]) -> None:
    photos = folder(6)
    for path in (photos, str(photos)):
        samples = read_samples(path, source(preprocessing=P))
        assert (samples.total, samples.names) == (6, ("0.PNG", "2", "4.PNG", "more/1.PNG"))
    expected = preprocess([np.asarray(Image.open(photos / name)) for name in samples.names], P)
    np.testing.assert_array_equal(samples.arrays["input"], expected)


@pytest.mark.parametrize("dtype", ["float16", "float64"])
def test_images_have_the_type_of_the_input(dtype: str) -> None:
    images: list[Any] = [*pixels(2), Image.fromarray(pixels(1)[0])]
    samples = read_samples(images, source(TensorSpec("x", dtype, ("N", 3, 8, 8)), preprocessing=P))
    assert (samples.arrays["x"].dtype.name, samples.arrays["x"].shape) == (dtype, (3, 3, 8, 8))
    assert samples.total == 3


F = np.zeros((2, 3, 8, 8), np.float32)
NAN = np.where(np.arange(2)[:, None, None, None] == 1, np.float32("nan"), F)
WANTED = r"expected input: float32 \[n, 3, 8, 8\]"
BAD_ARRAYS = {
    "no such input": ({"image": F}, rf"samples: {WANTED}; got image"),
    "one too many": ({"input": F, "mask": F}, rf"samples: {WANTED}; got input, mask"),
    "nothing": ({}, rf"samples: {WANTED}; got nothing"),
    "another type": ({"input": F.astype(np.float64)}, r"array 'input': expected float32 \[n, 3, 8, 8\], got "
                     r"float64 \[2, 3, 8, 8\]; array.astype\('float32'\) casts it"),
    "another byte order": ({"input": F.astype(">f4")}, r"array 'input': expected float32 .*, got float32"),
    "another shape": ({"input": F[:, :1]}, r"array 'input': expected .*, got float32 \[2, 1, 8, 8\]"),
    "no batch": ({"input": F[0]}, r"array 'input': expected .*, got float32 \[3, 8, 8\]"),
    "no sample": ({"input": F[:0]}, "array 'input': no samples"),
    "NaN": ({"input": NAN}, "array 'input': sample 2 contains NaN or infinity; leave it out"),
    "no array": ({"input": [1, 2]}, "array 'input': expected a numpy array, got list"),
    "a bare array": (F, r"samples: expected \{'input': array\} or a list of images, got array float32"),
    "bytes": (b"1234", r"samples: expected \{'input': array\} or a list of images, got bytes"),
    "a number": (7, r"samples: expected \{'input': array\} or a list of images, got int"),
    "images for arrays": (pixels(1), r"samples: net has no preprocessing for images; pass arrays"),
}  # fmt: skip


@pytest.mark.parametrize(("arrays", "message"), BAD_ARRAYS.values(), ids=BAD_ARRAYS.keys())
def test_bad_arrays_are_named(arrays: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        read_samples(arrays, source())


def test_inputs_have_as_many_samples() -> None:
    arrays = {"input": F, "age": np.zeros((3, 1), np.int64)}
    with pytest.raises(
        UsageError, match="samples: expected as many samples of each input, got input 2, age 3"
    ):
        read_samples(arrays, source(IMAGE, AGE))
    with pytest.raises(
        UsageError, match=r"samples: net takes several inputs; pass arrays, as an .npz with input"
    ):
        read_samples(pixels(1), source(IMAGE, AGE, preprocessing=P))


def test_bad_images_are_named(folder: Callable[[int], Path], tmp_path: Path) -> None:
    photos = folder(2)
    (photos / "0.PNG").write_bytes(b"not an image")
    net = source(preprocessing=P)
    with pytest.raises(UsageError, match=r"samples: .*photos/0\.PNG: not a readable image"):
        read_samples(photos, net)
    with pytest.raises(UsageError, match=r"samples: array float32\[8, 8\]: expected uint8"):
        read_samples([np.zeros((8, 8), np.float32)], net)
    with pytest.raises(UsageError, match="samples: expected a path, bytes, a file"):
        read_samples([3], net)
    with pytest.raises(UsageError, match="samples: no samples"):
        read_samples([], net)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match=r"empty: contains no image \((AVIF, )?BMP"):
        read_samples(tmp_path / "empty", net)
    wider = TensorSpec("input", "float32", ("N", 3, 16, 16))
    with pytest.raises(UsageError, match=r"for net has shape \[3, 8, 8\], expected \[3, 16, 16\]"):
        read_samples(pixels(1), source(wider, preprocessing=P))


class Payload:
    def __reduce__(self) -> tuple[Any, ...]:
        return print, ("it ran",)


def test_bad_files_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "s.npz"
    np.savez(file, input=np.array([Payload()]))
    with pytest.raises(UsageError, match=r"s\.npz: not a valid \.npz file of plain arrays"):
        read_samples(file, source())
    assert "it ran" not in capsys.readouterr().out
    np.savez(file, input=F)
    data = file.read_bytes()
    for torn in (b"", data[:40], data[: len(data) // 2], data[:200] + b"\xff" * 60 + data[260:], b"text"):
        file.write_bytes(torn)
        with pytest.raises(UsageError, match=r"s\.npz: not a valid \.npz file of plain arrays"):
            read_samples(file, source())
    with file.open("wb") as stream:
        np.save(stream, F)
    with pytest.raises(UsageError, match=r"s\.npz: not a valid \.npz .*: one array without a name; write it"):
        read_samples(file, source())
    np.savez(file, F)
    with pytest.raises(UsageError, match=rf"s\.npz: {WANTED}; got arr_0"):
        read_samples(file, source())
    with pytest.raises(
        UsageError, match=r"gone\.npz: no such file \(expected a folder of images, or an \.npz"
    ):
        read_samples(tmp_path / "gone.npz", source())
    np.save(tmp_path / "s.npy", F)
    with pytest.raises(UsageError, match=r"s\.npy: expected a folder of images, or an \.npz"):
        read_samples(tmp_path / "s.npy", source())
