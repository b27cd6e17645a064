"""The PNG opener: Pillow's decoder with larger limits for texts and color profiles."""

from __future__ import annotations

import zlib
from typing import IO

from PIL import PngImagePlugin

from cnntk.runtime.images._opened import (
    OpenedImage,
    first_of,
    reduced_to_8_bits,
    with_globals,
)
from cnntk.runtime.images.headers import png_depth

_MAX_TEXT_BYTES = 1 << 23
"""Bytes of a text or a color profile in a PNG file, decompressed."""

_MAX_TEXT_CHARACTERS = 1 << 24
"""Characters of all texts of a PNG file. Python holds each in up to 4 bytes."""


def _decompressed(data: bytes) -> bytes:
    """Decompresses a text or a color profile of a PNG file, like Pillow, but up to a larger limit."""
    decompressor = zlib.decompressobj()
    text = decompressor.decompress(data, _MAX_TEXT_BYTES)
    if decompressor.unconsumed_tail:
        raise ValueError(f"a text or color profile is too large (limit {_MAX_TEXT_BYTES >> 20} MB)")
    return text


class _PngChunks(PngImagePlugin.PngStream):
    """The chunks of a PNG file. Texts of image generators are larger than Pillow's limit of 1 MB."""

    chunk_iCCP = with_globals(  # noqa: N815 - Pillow's name
        PngImagePlugin.PngStream.chunk_iCCP, _safe_zlib_decompress=_decompressed
    )
    chunk_iTXt = with_globals(  # noqa: N815 - Pillow's name
        PngImagePlugin.PngStream.chunk_iTXt, _safe_zlib_decompress=_decompressed
    )
    chunk_zTXt = with_globals(  # noqa: N815 - Pillow's name
        PngImagePlugin.PngStream.chunk_zTXt, _safe_zlib_decompress=_decompressed
    )

    def check_text_memory(self, chunklen: int) -> None:
        self.text_memory += chunklen
        if self.text_memory > _MAX_TEXT_CHARACTERS:
            raise ValueError(f"its texts are too large (limit {_MAX_TEXT_CHARACTERS >> 20} MB)")


class _Png(PngImagePlugin.PngImageFile):
    _open = with_globals(PngImagePlugin.PngImageFile._open, PngStream=_PngChunks)


def open_png(stream: IO[bytes]) -> OpenedImage:
    depth, states_depth = png_depth(stream)
    stream.seek(0)
    image = _Png(stream)
    transparent = image.info.get("transparency")
    if image.mode in ("1", "L") and depth < 8 and isinstance(transparent, int):
        highest = (1 << depth) - 1
        image.info["transparency"] = min(transparent, highest) * 255 // highest  # as Pillow scales the pixels
    if image.mode == "RGB" and depth == 16 and isinstance(transparent, tuple):
        image.info["transparency"] = tuple(value >> 8 for value in transparent)
    notes = first_of(image.n_frames, "frames") + reduced_to_8_bits(image)
    return OpenedImage(image, states_depth=states_depth, notes=notes)
