"""CIFAR-10 in both of its forms; pickles that ask for more than arrays are refused."""

import gzip
import os
import pickle
import re
import struct
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cnntk.data.cifar import open_cifar10, read_pickle
from cnntk.runtime.artifact.spec import Preprocessing
from cnntk.runtime.errors import DataError

AS_IT_IS = Preprocessing("rgb", 32, 32, mean=(0.0,) * 3, std=(1.0,) * 3)


def test_batches_are_read(cifar_batches: Path) -> None:
    split = open_cifar10(cifar_batches)
    assert (len(split.train), len(split.test), split.classes) == (20, 4, ("cat", "dog"))
    raw = pickle.loads((cifar_batches / "data_batch_2").read_bytes())
    first = split.train.images.take([4], AS_IT_IS)[0]
    np.testing.assert_array_equal(first[:, :, 2].ravel(), raw[b"data"][0, 2048:], "blue is the last plane")
    assert split.train.labels[:4].tolist() == [0, 1, 1, 0]


def written_by_python_2(data: np.ndarray, labels: list[int]) -> bytes:
    """The originals are of Python 2, whose strings are bytes; opcode by opcode, as its cPickle wrote them."""
    dtype = b"cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    shape = b"J%sJ%s\x86" % tuple(struct.pack("<i", n) for n in data.shape)
    content = b"T" + struct.pack("<i", data.nbytes) + data.tobytes()
    array = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
    array += b"(K\x01" + shape + dtype + b"\x89" + content + b"tb"
    numbers = b"](" + b"".join(b"K%c" % label for label in labels) + b"e"
    return b"\x80\x02}(U\x04data" + array + b"U\x06labels" + numbers + b"u."


def test_pickles_of_python_2_are_read(cifar_batches: Path) -> None:
    data = np.random.default_rng(1).integers(0, 256, (3, 3072), dtype=np.uint8)
    (cifar_batches / "test_batch").write_bytes(written_by_python_2(data, [0, 1, 1]))
    test = open_cifar10(cifar_batches).test
    red = test.images.take(range(3), AS_IT_IS)[..., 0]
    np.testing.assert_array_equal(red.reshape(3, -1), data[:, :1024])
    assert test.labels.tolist() == [0, 1, 1]


def test_batches_are_read_from_the_folder_of_the_archive(cifar_batches: Path) -> None:
    inner = cifar_batches / "cifar-10-batches-py"
    inner.mkdir()
    for file in [f for f in cifar_batches.iterdir() if f.is_file()]:
        file.rename(inner / file.name)
    assert len(open_cifar10(cifar_batches).train) == 20


def test_folders_are_read(tmp_path: Path) -> None:
    for part, name in ((p, n) for p in ("train", "test") for n in ("cat", "dog")):
        (tmp_path / part / name).mkdir(parents=True)
        Image.new("RGB", (32, 32), (9, 8, 7)).save(tmp_path / part / name / "0000.png")
    split = open_cifar10(tmp_path)
    assert (split.classes, split.train.images.size, split.resize) == (("cat", "dog"), (32, 32), "stretch")
    assert split.test.images.take([1], AS_IT_IS)[0, 0, 0].tolist() == [9, 8, 7]


def test_neither_form(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"has neither train/ and test/ .* nor batches\.meta"):
        open_cifar10(tmp_path)


class Malicious:
    """Makes a folder when it is unpickled."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return os.mkdir, (str(self.folder),)


def test_a_pickle_that_runs_code_is_refused(cifar_batches: Path) -> None:
    trap = cifar_batches / "trap"
    (cifar_batches / "data_batch_1").write_bytes(pickle.dumps(Malicious(trap)))
    with pytest.raises(DataError, match=r"data_batch_1: .*asks for \w+\.mkdir, which is refused"):
        open_cifar10(cifar_batches)
    assert not trap.exists()
    pickle.loads((cifar_batches / "data_batch_1").read_bytes())
    assert trap.exists(), "the pickle does no harm: the test shows nothing"


@pytest.mark.parametrize(
    "content",
    [
        b"cnumpy\nmemmap\n.",
        b"cbuiltins\neval\n(S'1'\ntR.",
        b"c_codecs\nencode\n(S'eJw='\nS'zlib'\ntR.",
        b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\ndtype\n(I0\ntS'b'\ntR.",
        b"cnumpy\nndarray.tofile\n.",
        b"\x80\x04\x8c\x05numpy\x8c\x0endarray.tofile\x93.",
    ],
)
def test_other_classes_are_refused(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "batch"
    file.write_bytes(content)
    with pytest.raises(DataError, match="not a valid CIFAR-10 batch"):
        read_pickle(file)


def test_every_way_to_cut_a_batch_short_is_an_error(cifar_batches: Path) -> None:
    file = cifar_batches / "test_batch"
    data = file.read_bytes()
    for length in (*range(0, 200, 7), len(data) // 2, len(data) - 1):
        file.write_bytes(data[:length])
        with pytest.raises(DataError, match="test_batch"):
            open_cifar10(cifar_batches)


IMAGES = np.zeros((2, 3072), np.uint8)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([1, 2], "has no field 'data'"),
        ({"data": IMAGES}, "has no field 'labels'"),
        ({"data": [0], "labels": [0]}, "data is list, not uint8[N, 3072]"),
        ({"data": IMAGES[:, :9], "labels": [0, 1]}, "data is uint8[2, 9], not uint8[N, 3072]"),
        ({"data": IMAGES.astype(float), "labels": [0, 1]}, "data is float64[2, 3072]"),
        ({"data": IMAGES, "labels": [0]}, "labels are not a list of length 2"),
        ({"data": IMAGES, "labels": [0, 2]}, "label 2; expected 0 to 1"),
        ({"data": IMAGES, "labels": [0, -1]}, "label -1; expected 0 to 1"),
        ({"data": IMAGES, "labels": [0, "a"]}, "label 'a'; expected 0 to 1"),
    ],
)
def test_wrong_contents_are_refused(cifar_batches: Path, content: object, message: str) -> None:
    (cifar_batches / "data_batch_3").write_bytes(pickle.dumps(content, protocol=2))
    with pytest.raises(DataError, match=f"data_batch_3: {re.escape(message)}"):
        open_cifar10(cifar_batches)


def test_a_missing_batch_is_named(cifar_batches: Path) -> None:
    (cifar_batches / "data_batch_5").unlink()
    with pytest.raises(DataError, match="data_batch_5: is missing"):
        open_cifar10(cifar_batches)


def test_names_that_are_no_names(cifar_batches: Path) -> None:
    (cifar_batches / "batches.meta").write_bytes(pickle.dumps({"label_names": [1, 2]}))
    with pytest.raises(DataError, match=r"batches\.meta: label_names is not a list of names"):
        open_cifar10(cifar_batches)


def archive_of(folder: Path, file: Path, prefix: str = "") -> Path:
    with tarfile.open(file, "w:gz") as archive:
        archive.add(folder, prefix or ".")
    return file


def test_an_archive_of_batches(cifar_batches: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    file = archive_of(cifar_batches, tmp_path_factory.mktemp("a") / "c.tar.gz", "../cifar-10-batches-py")
    assert open_cifar10(file).fingerprint() == open_cifar10(cifar_batches).fingerprint()
    assert os.listdir(file.parent) == ["c.tar.gz"], "nothing is extracted"
    (cifar_batches / "data_batch_3").unlink()
    with pytest.raises(DataError, match=r"c.tar.gz/data_batch_3: is missing"):
        open_cifar10(archive_of(cifar_batches, file))
    (cifar_batches / "test_batch").write_bytes(pickle.dumps(os.system))
    with pytest.raises(DataError, match=r"which is refused|is missing"):
        open_cifar10(archive_of(cifar_batches, file))


@pytest.mark.parametrize("size", [32, 31])
def test_an_archive_of_images(size: int, tmp_path: Path) -> None:
    for part, level in (("train", 100), ("test", 200)):
        for name in ("cat", "dog"):
            (folder := tmp_path / "data" / part / name).mkdir(parents=True)
            Image.new("RGB", (size, size), (level, 0, 0)).save(folder / "0.png")
    file = archive_of(tmp_path / "data", tmp_path / "c.tar.gz")
    if size != 32:
        with pytest.raises(DataError, match=r"cat/0.png: is 31x31, expected 32x32"):
            open_cifar10(file)
        return
    split = open_cifar10(file)
    assert (len(split.train), len(split.test), split.classes) == (2, 2, ("cat", "dog"))
    assert split.test.images.take([1], AS_IT_IS)[0, 0, 0].tolist() == [200, 0, 0]


def test_other_files_are_no_archive(tmp_path: Path) -> None:
    (file := tmp_path / "c.tar.gz").write_bytes(b"no archive")
    with pytest.raises(DataError, match=r"not a valid .tar.gz archive"):
        open_cifar10(file)
    with tarfile.open(file, "w:gz"):
        pass
    with pytest.raises(DataError, match="has neither train/"):
        open_cifar10(file)
    large = tarfile.TarInfo("data_batch_1")
    large.size = 600_000_000
    with gzip.open(file, "wb") as stream:
        stream.write(large.tobuf())
    with pytest.raises(DataError, match="is larger than CIFAR-10 can be"):
        open_cifar10(file)
