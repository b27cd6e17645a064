"""TIFF directories: the first page of a TIFF file on its own, and the orientation in EXIF data.

Pillow warns of every odd tag through Python's `warnings`, whose settings belong to the whole process: to
switch them off for a moment is not safe while other threads run. So Pillow is shown no tag that it could
warn of. It gets a TIFF file that holds the first page's pixels and what their decoding needs, no more.
"""

from __future__ import annotations

import io
import struct
from dataclasses import dataclass
from typing import IO, NamedTuple

__all__ = ["TiffPage", "exif_orientation", "first_page"]

_HEADERS = {b"II*\0": ("<", False), b"MM\0*": (">", False), b"II+\0": ("<", True), b"MM\0+": (">", True)}
_SIZES = {
    1: 1,
    2: 1,
    3: 2,
    4: 4,
    5: 8,
    6: 1,
    7: 1,
    8: 2,
    9: 4,
    10: 8,
    11: 4,
    12: 8,
    13: 4,
    16: 8,
    17: 8,
    18: 8,
}
_INTEGERS = {1: "B", 3: "H", 4: "I", 13: "I", 16: "Q", 18: "Q"}
_LONG = 4

_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC = 256, 257, 258, 259, 262
_STRIPS, _SAMPLES, _ROWS, _STRIP_BYTES, _PLANAR = 273, 277, 278, 279, 284
_TILE_WIDTH, _TILE_HEIGHT, _TILES, _TILE_BYTES = 322, 323, 324, 325
_ORIENTATION = 274
_SINGLE = {_WIDTH, _HEIGHT, _COMPRESSION, _PHOTOMETRIC, 266, _SAMPLES, _ROWS, _PLANAR, 292, 293, 317}
_SINGLE |= {_TILE_WIDTH, _TILE_HEIGHT, 332}
# FillOrder, T4Options, T6Options, Predictor and InkSet are above; below: ColorMap, ExtraSamples,
# SampleFormat, JPEGTables, what YCbCr needs, and the parameters of LERC.
_NEEDED = _SINGLE | {_BITS, 320, 338, 339, 347, 529, 530, 531, 532, 50674}
_PLACES = {_STRIPS, _STRIP_BYTES, _TILES, _TILE_BYTES}

_MAX_TAG_BYTES = 1 << 20  # 262,144 strips
_MAX_ENTRIES = 1000  # real ones have some dozens
_MAX_PAGES = 1000
_MAX_SAMPLES = 6  # more, Pillow refuses, and says so in the log


class _Tag(NamedTuple):
    kind: int
    length: int
    value: bytes


@dataclass(frozen=True)
class _Directory:
    """The tags of a page.

    Attributes:
        order: ``<`` or ``>``, as `struct` names byte orders.
        following: where the next directory is, 0 after the last.
    """

    order: str
    tags: dict[int, _Tag]
    following: int

    def numbers(self, tag: int) -> tuple[int, ...]:
        """The integers of a tag; none where it is absent or of another type."""
        kind, length, value = self.tags.get(tag, _Tag(0, 0, b""))
        return struct.unpack(f"{self.order}{length}{_INTEGERS[kind]}", value) if kind in _INTEGERS else ()

    def number(self, tag: int, default: int) -> int:
        """The first integer of a tag."""
        return next(iter(self.numbers(tag)), default)


@dataclass(frozen=True)
class TiffPage:
    """The first page of a TIFF file.

    Attributes:
        width, height: in pixels, as stored.
        block: width and height of what is decoded at once, which may exceed the image.
        pages: how many the file has; counting ends at 1000.
        orientation: 1 to 8, as EXIF counts them.
        white_is_zero: 16-bit values count from white to black, and Pillow leaves them so.
        full_scale: the largest value that a pixel wider than 8 bits can have.
    """

    width: int
    height: int
    block: tuple[int, int]
    pages: int
    orientation: int
    white_is_zero: bool
    full_scale: int
    _directory: _Directory

    def alone(self, stream: IO[bytes]) -> bytes:
        """A TIFF file of this page alone, with no tag but those that the pixels need.

        Raises:
            ValueError: the page's data is not where its directory says.
        """
        directory = self._directory
        tags = {number: _plain(tag, number, directory) for number, tag in directory.tags.items()}
        tags = {number: tag for number, tag in tags.items() if number in _NEEDED}
        if self.white_is_zero:  # Pillow inverts 8 bits and not 16, and refuses them in the other byte order
            tags[_PHOTOMETRIC] = _Tag(3, 1, struct.pack(f"{directory.order}H", 1))
        pixels, offsets, sizes = _gather(stream, self._blocks(), _length(stream))
        tiled = _TILES in directory.tags
        tags[_TILES if tiled else _STRIPS] = _longs(directory.order, offsets)
        tags[_TILE_BYTES if tiled else _STRIP_BYTES] = _longs(directory.order, sizes)
        if not tiled:
            tags[_ROWS] = _longs(directory.order, [self.block[1]])
        return _written(directory.order, tags, pixels)

    def _blocks(self) -> list[tuple[int, int]]:
        """Offset and size of each strip or tile."""
        directory = self._directory
        offsets = directory.numbers(_TILES) or directory.numbers(_STRIPS)
        sizes = directory.numbers(_TILE_BYTES) or directory.numbers(_STRIP_BYTES)
        if directory.number(_COMPRESSION, 1) == 1:  # what is told of uncompressed sizes is often wrong
            sizes = (self._block_bytes(),) * len(offsets)
        if not offsets or len(sizes) < len(offsets):
            raise ValueError("it does not say where its pixels are")
        return list(zip(offsets, sizes, strict=False))

    def _block_bytes(self) -> int:
        """What an uncompressed block takes."""
        bits = self._directory.numbers(_BITS) or (1,)
        samples = self._directory.number(_SAMPLES, len(bits))
        planar = self._directory.number(_PLANAR, 1) == 2
        depth = max(bits) if planar else sum(bits) if len(bits) == samples else bits[0] * samples
        return (self.block[0] * depth + 7) // 8 * self.block[1]


def first_page(stream: IO[bytes]) -> TiffPage:
    """Reads the directory of a TIFF file's first page.

    Raises:
        ValueError: there is none that makes sense.
    """
    directory, pages = _first_directory(stream, _NEEDED | _PLACES | {_ORIENTATION})
    width, height = directory.number(_WIDTH, 0), directory.number(_HEIGHT, 0)
    if not width or not height:
        raise ValueError(f"it has no pixels ({width}x{height})")
    if directory.number(_COMPRESSION, 1) == 6:
        raise ValueError("it is compressed as JPEG in the manner of before 1995")
    if directory.number(_SAMPLES, 1) > _MAX_SAMPLES:
        raise ValueError(f"it has {directory.number(_SAMPLES, 1)} samples a pixel")
    rows = min(directory.number(_ROWS, height) or height, height)
    tile = directory.number(_TILE_WIDTH, 0), directory.number(_TILE_HEIGHT, 0)
    bits = set(directory.numbers(_BITS))
    orientation = directory.number(_ORIENTATION, 1)
    return TiffPage(
        width=width,
        height=height,
        block=tile if _TILES in directory.tags else (width, rows),
        pages=pages,
        orientation=orientation if 1 <= orientation <= 8 else 1,
        white_is_zero=bits == {16} and directory.number(_PHOTOMETRIC, 1) == 0,
        full_scale=4095 if bits == {12} else 65535,
        _directory=directory,
    )


def exif_orientation(exif: bytes) -> int | None:
    """1 to 8 from the bytes of an EXIF block; None where it is broken or does not say."""
    while exif.startswith(b"Exif\0\0"):
        exif = exif[6:]
    try:
        directory, _ = _first_directory(io.BytesIO(exif), {_ORIENTATION})
        orientation = directory.number(_ORIENTATION, 0)
    except (ValueError, OverflowError, struct.error):
        return None
    return orientation if 1 <= orientation <= 8 else None


def _first_directory(stream: IO[bytes], wanted: set[int]) -> tuple[_Directory, int]:
    """And how many there are."""
    stream.seek(0)
    head = stream.read(16)
    if head[:4] not in _HEADERS or len(head) < 8:
        raise ValueError("it has no TIFF header")
    order, big = _HEADERS[head[:4]]
    (offset,) = struct.unpack_from(order + "Q", head, 8) if big else struct.unpack_from(order + "I", head, 4)
    first = _directory(stream, order, big, offset, wanted)
    seen, following = {offset}, first.following
    while following and following not in seen and len(seen) < _MAX_PAGES:
        seen.add(following)
        try:
            following = _directory(stream, order, big, following, set()).following
        except (ValueError, OverflowError, struct.error):
            break  # a later page is broken; the first is what is wanted
    return first, len(seen)


def _directory(stream: IO[bytes], order: str, big: bool, offset: int, wanted: set[int]) -> _Directory:
    counter, entry, inline, pointer = ("Q", "HHQ8s", 8, "Q") if big else ("H", "HHI4s", 4, "I")
    stream.seek(offset)
    head = stream.read(struct.calcsize(order + counter))
    if len(head) < struct.calcsize(order + counter):
        raise ValueError("its directory lies beyond the end of the file")
    (count,) = struct.unpack(order + counter, head)
    if count > _MAX_ENTRIES:
        raise ValueError(f"its directory claims {count} entries")
    size = struct.calcsize(order + entry)
    entries = stream.read(count * size + inline)
    tags: dict[int, _Tag] = {}
    for i in range(min(count, len(entries) // size)):
        tag, kind, length, value = struct.unpack_from(order + entry, entries, i * size)
        if tag in wanted and tag not in tags and kind in _SIZES:
            n_bytes = length * _SIZES[kind]
            if n_bytes > inline:
                (place,) = struct.unpack(order + pointer, value)
                value = _out_of_line(stream, place, n_bytes, tag)
            tags[tag] = _Tag(kind, length, value[:n_bytes])
    (following,) = struct.unpack(order + pointer, entries[count * size :].ljust(inline, b"\0"))
    return _Directory(order, tags, following)


def _out_of_line(stream: IO[bytes], offset: int, size: int, tag: int) -> bytes:
    if size > _MAX_TAG_BYTES:
        raise ValueError(f"its tag {tag} claims {size} bytes")
    stream.seek(offset)
    value = stream.read(size)
    if len(value) < size:
        raise ValueError(f"its tag {tag} lies beyond the end of the file")
    return value


def _gather(
    stream: IO[bytes], blocks: list[tuple[int, int]], file_bytes: int
) -> tuple[list[bytes], list[int], list[int]]:
    """The bytes of the blocks, where each block comes to lie in the new file, and how long it is."""
    parts: list[bytes] = []
    places: dict[tuple[int, int], tuple[int, int]] = {}
    position = 8
    for offset, size in blocks:
        if (offset, size) in places:  # equal tiles may be stored once
            continue
        stream.seek(offset)
        part = stream.read(min(size, file_bytes))
        places[offset, size] = (position, len(part))
        parts.append(part)
        position += len(part)
        if position > 2 * file_bytes + 65536:
            raise ValueError("its strips overlap")
    return parts, [places[block][0] for block in blocks], [places[block][1] for block in blocks]


def _plain(tag: _Tag, number: int, directory: _Directory) -> _Tag:
    """As it may stand in a TIFF file of 32-bit offsets; one value where there can be but one."""
    if tag.kind in (13, 16, 18):
        tag = _longs(directory.order, directory.numbers(number))
    return _Tag(tag.kind, 1, tag.value[: _SIZES[tag.kind]]) if number in _SINGLE and tag.length else tag


def _longs(order: str, values: list[int] | tuple[int, ...]) -> _Tag:
    return _Tag(_LONG, len(values), struct.pack(f"{order}{len(values)}I", *values))


def _written(order: str, tags: dict[int, _Tag], pixels: list[bytes]) -> bytes:
    position = 8 + sum(len(part) for part in pixels)
    parts = [*pixels, b"\0" * (position % 2)]
    position += position % 2
    entries = []
    for number, (kind, length, value) in sorted(tags.items()):
        field = value.ljust(4, b"\0")
        if len(value) > 4:
            field = struct.pack(order + "I", position)
            parts += [value, b"\0" * (len(value) % 2)]
            position += len(value) + len(value) % 2
        entries.append(struct.pack(order + "HHI4s", number, kind, length, field))
    magic = b"II*\0" if order == "<" else b"MM\0*"
    head = magic + struct.pack(order + "I", position)
    count_field = struct.pack(order + "H", len(entries))
    return b"".join([head, *parts, count_field, *entries, bytes(4)])


def _length(stream: IO[bytes]) -> int:
    return stream.seek(0, io.SEEK_END)
