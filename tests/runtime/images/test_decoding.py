"""How large images may be, and what a smaller decode costs."""

from __future__ import annotations

import io

import numpy as np
import pytest
from image_files import encoded, photo
from odd_images import exif
from PIL import Image

from cnntk.runtime.errors import ImageError, ImageTooLarge
from cnntk.runtime.images._decoding import MAX_MEGAPIXELS, describe_unreadable, image_errors
from cnntk.runtime.images._formats import OPENERS, missing_decoder, readable_formats
from cnntk.runtime.images.reading import decode_image, read_image

FORMS = [form for form in OPENERS if form != "HEIF" and not missing_decoder(form)]


@pytest.mark.parametrize("form", FORMS)
def test_the_limit_is_exact(form: str) -> None:
    file = encoded(Image.new("RGB", (100, 50)), form)
    assert read_image(file, max_megapixels=0.005).shape == (50, 100, 3)
    with pytest.raises(ImageError, match=r"<bytes>: 100x50 is over 0\.004999 megapixels; .* raise max_mega"):
        read_image(file, max_megapixels=0.004999)


def test_the_limit_holds_for_pillow_images_and_not_for_arrays() -> None:
    image = Image.new("RGB", (100, 50))
    with pytest.raises(ImageError, match=r"100x50 is over 0\.001 megapixels"):
        read_image(image, max_megapixels=0.001)
    assert read_image(np.asarray(image), max_megapixels=0.001).shape == (50, 100, 3)


def test_nothing_is_decoded_beyond_the_limit() -> None:
    """Of a file cut right after its header the size is told, not the cut."""
    file = encoded(Image.new("RGB", (100, 50)), "PNG")[:45]
    with pytest.raises(ImageError, match="100x50 is over"):
        read_image(file, max_megapixels=0.001)
    with pytest.raises(ImageError, match="damaged or cut short"):
        read_image(file)


def test_any_limit_is_allowed() -> None:
    assert read_image(encoded(Image.new("L", (9, 9)), "PNG"), max_megapixels=float("inf")).shape == (9, 9, 1)


def test_a_photo_of_any_phone_is_within_the_limit() -> None:
    assert MAX_MEGAPIXELS * 1e6 >= 8192 * 6144


def test_bombs_are_distinguished_from_photos() -> None:
    """Flat color is refused where it would fill the memory; as many bytes of noise make it a photo."""
    flat = encoded(Image.new("RGB", (4600, 4600)), "PNG")
    with pytest.raises(ImageError, match=r"4600x4600 pixels from \d+ bytes would take 148 MB"):
        read_image(flat)
    assert read_image(flat + bytes(500_000)).shape == (4600, 4600, 3)
    assert read_image(flat, max_megapixels=51.1).shape == (4600, 4600, 3)
    assert read_image(encoded(Image.new("RGB", (4400, 4400)), "PNG")).shape == (4400, 4400, 3)


PHOTO = photo(1600, 1200)
BIG = encoded(PHOTO, "JPEG", quality=90)


def resized(pixels: np.ndarray, size: int) -> np.ndarray:
    return np.asarray(Image.fromarray(pixels).resize((size, size), Image.Resampling.BILINEAR)).astype(int)


def off_by(pixels: np.ndarray, size: int) -> tuple[int, float]:
    error = np.abs(resized(pixels, size) - resized(read_image(BIG), size))
    return int(error.max()), float(error.mean())


@pytest.mark.parametrize(("size", "scale"), [(224, 2), (128, 4), (64, 8), (32, 8)])
def test_a_reduced_decode_differs_by_little_after_resizing(size: int, scale: int) -> None:
    decoded = decode_image(BIG, reduce_to=(size, size))
    assert decoded.pixels.shape == (1200 // scale, 1600 // scale, 3)
    assert decoded.notes == (f"decoded at 1/{scale} of its size",)
    largest, mean = off_by(decoded.pixels, size)
    assert largest <= 9
    assert mean <= 0.6


def test_the_bound_can_be_missed() -> None:
    """Decoded just as large as needed, without the factor of 2, it is too far off."""
    with Image.open(io.BytesIO(BIG)) as image:
        image.draft("RGB", (150, 150))
        assert image.size == (200, 150)
        largest, _ = off_by(np.asarray(image), 150)
    assert largest > 9


@pytest.mark.parametrize(
    ("size", "shape"),
    [
        ((300, 400), (600, 800, 3)),
        ((301, 100), (1200, 1600, 3)),
        ((100, 401), (1200, 1600, 3)),
        ((5000, 5000), (1200, 1600, 3)),
    ],
)
def test_what_is_needed_is_there_twice(size: tuple[int, int], shape: tuple[int, int, int]) -> None:
    assert read_image(BIG, reduce_to=size).shape == shape


def test_height_and_width_are_those_of_the_upright_image() -> None:
    file = encoded(Image.new("L", (1600, 1200)), "JPEG", exif=exif(6))
    assert read_image(file, reduce_to=(400, 300)).shape == (800, 600, 1)
    assert read_image(file, reduce_to=(300, 400)).shape == (1600, 1200, 1)


@pytest.mark.parametrize("width", [1601, 1602, 1607])
def test_proportions_are_preserved(width: int) -> None:
    """Sizes that a scale does not divide would shrink by what fills up the last block."""
    file = encoded(Image.new("RGB", (width, 1200)), "JPEG")
    for needed in (32, 64, 128, 224):
        height, got, _ = read_image(file, reduce_to=(needed, needed)).shape
        scale = round(1200 / height)
        assert (got * scale - width) / width * needed <= 0.05


@pytest.mark.parametrize("form", ["PNG", "WEBP", "GIF"])
def test_other_formats_are_decoded_whole(form: str) -> None:
    file = encoded(Image.new("RGB", (160, 120)), form)
    assert decode_image(file, reduce_to=(10, 10)).pixels.shape == (120, 160, 3)


def test_a_pillow_image_is_not_reduced() -> None:
    with Image.open(io.BytesIO(BIG)) as image:
        assert read_image(image, reduce_to=(10, 10)).shape == (1200, 1600, 3)


def test_the_limit_holds_for_what_is_decoded() -> None:
    assert read_image(BIG, reduce_to=(100, 100), max_megapixels=0.2).shape == (300, 400, 3)
    with pytest.raises(ImageError, match="1600x1200 is over"):
        read_image(BIG, max_megapixels=0.2)
    progressive = encoded(PHOTO, "JPEG", progressive=True)
    with pytest.raises(ImageError, match="1600x1200 is over"):
        read_image(progressive, reduce_to=(100, 100), max_megapixels=0.2)


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (ValueError("two\n  lines"), r"^a\.png: damaged \(two lines\); save it again as PNG or JPEG$"),
        (AssertionError(), r"^a\.png: damaged \(AssertionError\)"),
        (RecursionError("deep"), r"^a\.png: damaged \(deep\)"),
        (MemoryError(), r"^a\.png: needs more memory than is available; scale it down first$"),
        (ImageError("as it is"), "^as it is$"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_whatever_is_raised_inside_becomes_one_line(error: Exception, message: str) -> None:
    with pytest.raises(ImageError, match=message), image_errors("a.png", "damaged"):
        raise error


def test_what_is_no_damage_passes() -> None:
    with pytest.raises(KeyboardInterrupt), image_errors("a.png", "damaged"):
        raise KeyboardInterrupt


def test_messages_for_other_files_name_the_formats() -> None:
    assert describe_unreadable(b"\0\1", "a.jpg").endswith(f"use one of {readable_formats()}")
    assert (
        describe_unreadable(b"\0\1", "a.TGA")
        == "is a .tga file, a format that is not read: convert it to PNG"
    )


def noise_jpeg(**options: object) -> bytes:
    pixels = np.random.default_rng(0).integers(0, 256, (96, 128, 3), dtype=np.uint8)
    return encoded(pixels, "JPEG", **options)


@pytest.mark.parametrize("options", [{}, {"subsampling": 0}, {"restart_marker_blocks": 5}], ids=str)
@pytest.mark.parametrize("lost", [2, 20, 60])
def test_a_jpeg_that_lacks_its_very_end_is_read(options: dict[str, object], lost: int) -> None:
    """Its missing blocks are gray, at most a 50th of the image; all others are those of the whole file."""
    file = noise_jpeg(**options)
    whole, decoded = read_image(file), decode_image(file[:-lost])
    assert decoded.notes[0].startswith("the end of the file is missing")
    differing = (decoded.pixels != whole).any(axis=2)
    assert differing.mean() <= 0.05  # color of neighbors is smoothed
    assert not differing[:-17].any()
    assert decode_image(file).notes == ()


@pytest.mark.parametrize("share", [0.3, 0.6, 0.9, 0.95])
def test_a_jpeg_that_lacks_more_is_refused(share: float) -> None:
    file = noise_jpeg()
    with pytest.raises(ImageError, match=r"damaged or cut short \(about \d+% of its pixels are missing\)"):
        read_image(file[: int(len(file) * share)])


@pytest.mark.parametrize("lost", [2, 20, 200, 2000])
def test_a_progressive_jpeg_may_lack_the_end_of_its_last_scan(lost: int) -> None:
    """It adds the last bit of the detail in brightness, which the quantization makes worth a few levels."""
    file = encoded(PHOTO, "JPEG", quality=90, progressive=True)
    assert len(file) - file.rindex(b"\xff\xda") > 2500
    whole, decoded = read_image(file), decode_image(file[:-lost])
    assert decoded.notes == ("its last scan is incomplete, which refines details",)
    assert np.abs(decoded.pixels.astype(int) - whole).mean() <= 1
    assert decode_image(file).notes == ()


def test_a_progressive_jpeg_that_lacks_scans_is_refused() -> None:
    file = encoded(PHOTO, "JPEG", progressive=True)
    start = 0
    for number in range(10):
        start = file.index(b"\xff\xda", start + 1)
        cut = file[: start + 9 - 9 * (number == 9)]  # of the last scan without its header
        with pytest.raises(ImageError, match="damaged"):
            read_image(cut)


def test_a_jpeg_of_a_scan_for_each_component_is_refused_without_its_end() -> None:
    """Its colors may be missing, which no pixel shows."""
    file = noise_jpeg(progressive=True)
    sequential = file.replace(b"\xff\xc2", b"\xff\xc0", 1)  # by its frame
    with pytest.raises(ImageError, match="damaged"):
        read_image(sequential[:-2])


def test_the_limit_is_named_as_the_caller_names_it() -> None:
    with pytest.raises(ImageTooLarge) as caught:
        read_image(noise_jpeg(), max_megapixels=0.001)
    whole = "<bytes>: 128x96 is over 0.001 megapixels; scale it down first"
    assert str(caught.value) == f"{whole}, or raise max_megapixels"
    assert caught.value.for_option("--max-megapixels") == f"{whole}, or raise --max-megapixels"
    assert caught.value.for_option("") == whole
