"""Limits on the headers of JPEG 2000 files, which alone can make OpenJPEG allocate gigabytes.

OpenJPEG allocates kilobytes for each tile, when it has read the main header, and hundreds of bytes for each
precinct and code block of a tile. Their sizes are free, so that a file of 200 bytes may ask for millions.
Markers and segments are those of ITU-T T.800, annex A.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import IO

_CODESTREAM = b"\xff\x4f\xff\x51"
_SIZ, _COD, _COC, _SOT, _SOD, _EOC = 0xFF51, 0xFF52, 0xFF53, 0xFF90, 0xFF93, 0xFFD9
_SEGMENTS = {
    _SIZ, _COD, _COC, _SOT,
    0xFF50, 0xFF55, 0xFF57, 0xFF58, 0xFF59, 0xFF5C, 0xFF5D, 0xFF5E, 0xFF5F, 0xFF60, 0xFF61, 0xFF63, 0xFF64,
    0xFF74, 0xFF75, 0xFF77, 0xFF78,
}  # fmt: skip

_MAX_COMPONENTS = 4
_MAX_TILES = 4096
_MAX_PRECINCTS = 1 << 17
"""Precincts of all tiles, components and resolutions: those of 51 megapixels with precincts of 128x128."""

_MAX_PACKETS = 1 << 24
"""Precincts times quality layers."""

_MIN_CODE_BLOCK = 2
"""Smallest exponent of a code block's side, as it is stored: 16."""


def jpeg2000_size(stream: IO[bytes]) -> tuple[int, int]:
    """Returns width and height of a JPEG 2000 codestream, alone or in a JP2 file.

    Raises:
        ValueError: Its headers are damaged, or ask for more memory than those of any image.
    """
    position = _codestream_position(stream)
    grid: _Grid | None = None
    for code, data in _segments(stream, position):
        if code == _SIZ:
            grid = _Grid(data)
        elif grid is not None and code == _COD:
            grid.check(data[0] & 1, int.from_bytes(data[2:4]), data[5:])
        elif grid is not None and code == _COC:
            grid.check(data[1] & 1, 1, data[2:])
    if grid is None:
        raise ValueError("its header is cut short")
    return grid.size


class _Grid:
    """The tiles of a codestream, from the segment SIZ."""

    def __init__(self, data: bytes) -> None:
        right, bottom, left, top, width, height, tile_left, tile_top, self._components = struct.unpack_from(
            ">8IH", data, 2
        )
        self.size = right - left, bottom - top
        if not (width and height) or self._components > _MAX_COMPONENTS:
            raise ValueError(f"{self._components} components in tiles of {width}x{height}")
        self._tile: tuple[int, int] = min(width, right), min(height, bottom)
        self._tiles = -(-(right - tile_left) // width) * -(-(bottom - tile_top) // height)
        if not 0 < self._tiles <= _MAX_TILES:
            raise ValueError(f"it has {self._tiles} tiles (limit {_MAX_TILES})")

    def check(self, has_precincts: int, layers: int, style: bytes) -> None:
        """Checks the coding style of COD or COC: resolutions, code blocks and precincts."""
        levels, *code_block = style[:3]
        if min(code_block) < _MIN_CODE_BLOCK:
            raise ValueError("its code blocks are smaller than 16x16")
        sizes = style[5 : 6 + levels] if has_precincts else b"\xff" * (levels + 1)
        if len(sizes) != levels + 1:
            raise ValueError("its coding style is cut short")
        precincts = (
            self._tiles
            * self._components
            * sum(self._precincts(levels - resolution, size) for resolution, size in enumerate(sizes))
        )
        if precincts > _MAX_PRECINCTS or precincts * layers > _MAX_PACKETS:
            raise ValueError(f"it has {precincts} precincts (limit {_MAX_PRECINCTS}) in {layers} layers")

    def _precincts(self, level: int, size: int) -> int:
        """Precincts of a tile at 1/2^level of its size; ``size`` has the exponents of width and height."""
        width, height = ((side >> level) + 1 for side in self._tile)
        return ((width >> (size & 15)) + 2) * ((height >> (size >> 4)) + 2)


def _codestream_position(stream: IO[bytes]) -> int:
    stream.seek(0)
    if stream.read(4) == _CODESTREAM:
        return 0
    position = 0
    while True:
        stream.seek(position)
        head = stream.read(16)
        if len(head) < 16:
            raise ValueError("it has no codestream")
        length, start = int.from_bytes(head[:4]), 8
        if length == 1:
            length, start = int.from_bytes(head[8:]), 16
        if head[4:8] == b"jp2c":
            return position + start
        if length < start:
            raise ValueError("it has no codestream")
        position += length


def _segments(stream: IO[bytes], position: int) -> Iterator[tuple[int, bytes]]:
    """Yields marker and contents of each segment of the main header and of the headers of tile parts.

    Segments that OpenJPEG does not know are refused: it looks for the next marker in their contents.
    """
    position, tile_part_end = position + 2, 0
    while True:
        stream.seek(position)
        head = stream.read(4)
        if len(head) < 2 or head[:2] == _EOC.to_bytes(2):
            return
        code, length = int.from_bytes(head[:2]), int.from_bytes(head[2:])
        if code == _SOD:
            if not tile_part_end:  # it extends to the end
                return
            if tile_part_end <= position:
                raise ValueError("its tile parts overlap")
            position = tile_part_end
            continue
        data = stream.read(max(length - 2, 0))
        if code not in _SEGMENTS or len(data) != length - 2:
            raise ValueError("its headers are damaged")
        if code == _SOT:
            size = int.from_bytes(data[2:6])
            tile_part_end = position + size if size else 0
        yield code, data
        position += 2 + length
