"""HEIC images: read where pillow-heif is installed, else named with what to do."""

from __future__ import annotations

import io
import subprocess
import sys
from collections.abc import Iterator

import numpy as np
import pytest
from image_files import encoded
from odd_images import exif
from PIL import Image, ImageOps

from cnntk.runtime.errors import ImageError
from cnntk.runtime.images._formats import _heif_class, readable_formats
from cnntk.runtime.images.reading import decode_image, read_image

RAMP = np.stack([np.add.outer(np.arange(48) * 2, np.arange(64) * k) for k in (0, 1, 2)], axis=-1).astype(
    np.uint8
)
HEAD = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic"


@pytest.fixture
def without_decoder(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As where pillow-heif is not installed."""
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    _heif_class.cache_clear()
    yield
    _heif_class.cache_clear()


@pytest.mark.usefixtures("without_decoder")
def test_without_a_decoder_the_message_says_what_to_install() -> None:
    with pytest.raises(
        ImageError, match=r"is an HEIC image: pip install pillow-heif, or convert it to JPEG$"
    ):
        read_image(HEAD + bytes(99))
    assert "HEIF" not in readable_formats()


def heic(image: Image.Image, **options: object) -> bytes:
    pillow_heif = pytest.importorskip("pillow_heif")
    stream = io.BytesIO()
    file = pillow_heif.from_pillow(image)
    file.save(stream, quality=95, **options)
    return stream.getvalue()


def test_an_image_is_read() -> None:
    decoded = decode_image(heic(Image.fromarray(RAMP)))
    assert np.abs(decoded.pixels.astype(int) - RAMP).max() <= 16
    assert np.abs(decoded.pixels.astype(int) - RAMP).mean() <= 3
    assert decoded.notes == ()
    assert "HEIF" in readable_formats()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_an_image_is_upright(orientation: int) -> None:
    tags = exif(orientation)
    with Image.open(io.BytesIO(encoded(RAMP, "PNG", exif=tags))) as plain:
        upright = np.asarray(ImageOps.exif_transpose(plain)).astype(int)
    pixels = read_image(heic(Image.fromarray(RAMP), exif=tags.tobytes()))
    assert pixels.shape == upright.shape
    assert np.abs(pixels - upright).mean() <= 3


def test_limits_and_damage() -> None:
    file = heic(Image.fromarray(RAMP))
    with pytest.raises(ImageError, match=r"64x48 is over 0\.001 megapixels"):
        read_image(file, max_megapixels=0.001)
    for damaged in (file[: len(file) // 2], file[:200], HEAD + bytes(range(256)) * 9):
        with pytest.raises(ImageError, match=r"damaged.*\(.+\); save it again as PNG or JPEG"):
            read_image(damaged)


def test_the_decoder_is_loaded_by_the_first_image_of_its_format() -> None:
    file = heic(Image.fromarray(RAMP))
    program = (
        "import sys; from cnntk.runtime.images.reading import read_image; from PIL import Image\n"
        "read_image(Image.new('L', (9, 9))); assert 'pillow_heif' not in sys.modules\n"
        "read_image(sys.stdin.buffer); assert 'pillow_heif' in sys.modules\n"
        "assert 'HEIF' not in Image.OPEN, 'registered for the whole process'"
    )
    subprocess.run([sys.executable, "-c", program], input=file, check=True)
