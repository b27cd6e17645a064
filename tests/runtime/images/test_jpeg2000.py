"""Headers of JPEG 2000 files: their size, and what would make OpenJPEG fill the memory."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest
from image_files import encoded
from PIL import Image

from cnntk.runtime.errors import ImageError
from cnntk.runtime.images._jpeg2000 import jpeg2000_size
from cnntk.runtime.images.reading import read_image

RGB = np.random.default_rng(0).integers(0, 256, (48, 70, 3), dtype=np.uint8)


def codestream(**options: object) -> bytes:
    return encoded(RGB, "JPEG2000", no_jp2=True, **options)


def jpeg2000(file: bytes) -> tuple[int, int]:
    return jpeg2000_size(io.BytesIO(file))


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"no_jp2": True},
        {"tile_size": (16, 16)},
        {"irreversible": True, "quality_layers": [40, 20, 10]},
        {"precinct_size": (32, 32), "codeblock_size": (16, 16)},
        {"num_resolutions": 1},
        {"comment": "x" * 5000},
        {"plt": True},
    ],
    ids=str,
)
def test_the_size_is_that_of_the_codestream(options: dict[str, object]) -> None:
    file = encoded(RGB, "JPEG2000", **options)
    assert jpeg2000(file) == (70, 48)
    if not options.get("irreversible"):
        assert np.array_equal(read_image(file), RGB)


@pytest.mark.parametrize("mode", ["L", "LA", "RGBA", "I;16"])
def test_modes(mode: str) -> None:
    assert jpeg2000(encoded(Image.new(mode, (9, 5)), "JPEG2000")) == (9, 5)


def with_grid(file: bytes, size: tuple[int, int], tile: tuple[int, int], components: int = 3) -> bytes:
    """The codestream with another segment SIZ."""
    fields = struct.pack(">8IH", *size, 0, 0, *tile, 0, 0, components)
    return file[:8] + fields + file[8 + len(fields) :]


def with_style(file: bytes, style: bytes) -> bytes:
    """The codestream with another segment COD."""
    start = file.index(b"\xff\x52")
    end = start + 2 + int.from_bytes(file[start + 2 : start + 4])
    return file[:start] + b"\xff\x52" + (len(style) + 2).to_bytes(2) + style + file[end:]


def style(*, layers: int = 1, block: int = 4, precincts: bytes = b"") -> bytes:
    levels = max(len(precincts) - 1, 0)
    return (
        bytes([bool(precincts), 0]) + layers.to_bytes(2) + bytes([1, levels, block, block, 0, 1]) + precincts
    )


PLAIN = codestream()
FIRST_TILE = PLAIN.index(b"\xff\x90")


@pytest.mark.parametrize(
    ("file", "message"),
    [
        (with_grid(PLAIN, (60_000, 800), (4, 4)), r"it has 3000000 tiles \(limit 4096\)"),
        (with_grid(PLAIN, (70, 48), (0, 48)), "tiles of 0x48"),
        (with_grid(PLAIN, (70, 48), (70, 48), 16384), "16384 components"),
        (with_style(PLAIN, style(block=0)), "code blocks are smaller than 16x16"),
        (
            with_grid(with_style(PLAIN, style(precincts=b"\0")), (7000, 7000), (7000, 7000)),
            r"it has \d+ precincts",
        ),
        (with_style(PLAIN, style(layers=65535, precincts=b"\x22")), "in 65535 layers"),
        (with_style(PLAIN, style(precincts=b"\x88" * 6))[: PLAIN.index(b"\xff\x52") + 14], "damaged"),
        (PLAIN[:2] + b"\xff\x30" + PLAIN[2:], "."),
        (PLAIN[:FIRST_TILE] + b"\xff\x31\0\2" + PLAIN[FIRST_TILE:], "its headers are damaged"),
        (encoded(RGB, "JPEG2000")[:40], "it has no codestream"),
    ],
)
def test_headers_that_fill_the_memory_are_refused(file: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        jpeg2000(file)
    with pytest.raises(ImageError, match=r"damaged, or of a type that can't be read|not a readable image"):
        read_image(file)


def test_headers_of_later_tile_parts_are_checked() -> None:
    """A tile part may bring a coding style of its own."""
    file = codestream(tile_size=(35, 48))
    last = file.rindex(b"\xff\x90")
    segment = b"\xff\x52" + (12).to_bytes(2) + style(block=0)
    size = int.from_bytes(file[last + 6 : last + 10]) + len(segment)
    header = file[last : last + 6] + size.to_bytes(4) + file[last + 10 : last + 12]
    assert jpeg2000(file) == (70, 48)
    with pytest.raises(ValueError, match="code blocks are smaller"):
        jpeg2000(file[:last] + header + segment + file[last + 12 :])


def test_the_size_of_the_codestream_counts_not_that_of_the_file_around_it() -> None:
    file = encoded(RGB, "JPEG2000")
    start = file.index(b"\xff\x4f\xff\x51")
    lying = file[:start] + with_grid(file[start:], (30_000, 30_000), (30_000, 30_000))
    with pytest.raises(ImageError, match="30000x30000 is over 51 megapixels"):
        read_image(lying)
