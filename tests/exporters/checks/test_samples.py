from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cnntk.exporters.checks.inputs import SAMPLES
from cnntk.exporters.checks.samples import take_samples
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
        (photos / "notes.txt").write_text("mine")
        (photos / ".hidden.png").write_bytes(b"")
        return photos

    return make


def test_arrays_by_input() -> None:
    given = {
        "age": np.arange(7)[:, None],
        "input": RNG.random((7, 3, 8, 8), np.float32),
    }
    taken = take_samples(given, source(IMAGE, AGE))
    assert (taken.given, taken.names) == (7, ("number 1", "number 2", "number 3", "number 4"))
    assert list(taken.arrays) == ["input", "age"]
    for name, array in taken.arrays.items():
        np.testing.assert_array_equal(array, given[name][:SAMPLES])


def test_an_npz(tmp_path: Path) -> None:
    array = RNG.random((2, 3, 8, 8), np.float32)
    np.savez(tmp_path / "s.npz", input=array)
    taken = take_samples(tmp_path / "s.npz", source())
    np.testing.assert_array_equal(taken.arrays["input"], array)
    assert (taken.given, taken.names) == (2, ("number 1", "number 2"))


def test_a_folder_goes_through_the_preprocessing(folder: Callable[[int], Path]) -> None:
    photos = folder(6)
    for place in (photos, str(photos)):
        taken = take_samples(place, source(preprocessing=P))
        assert (taken.given, taken.names) == (6, ("0.PNG", "2.PNG", "4.PNG", "more/1.PNG"))
    expected = preprocess([np.asarray(Image.open(photos / name)) for name in taken.names], P)
    np.testing.assert_array_equal(taken.arrays["input"], expected)


@pytest.mark.parametrize("dtype", ["float16", "float64"])
def test_images_have_the_type_of_the_input(dtype: str) -> None:
    images: list[Any] = [*pixels(2), Image.fromarray(pixels(1)[0])]
    taken = take_samples(images, source(TensorSpec("x", dtype, ("N", 3, 8, 8)), preprocessing=P))
    assert (taken.arrays["x"].dtype.name, taken.arrays["x"].shape) == (dtype, (3, 3, 8, 8))
    assert taken.given == 3


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
    "no sample": ({"input": F[:0]}, "array 'input': holds no sample"),
    "NaN": ({"input": NAN}, "array 'input': sample number 2 holds NaN or infinity; leave it out"),
    "no array": ({"input": [1, 2]}, "array 'input': expected a numpy array, got list"),
    "a bare array": (F, r"samples: expected \{'input': array\} or a list of images, got array float32"),
    "bytes": (b"1234", r"samples: expected \{'input': array\} or a list of images, got bytes"),
    "a number": (7, r"samples: expected \{'input': array\} or a list of images, got int"),
    "images for arrays": (pixels(1), r"samples: net does not say how images become its input; give arrays"),
}  # fmt: skip


@pytest.mark.parametrize(("given", "message"), BAD_ARRAYS.values(), ids=BAD_ARRAYS.keys())
def test_bad_arrays_are_named(given: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        take_samples(given, source())


def test_inputs_have_as_many_samples() -> None:
    given = {"input": F, "age": np.zeros((3, 1), np.int64)}
    with pytest.raises(
        UsageError, match="samples: expected as many samples of each input, got input 2, age 3"
    ):
        take_samples(given, source(IMAGE, AGE))
    with pytest.raises(
        UsageError, match=r"samples: net takes several inputs; give arrays, as an .npz with input"
    ):
        take_samples(pixels(1), source(IMAGE, AGE, preprocessing=P))


def test_bad_images_are_named(folder: Callable[[int], Path], tmp_path: Path) -> None:
    photos = folder(2)
    (photos / "0.PNG").write_bytes(b"not an image")
    known = source(preprocessing=P)
    with pytest.raises(UsageError, match=r"samples: .*photos/0\.PNG: not a readable image"):
        take_samples(photos, known)
    with pytest.raises(UsageError, match=r"samples: array float32\[8, 8\]: expected uint8"):
        take_samples([np.zeros((8, 8), np.float32)], known)
    with pytest.raises(UsageError, match="samples: expected a path, bytes, a file"):
        take_samples([3], known)
    with pytest.raises(UsageError, match="samples: holds no sample"):
        take_samples([], known)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match=r"empty: contains no image \(\.bmp"):
        take_samples(tmp_path / "empty", known)
    wider = TensorSpec("input", "float32", ("N", 3, 16, 16))
    with pytest.raises(UsageError, match=r"an image is \[3, 8, 8\], and its input \[3, 16, 16\]"):
        take_samples(pixels(1), source(wider, preprocessing=P))


class Payload:
    def __reduce__(self) -> tuple[Any, ...]:
        return print, ("it ran",)


def test_bad_files_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "s.npz"
    np.savez(file, input=np.array([Payload()]))
    with pytest.raises(UsageError, match=r"s\.npz: is no \.npz of plain arrays"):
        take_samples(file, source())
    assert "it ran" not in capsys.readouterr().out
    np.savez(file, input=F)
    data = file.read_bytes()
    for torn in (b"", data[:40], data[: len(data) // 2], data[:200] + b"\xff" * 60 + data[260:], b"text"):
        file.write_bytes(torn)
        with pytest.raises(UsageError, match=r"s\.npz: is no \.npz of plain arrays, or a damaged one"):
            take_samples(file, source())
    with file.open("wb") as stream:
        np.save(stream, F)
    with pytest.raises(
        UsageError, match=r"s\.npz: is no \.npz .*: it holds one array without a name; write it"
    ):
        take_samples(file, source())
    np.savez(file, F)
    with pytest.raises(UsageError, match=rf"s\.npz: {WANTED}; got arr_0"):
        take_samples(file, source())
    with pytest.raises(
        UsageError, match=r"gone\.npz: no such file \(expected a folder of images, or an \.npz"
    ):
        take_samples(tmp_path / "gone.npz", source())
    np.save(tmp_path / "s.npy", F)
    with pytest.raises(UsageError, match=r"s\.npy: expected a folder of images, or an \.npz"):
        take_samples(tmp_path / "s.npy", source())
