"""Both kinds of images give the very pixels that the runtime gives."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cnntk.data.images import ArrayImages, FileImages, Images, prepare
from cnntk.runtime.artifact.spec import Preprocessing
from cnntk.runtime.errors import DataError
from cnntk.runtime.images.reading import read_image
from cnntk.runtime.preprocessing.preprocess import resize_and_crop

RANDOM = np.random.default_rng(0)
RGB = RANDOM.integers(0, 256, (6, 12, 10, 3), dtype=np.uint8)
GRAY = RANDOM.integers(0, 256, (6, 12, 10, 1), dtype=np.uint8)
THREE = {"mean": (0.0,) * 3, "std": (1.0,) * 3}

WAYS = {
    "nothing to do": Preprocessing("rgb", 12, 10, **THREE),
    "bgr": Preprocessing("bgr", 12, 10, **THREE),
    "to gray": Preprocessing("gray", 12, 10),
    "inverted": Preprocessing("rgb", 12, 10, invert="always", **THREE),
    "light background": Preprocessing("gray", 12, 10, invert="light-background"),
    "stretched": Preprocessing("rgb", 7, 9, **THREE),
    "shortest": Preprocessing("rgb", 7, 7, "shortest", crop_ratio=0.875, **THREE),
    "cropped at the same size": Preprocessing("rgb", 12, 10, "shortest", crop_ratio=0.5, **THREE),
    "longest": Preprocessing("gray", 28, 28, "longest"),
}


def in_files(pixels: np.ndarray, folder: Path) -> FileImages:
    paths = tuple(folder / f"{i}.png" for i in range(len(pixels)))
    for path, image in zip(paths, pixels, strict=True):
        Image.fromarray(image.squeeze()).save(path)
    return FileImages(paths)


@pytest.mark.parametrize("source", ["memory", "files"])
@pytest.mark.parametrize("pixels", [RGB, GRAY], ids=["rgb", "gray"])
@pytest.mark.parametrize("way", WAYS)
def test_pixels_are_those_of_the_runtime(source: str, pixels: np.ndarray, way: str, tmp_path: Path) -> None:
    images: Images = ArrayImages(pixels) if source == "memory" else in_files(pixels, tmp_path)
    order = np.array([4, 0, 4])
    expected = np.stack([resize_and_crop(image, WAYS[way]) for image in pixels[order]])
    np.testing.assert_array_equal(images.take(order, WAYS[way]), expected)


def test_the_result_may_be_changed() -> None:
    pixels = RGB.copy()
    pixels.flags.writeable = False
    pixels_copy = ArrayImages(pixels).take([0], WAYS["nothing to do"])
    pixels_copy[:] = 0
    assert pixels[0].any()


@pytest.mark.parametrize(("pixels", "channels"), [(RGB, 3), (GRAY, 1)], ids=["rgb", "gray"])
def test_channels_and_size(pixels: np.ndarray, channels: int, tmp_path: Path) -> None:
    files = in_files(pixels, tmp_path)
    assert ArrayImages(pixels).channels == files.channels == channels
    assert (ArrayImages(pixels).size, files.size, len(files)) == ((12, 10), None, 6)


def test_one_image_of_color_makes_the_set_colored(tmp_path: Path) -> None:
    paths = in_files(GRAY, tmp_path).paths
    Image.fromarray(RGB[0]).save(paths[3])
    assert FileImages(paths).channels == 3


def test_one_photo_of_color_among_many(tmp_path: Path) -> None:
    paths = in_files(np.concatenate([GRAY] * 17), tmp_path).paths
    assert FileImages(paths).channels == 1
    Image.fromarray(RGB[0]).save(paths[101])
    assert FileImages(paths).channels == 3


@pytest.mark.parametrize("suffix", ["png", "bmp", "gif", "webp", "tif", "jpg", "ppm"])
@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16", "L and transparent"])
def test_the_header_tells_what_the_pixels_tell(mode: str, suffix: str, tmp_path: Path) -> None:
    file = tmp_path / f"image.{suffix}"
    more = {"transparency": 0} if "transparent" in mode else {}
    try:
        Image.new(mode.partition(" ")[0], (4, 4)).save(file, **more)
    except (OSError, TypeError, ValueError) as error:
        pytest.skip(f"{suffix} has no {mode}: {error}")
    assert FileImages((file,)).channels == read_image(file).shape[2]


@pytest.mark.parametrize("content", [b"", b"no image", b"\x89PNG\r\n\x1a\n\0\0"], ids=repr)
def test_a_header_that_can_not_be_read(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "0.png").write_bytes(content)
    with pytest.raises(DataError, match=r"0\.png: .*or remove it from the data"):
        _ = FileImages((tmp_path / "0.png",)).channels


PIXELS = np.random.default_rng(0).integers(0, 256, (5, 9, 9, 1), dtype=np.uint8)


def test_memory_makes_no_difference() -> None:
    # "shortest" with a crop and an inversion: done twice they would show.
    p = Preprocessing("gray", 6, 6, "shortest", crop_ratio=0.5, invert="always")
    in_memory, on_demand = (prepare(ArrayImages(PIXELS), p, memory_bytes) for memory_bytes in (180, 179))
    assert in_memory.pixels is not None
    assert on_demand.pixels is None
    np.testing.assert_array_equal(in_memory.take([3, 1]), on_demand.take([3, 1]))
    assert len(in_memory) == len(on_demand) == 5
