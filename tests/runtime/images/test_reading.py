"""Every way to hand over an image, and what is said where there is none."""

from __future__ import annotations

import gzip
import io
import os
import subprocess
import sys
import tempfile
import threading
import warnings
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from image_files import encoded
from odd_images import BROKEN, ODD
from PIL import Image, ImageFile

from cnntk.runtime.errors import ImageError
from cnntk.runtime.images.reading import MAX_MEGAPIXELS, DecodedImage, decode_image, read_image, source_name

RNG = np.random.default_rng(0)
RGB = RNG.integers(0, 256, (5, 7, 3), dtype=np.uint8)
GRAY = RNG.integers(0, 256, (5, 7), dtype=np.uint8)


def pipe_of(content: bytes) -> io.BufferedReader:
    """The reading end of a pipe that somebody writes into."""
    reading, writing = os.pipe()

    def write() -> None:
        with open(writing, "wb") as pipe:
            pipe.write(content)

    threading.Thread(target=write).start()
    return open(reading, "rb")


def at_its_end(content: bytes) -> io.BytesIO:
    stream = io.BytesIO()
    stream.write(content)
    return stream


class OnlyRead:
    """As little of a file as an object can be, and it hands over three bytes at a time."""

    def __init__(self, content: bytes) -> None:
        self._stream = io.BytesIO(content)

    def read(self, size: int = -1) -> bytes:
        return self._stream.read(3 if size > 3 else size)


def spooled(content: bytes) -> tempfile.SpooledTemporaryFile[bytes]:
    file = tempfile.SpooledTemporaryFile(max_size=10)  # noqa: SIM115 - the test closes it
    file.write(content)
    return file


def zipped(content: bytes) -> io.BufferedIOBase:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("image", content)
    return zipfile.ZipFile(stream).open("image")  # type: ignore[return-value]


HOLDERS: dict[str, Callable[[bytes], object]] = {
    "bytes": bytes,
    "bytearray": bytearray,
    "memoryview": memoryview,
    "every second byte of a memoryview": lambda b: memoryview(bytes(v for v in b for _ in "ab"))[::2],
    "BytesIO": io.BytesIO,
    "at its end": at_its_end,
    "pipe": pipe_of,
    "only read": OnlyRead,
    "spooled": spooled,
    "in an archive": zipped,
    "gzip": lambda b: gzip.GzipFile(fileobj=io.BytesIO(gzip.compress(b))),
    "Pillow": lambda b: Image.open(io.BytesIO(b)),
}
FILES = {
    "jpeg": encoded(np.repeat(np.repeat(RGB, 16, axis=0), 16, axis=1), "JPEG"),
    "turned jpeg": ODD["on its side.jpg"].file(),
    "png": encoded(RGB, "PNG"),
    "16-bit png": ODD["16-bit gray.png"].file(),
    "gif": ODD["animated.gif"].file(),
    "tiff": ODD["lzw.tif"].file(),
    "turned tiff": ODD["on its head.tif"].file(),
    "webp": ODD["alpha.webp"].file(),
    "bmp": encoded(RGB, "BMP"),
    "ppm": encoded(RGB, "PPM"),
}


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("holder", HOLDERS)
def test_every_way_to_hand_over_a_file_gives_the_same_pixels(holder: str, file: str, tmp_path: Path) -> None:
    path = tmp_path / "ünï 图"
    path.write_bytes(FILES[file])
    expected = read_image(path)
    source = HOLDERS[holder](FILES[file])
    assert np.array_equal(read_image(source), expected)
    assert np.array_equal(read_image(str(path)), expected)
    assert np.array_equal(read_image(expected), expected)  # and so does the array
    if hasattr(source, "close"):
        source.close()


def test_a_file_that_was_handed_over_stays_open_and_can_be_read_again() -> None:
    stream = io.BytesIO(FILES["png"])
    assert np.array_equal(read_image(stream), read_image(stream))
    assert not stream.closed


def test_a_path_is_closed_again(tmp_path: Path) -> None:
    for name, content in {**FILES, "broken": FILES["png"][:40]}.items():
        (tmp_path / name).write_bytes(content)
    before = len(os.listdir("/proc/self/fd")) if os.path.exists("/proc/self/fd") else 0
    for name in FILES:
        read_image(tmp_path / name)
    with pytest.raises(ImageError):
        read_image(tmp_path / "broken")
    after = len(os.listdir("/proc/self/fd")) if os.path.exists("/proc/self/fd") else 0
    assert before == after


def test_pillow_images_stay_as_they_are() -> None:
    image = Image.fromarray(np.dstack([RGB, GRAY]))
    before = image.tobytes(), image.mode, dict(image.info)
    read_image(image, background=(1, 2, 3))
    assert (image.tobytes(), image.mode, dict(image.info)) == before


@pytest.mark.parametrize(
    "mode",
    [
        "1", "L", "P", "RGB", "RGBA", "CMYK", "YCbCr", "LAB", "HSV", "I", "LA", "PA", "RGBX", "RGBa", "La",
        "I;16", "I;16L", "I;16B",
    ],
)  # fmt: skip
def test_pillow_images_of_every_mode(mode: str) -> None:
    white = mode in ("LA", "La", "PA", "RGBA", "RGBa", "CMYK")  # no ink, or the background shows through
    pixels = read_image(Image.new(mode, (3, 2)))
    assert pixels.shape == (2, 3, 1 if mode in ("1", "L") or mode.startswith("I") else 3)
    assert (pixels == 255).all() == white


def test_an_orientation_that_a_program_set_is_applied() -> None:
    image = Image.fromarray(RGB)
    image.getexif()[0x0112] = 3
    assert np.array_equal(read_image(image), RGB[::-1, ::-1])


@pytest.mark.parametrize("frame", [0, 1])
def test_a_pillow_image_gives_the_frame_where_it_stands(frame: int) -> None:
    image = Image.open(io.BytesIO(ODD["pages.tif"].file()))
    image.seek(frame)
    assert np.array_equal(read_image(image), np.asarray(image))
    assert decode_image(image).notes == ()


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP", "TIFF"])
def test_exif_orientation_is_applied(orientation: int, form: str) -> None:
    """Whichever of the 8 orientations is written, the upright picture comes back."""
    upright = Image.fromarray(np.repeat(np.repeat(RGB, 16, axis=0), 16, axis=1))
    undo = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    stored = upright.transpose(undo[orientation]) if orientation in undo else upright
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"JPEG": {"quality": 100, "subsampling": 0}, "WEBP": {"lossless": True}}.get(form, {})
    decoded = decode_image(encoded(stored, form, exif=exif, **options))
    assert decoded.pixels.shape == (80, 112, 3)
    assert np.abs(decoded.pixels.astype(int) - np.asarray(upright)).max() <= (8 if form == "JPEG" else 0)
    assert (f"rotated upright by its EXIF orientation {orientation}" in decoded.notes) == (orientation != 1)


def test_transparency_is_composed_on_the_background() -> None:
    rgba = np.zeros((2, 2, 4), dtype=np.uint8)
    rgba[0, 0] = (10, 20, 30, 255)
    for source in (encoded(rgba, "PNG"), rgba, Image.fromarray(rgba)):
        decoded = decode_image(source, background=(255, 0, 0))
        assert decoded.pixels[0, 0].tolist() == [10, 20, 30]
        assert decoded.pixels[1, 1].tolist() == [255, 0, 0]
        assert decoded.notes == ("transparency composed on RGB (255, 0, 0)",)


def test_the_same_pixels_for_read_and_decode() -> None:
    decoded = decode_image(FILES["png"])
    assert isinstance(decoded, DecodedImage)
    assert decoded.notes == ()
    assert np.array_equal(decoded.pixels, read_image(FILES["png"]))


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"background": (0, 0)}, "background: expected three whole numbers from 0 to 255"),
        ({"background": (0, 0, 256)}, "background: expected"),
        ({"background": (0, 0, 0.5)}, "background: expected"),
        ({"max_megapixels": 0}, "max_megapixels: expected a number over 0"),
        ({"max_megapixels": float("nan")}, "max_megapixels: expected"),
        ({"reduce_to": (224, 0)}, "reduce_to: expected a height and a width"),
        ({"reduce_to": (224,)}, "reduce_to: expected"),
    ],
)
def test_options_out_of_range(option: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_image(FILES["png"], **option)


@pytest.mark.parametrize("source", [None, 7, [[1, 2]], object(), {"a": 1}], ids=lambda s: type(s).__name__)
def test_what_is_no_source_at_all(source: object) -> None:
    with pytest.raises(TypeError, match="expected a path, bytes, a file, a Pillow image or an array"):
        read_image(source)


def test_files_of_text_are_no_source(tmp_path: Path) -> None:
    (tmp_path / "image.png").write_bytes(FILES["png"])
    with (
        open(tmp_path / "image.png", encoding="latin-1") as file,
        pytest.raises(TypeError, match='mode "rb"'),
    ):
        read_image(file)

    class Text:
        def read(self, size: int = -1) -> str:
            return "text"

    with pytest.raises(TypeError, match="returns str instead of bytes; open it in binary mode"):
        read_image(Text())


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"gone\.png: no such file$"):
        read_image(tmp_path / "gone.png")


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("", "^'': no such file"),
        ("https://example.org/a.jpg", "is an address, not a file; download it first"),
        ("a\0b.png", r"^'a\\x00b\.png': can't be opened \(embedded null byte\)"),
        ("two\nlines.png", r"^'two\\nlines\.png': no such file"),
        ("x" * 5000, "can't be opened"),
    ],
    ids=["empty", "address", "nul", "two lines", "too long"],
)
def test_paths_that_can_not_be(path: str, message: str) -> None:
    with pytest.raises(ImageError, match=message):
        read_image(path)


def test_a_file_on_the_way_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ImageError, match=r"can't be opened \(Not a directory\)"):
        read_image(tmp_path / "file" / "image.png")


def test_a_folder_is_no_image(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="is a folder, not an image"):
        read_image(tmp_path)


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="permissions as POSIX has them")
def test_a_file_that_may_not_be_read(tmp_path: Path) -> None:
    path = tmp_path / "secret.png"
    path.write_bytes(FILES["png"])
    path.chmod(0)
    user = os.geteuid()
    folders = {folder: folder.stat().st_mode for folder in (tmp_path, *tmp_path.parents[:2])}
    try:
        if user == 0:  # who may read everything
            for folder in folders:
                folder.chmod(0o755)
            os.seteuid(65534)
        with pytest.raises(ImageError, match="permission denied; check its access rights"):
            read_image(path)
    finally:
        os.seteuid(user)
        for folder, mode in folders.items():
            folder.chmod(mode)


def test_a_closed_file() -> None:
    stream = io.BytesIO(FILES["png"])
    stream.close()
    with pytest.raises(ImageError, match=r"<BytesIO>: can't be read \(.*closed file.*\); open it again"):
        read_image(stream)


def test_a_closed_pillow_image() -> None:
    image = Image.open(io.BytesIO(FILES["png"]))
    image.close()
    with pytest.raises(ImageError, match="<PngImageFile>: damaged or cut short"):
        read_image(image)


def test_a_source_that_fails_while_it_is_read() -> None:
    class Unplugged:
        def read(self, size: int = -1) -> bytes:
            raise RuntimeError("the camera is gone")

    with pytest.raises(ImageError, match=r"<Unplugged>: reading it failed \(the camera is gone\)"):
        read_image(Unplugged())


def test_a_pipe_that_never_ends() -> None:
    class Endless:
        position = 0

        def read(self, size: int) -> bytes:
            self.position += size
            return FILES["png"] if self.position == size else bytes(size)

    endless = Endless()
    with pytest.raises(ImageError, match=r"has more than 6\d MB, larger than any image of 0\.1 megapixels"):
        read_image(endless, max_megapixels=0.1)
    assert endless.position < 80e6


def test_a_pipe_that_is_no_image_is_not_read_to_its_end() -> None:
    class Zeros:
        position = 0

        def read(self, size: int) -> bytes:
            self.position += size
            return bytes(size)

    zeros = Zeros()
    with pytest.raises(ImageError, match="not a readable image"):
        read_image(zeros)
    assert zeros.position <= 1 << 20


@pytest.mark.parametrize("shape", [(4,), (4, 4, 2), (0, 4, 3), (1, 4, 4, 3)])
def test_arrays_that_are_no_image(shape: tuple[int, ...]) -> None:
    with pytest.raises(ImageError, match="expected uint8"):
        read_image(np.zeros(shape, dtype=np.uint8))


def test_float_arrays_are_refused() -> None:
    with pytest.raises(ImageError, match=r"array float32\[4, 4\]: expected uint8 .*; scale it to 0\.\.255"):
        read_image(np.zeros((4, 4), dtype=np.float32))


def test_names_for_messages(tmp_path: Path) -> None:
    assert source_name("a.png") == "a.png"
    assert source_name(b"x") == "<bytes>"
    with (tmp_path / "f").open("wb") as stream:
        assert source_name(stream) == str(tmp_path / "f")
    with pipe_of(b"") as pipe:
        assert source_name(pipe) == f"<file descriptor {pipe.fileno()}>"


NOISY = [
    "broken exif.jpg",
    "tags that Pillow warns of.tif",
    "palette with alpha.png",
    "30000x30000.png",
    "no frames.png",
    "strips upon strips.tif",
]


def read_noisy(kind: str) -> bool:
    """True where it gives what it must."""
    try:
        pixels = read_image(ODD[kind].file() if kind in ODD else BROKEN[kind][0]())
    except ImageError:
        return kind in BROKEN
    return np.abs(pixels.astype(int) - ODD[kind].pixels).max() <= ODD[kind].within


def test_there_would_be_warnings() -> None:
    """Where Pillow opens such files itself, it warns."""
    with pytest.warns(UserWarning, match="Corrupt EXIF data|Tag data larger|Truncated File"):
        Image.open(io.BytesIO(ODD["broken exif.jpg"].file())).getexif()
    with pytest.warns(UserWarning, match="had too many entries"):
        Image.open(io.BytesIO(ODD["tags that Pillow warns of.tif"].file()))
    with pytest.warns(Image.DecompressionBombWarning):
        Image.open(io.BytesIO(encoded(Image.new("1", (10_000, 9000)), "PNG")))


@pytest.mark.parametrize("action", ["error", "always"])
def test_many_threads_warn_of_nothing_and_change_no_setting(action: str) -> None:
    """`warnings` belongs to the process: a thread that changes it changes it for all others."""
    with warnings.catch_warnings(record=True) as recorded:
        warnings.simplefilter(action)  # type: ignore[arg-type]
        filters, before = warnings.filters, list(warnings.filters)
        shown = warnings.showwarning
        limits = Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES
        with ThreadPoolExecutor(8) as pool:
            assert all(pool.map(read_noisy, NOISY * 20))
        assert warnings.filters is filters
        assert list(warnings.filters) == before
        assert warnings.showwarning is shown
        assert limits == (Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES)
    assert recorded == []


def test_where_every_warning_is_an_error(tmp_path: Path) -> None:
    for kind in NOISY[:3]:
        (tmp_path / kind).write_bytes(ODD[kind].file())
    code = """import sys
from cnntk.runtime.images.reading import read_image
for file in sys.argv[1:]:
    read_image(file)"""
    files = [str(file) for file in sorted(tmp_path.iterdir())]
    done = subprocess.run([sys.executable, "-W", "error", "-c", code, *files], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("form", ["PNG", "TIFF"])
def test_images_beyond_pillows_limit_are_read_if_allowed(form: str) -> None:
    """And without its warning, which is an error here."""
    file = encoded(
        Image.new("1", (10_000, 9000), 1), form, **({"compression": "group4"} if form == "TIFF" else {})
    )
    assert Image.MAX_IMAGE_PIXELS is not None
    assert Image.MAX_IMAGE_PIXELS < 90e6
    with pytest.raises(ImageError, match=f"10000x9000 is over {MAX_MEGAPIXELS:g} megapixels"):
        read_image(file)
    pixels = read_image(file, max_megapixels=90)
    assert pixels.shape == (9000, 10_000, 1)
    assert pixels.all()
