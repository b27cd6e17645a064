"""Odd and broken images: each gives the right pixels or one clear message, in little memory."""

from __future__ import annotations

import random
import re
import shutil
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from image_files import encoded
from odd_images import BROKEN, LARGE, LEGAL_BOMB, ODD, PALETTE, RGB, WIDE, frames, gray_tiff
from PIL import features

from cnntk.runtime.errors import ImageError
from cnntk.runtime.images.reading import decode_image, read_image

MAX_MEMORY = 200e6


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All files, in one folder each for the odd, the broken and the large."""
    root = tmp_path_factory.mktemp("images")
    makers = {
        "odd": {kind: odd.file for kind, odd in ODD.items()},
        "broken": {kind: make for kind, (make, _) in BROKEN.items()},
        "large": {kind: make for kind, (make, _, _) in LARGE.items()},
    }
    for group, files in makers.items():
        (root / group).mkdir()
        for kind, make in files.items():
            (root / group / kind).write_bytes(make())
    return root


def test_there_are_enough_of_them() -> None:
    assert len(ODD) + len(BROKEN) >= 100


@pytest.mark.parametrize("kind", ODD)
def test_odd_images_are_read(kind: str, folder: Path) -> None:
    odd = ODD[kind]
    decoded = decode_image(folder / "odd" / kind)
    assert decoded.pixels.shape == odd.pixels.shape
    assert decoded.pixels.dtype == np.uint8
    assert np.abs(decoded.pixels.astype(int) - odd.pixels).max() <= odd.within
    assert decoded.notes == odd.notes


@pytest.mark.parametrize("kind", BROKEN)
def test_broken_images_are_refused(kind: str, folder: Path) -> None:
    path = folder / "broken" / kind
    with pytest.raises(ImageError) as caught:
        read_image(path)
    message = str(caught.value)
    assert re.fullmatch(rf"{re.escape(str(path))}: ({BROKEN[kind][1]}).*", message), message
    assert caught.value.__suppress_context__ or caught.value.__context__ is None  # no traceback of Pillow's


@pytest.mark.parametrize("kind", LARGE)
def test_large_images_are_read(kind: str, folder: Path) -> None:
    _, shape, value = LARGE[kind]
    pixels = read_image(folder / "large" / kind)
    assert pixels.shape == shape
    assert (int(pixels.min()), int(pixels.max())) == (value, value)


READ_ALL = """
import re, sys
from pathlib import Path
from cnntk.runtime.errors import ImageError
from cnntk.runtime.images.reading import read_image

peaks = []
for file in sorted(f for f in Path(sys.argv[1]).rglob("*") if f.is_file()):
    try:
        read_image(file, max_megapixels=float(sys.argv[2]))
    except ImageError:
        pass
    peak = re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())
    peaks.append((int(peak[1]) * 1024, file.name))
print(*max(peaks, key=lambda peak: peak[0]), len(peaks), sep="|")
"""


def peak_memory(folder: Path, max_megapixels: float) -> tuple[float, str, int]:
    """Bytes at the peak of a process that reads all files of a folder, the file that set it, and how many.

    Linux counts into ``ru_maxrss`` what the parent had in memory before `exec`; VmHWM is the child's own.
    """
    command = [sys.executable, "-W", "error", "-c", READ_ALL, str(folder), str(max_megapixels)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    peak, name, count = done.stdout.split("|")
    return float(peak), name, int(count)


reads_proc = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads /proc")


@reads_proc
def test_no_small_image_takes_more_than_200_mb(folder: Path, tmp_path: Path) -> None:
    for group in ("odd", "broken"):
        shutil.copytree(folder / group, tmp_path / group)
    peak, name, count = peak_memory(tmp_path, 51)
    assert count == len(ODD) + len(BROKEN)
    assert peak < MAX_MEMORY, name


@reads_proc
@pytest.mark.parametrize("kind", LARGE)
def test_no_large_image_takes_more_than_200_mb(kind: str, folder: Path, tmp_path: Path) -> None:
    """Each in a process of its own: what the C library keeps of an earlier image is not this one's."""
    shutil.copy(folder / "large" / kind, tmp_path)
    peak, name, _ = peak_memory(tmp_path, 51)
    assert name == kind
    assert peak < MAX_MEMORY


@reads_proc
def test_the_measurement_can_fail(folder: Path, tmp_path: Path) -> None:
    """A legal bomb, once it is allowed, takes what it was refused for."""
    shutil.copy(folder / "broken" / LEGAL_BOMB, tmp_path)
    peak, name, _ = peak_memory(tmp_path, 51.1)
    assert peak > MAX_MEMORY
    assert name == LEGAL_BOMB


SEEDS = {
    "jpg": encoded(RGB, "JPEG"),
    "progressive jpg": encoded(RGB, "JPEG", progressive=True),
    "cmyk jpg": ODD["cmyk.jpg"].file(),
    "exif jpg": ODD["on its side.jpg"].file(),
    "png": encoded(RGB, "PNG"),
    "palette png": ODD["palette with alpha.png"].file(),
    "16-bit png": encoded(WIDE, "PNG"),
    "animated png": frames("PNG", 2),
    "gif": encoded(PALETTE, "GIF", transparency=1),
    "animated gif": frames("GIF", 2),
    "bmp": encoded(RGB, "BMP"),
    "palette bmp": encoded(PALETTE, "BMP"),
    "run length bmp": ODD["run lengths.bmp"].file(),
    "tif": encoded(RGB, "TIFF"),
    "lzw tif": encoded(RGB, "TIFF", compression="tiff_lzw"),
    "16-bit tif": gray_tiff(WIDE, "u2"),
    "pages tif": frames("TIFF", 2),
    "64-bit tif": ODD["64-bit offsets.tif"].file(),
    "webp": encoded(RGB, "WEBP"),
    "lossless webp": ODD["alpha.webp"].file(),
    "animated webp": frames("WEBP", 2),
    "jp2": encoded(RGB, "JPEG2000"),
    "j2k": encoded(RGB, "JPEG2000", no_jp2=True),
    "ppm": encoded(RGB, "PPM"),
    "pgm": b"P5 3 1 100\n\0\1\2",
}
if features.check("avif"):
    SEEDS["avif"] = encoded(RGB, "AVIF")


def damaged(file: bytes, chance: random.Random) -> bytes:
    """With some bytes changed, lost or added; in PNG files the checksums are made right again."""
    data = bytearray(file)
    for _ in range(chance.choice((1, 1, 2, 4, 8))):
        position = chance.randrange(min(len(data), chance.choice((100, len(data)))))
        what = chance.random()
        if what < 0.8:
            data[position] = chance.choice((0, 1, 127, 128, 255, chance.randrange(256)))
        elif what < 0.9:
            del data[position : position + chance.randrange(1, 9)]
        else:
            data[position:position] = chance.randbytes(chance.randrange(1, 5))
    return with_checksums(data) if chance.random() < 0.8 else bytes(data)


def with_checksums(data: bytearray) -> bytes:
    position = 8
    while data.startswith(b"\x89PNG") and position + 12 <= len(data):
        end = position + 8 + int.from_bytes(data[position : position + 4])
        if end + 4 > len(data):
            break
        data[end : end + 4] = zlib.crc32(data[position + 4 : end]).to_bytes(4)
        position = end + 4
    return bytes(data)


@pytest.mark.parametrize("seed", SEEDS)
def test_damage_gives_pixels_or_an_image_error(seed: str) -> None:
    chance = random.Random(seed)
    answers = [answer(damaged(SEEDS[seed], chance)) for _ in range(200)]
    refusals = [a for a in answers if isinstance(a, str)]
    assert not any("\n" in message for message in refusals)
    assert all(a.dtype == np.uint8 and a.ndim == 3 for a in answers if not isinstance(a, str))
    assert 0 < len(refusals) < len(answers)  # else the decoders never see the damage, or don't mind it


def answer(file: bytes) -> np.ndarray | str:
    try:
        return read_image(file)
    except ImageError as error:
        return str(error)
