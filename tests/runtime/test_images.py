import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cnntk.runtime.errors import ImageError
from cnntk.runtime.images import describe, read_image

RNG = np.random.default_rng(0)
RGB = RNG.integers(0, 256, (5, 7, 3), dtype=np.uint8)
GREY = RNG.integers(0, 256, (5, 7), dtype=np.uint8)


def png(image: Image.Image, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, "PNG", **options)
    return stream.getvalue()


def test_every_way_to_hand_over_an_image_gives_the_same_pixels(tmp_path: Path) -> None:
    image = Image.fromarray(RGB)
    path = tmp_path / "ünï 图.png"
    image.save(path)
    for source in (path, str(path), path.read_bytes(), io.BytesIO(path.read_bytes()), image, RGB):
        assert np.array_equal(read_image(source), RGB)


@pytest.mark.parametrize("form", ["PNG", "BMP", "TIFF"])
def test_grey_stays_grey(form: str) -> None:
    stream = io.BytesIO()
    Image.fromarray(GREY).save(stream, form)
    assert np.array_equal(read_image(stream.getvalue()), GREY[:, :, None])


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(orientation: int) -> None:
    """Whichever of the 8 orientations is written, the upright picture comes back."""
    upright = Image.fromarray(np.repeat(np.repeat(RGB, 16, axis=0), 16, axis=1))
    undo = {
        2: [Image.Transpose.FLIP_LEFT_RIGHT],
        3: [Image.Transpose.ROTATE_180],
        4: [Image.Transpose.FLIP_TOP_BOTTOM],
        5: [Image.Transpose.TRANSPOSE],
        6: [Image.Transpose.ROTATE_90],
        7: [Image.Transpose.TRANSVERSE],
        8: [Image.Transpose.ROTATE_270],
    }
    stored = upright
    for step in undo.get(orientation, []):
        stored = stored.transpose(step)
    exif = Image.Exif()
    exif[0x0112] = orientation
    assert np.array_equal(read_image(png(stored, exif=exif)), np.asarray(upright))


def test_transparency_is_composed_on_the_background() -> None:
    rgba = np.zeros((2, 2, 4), dtype=np.uint8)
    rgba[0, 0] = (10, 20, 30, 255)
    pixels = read_image(png(Image.fromarray(rgba)), background=(255, 0, 0))
    assert pixels[0, 0].tolist() == [10, 20, 30]
    assert pixels[1, 1].tolist() == [255, 0, 0]


def test_16_bit_grey_is_scaled_and_not_clipped() -> None:
    wide = np.array([[0, 257 * 100, 65535]], dtype=np.uint16)
    assert read_image(png(Image.fromarray(wide)))[0, :, 0].tolist() == [0, 100, 255]
    clipped = np.asarray(Image.fromarray(wide).convert("I").convert("L"))
    assert clipped[0].tolist() != [0, 100, 255]  # what Pillow alone makes of it


def test_palette_and_cmyk_become_rgb() -> None:
    red = Image.new("RGB", (4, 4), (255, 0, 0))
    assert read_image(png(red.convert("P")))[0, 0].tolist() == [255, 0, 0]
    stream = io.BytesIO()
    red.convert("CMYK").save(stream, "JPEG")
    assert read_image(stream.getvalue()).shape == (4, 4, 3)


def test_float_pixels_are_refused() -> None:
    stream = io.BytesIO()
    Image.fromarray(GREY.astype(np.float32)).save(stream, "TIFF")
    with pytest.raises(ImageError, match="no defined range"):
        read_image(stream.getvalue())


BROKEN = {
    "missing": (None, "no such file"),
    "empty": (b"", r"is empty \(0 bytes\)"),
    "text": (b"this is no image\n", "no image that can be read"),
    "cut": (png(Image.fromarray(RGB))[:60], "damaged or cut short"),
    "header only": (png(Image.fromarray(RGB))[:20], "damaged|no image"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_broken_files_are_named(tmp_path: Path, kind: str) -> None:
    content, message = BROKEN[kind]
    path = tmp_path / "broken.png"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ImageError, match=message) as caught:
        read_image(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def test_a_folder_is_no_image(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="is a folder"):
        read_image(tmp_path)


def test_a_decompression_bomb_is_refused() -> None:
    bomb = png(Image.new("1", (20_000, 5_000)))
    assert len(bomb) < 100_000
    with pytest.raises(ImageError, match="megapixels"):
        read_image(bomb)


@pytest.mark.parametrize("shape", [(4,), (4, 4, 2), (0, 4, 3), (1, 4, 4, 3)])
def test_arrays_that_are_no_image(shape: tuple[int, ...]) -> None:
    with pytest.raises(ImageError, match="expected uint8"):
        read_image(np.zeros(shape, dtype=np.uint8))


def test_float_arrays_are_refused() -> None:
    with pytest.raises(ImageError, match=r"array float32\[4, 4\]: expected uint8"):
        read_image(np.zeros((4, 4), dtype=np.float32))


def test_names_for_messages(tmp_path: Path) -> None:
    assert describe("a.png") == "a.png"
    assert describe(b"x") == "<bytes>"
    with (tmp_path / "f").open("wb") as stream:
        assert describe(stream) == str(tmp_path / "f")
