"""The TIFF opener: Pillow's decoder, without warnings about damaged tags."""

from __future__ import annotations

from types import SimpleNamespace
from typing import IO, Any

from PIL import Image, TiffImagePlugin

from cnntk.runtime.images._opened import (
    MAX_FRAMES,
    ORIENTATION,
    CheckSize,
    NoMetadata,
    OpenedImage,
    first_of,
    reduced_to_8_bits,
    with_globals,
)

_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC = 256, 257, 258, 259, 262
_SAMPLES, _MAX_VALUE, _TILE_WIDTH, _TILE_HEIGHT = 277, 281, 322, 323
_SUBFILE, _SUBFILES, _DNG_VERSION = 254, 330, 50706
_OLD_JPEG = 6
_MAX_SAMPLES = 6
"""Samples of a TIFF pixel. With more, Pillow refuses the file and writes an error to the log."""


class _TiffTags(TiffImagePlugin.ImageFileDirectory_v2):
    """The tags of one TIFF page, read by Pillow without a call of `warnings.warn`."""

    damaged = False  # whether Pillow skipped a tag
    orientation = 1  # 1 to 8; Pillow is not shown it, because `_pixels` turns images upright
    white_is_zero = False  # of 16-bit values; Pillow, which inverts 8-bit values only, is shown the opposite

    # Pillow warns of several values where there should be one, and uses the first.
    _setitem = with_globals(
        TiffImagePlugin.ImageFileDirectory_v2._setitem, warnings=SimpleNamespace(warn=lambda *_: None)
    )

    def load(self, fp: IO[bytes]) -> None:
        messages: list[object] = []
        recorder = SimpleNamespace(warn=lambda message, *_: messages.append(message))
        with_globals(TiffImagePlugin.ImageFileDirectory_v2.load, warnings=recorder)(self, fp)
        self.damaged = bool(messages)
        orientation = self.number(ORIENTATION, 1)
        self.orientation = orientation if 1 <= orientation <= 8 else 1
        if ORIENTATION in self:
            del self[ORIENTATION]
        self.white_is_zero = self.bits == {16} and self.number(_PHOTOMETRIC, 1) == 0
        if self.white_is_zero:
            self[_PHOTOMETRIC] = 1

    @property
    def bits(self) -> set[Any]:
        """Bits of the samples."""
        bits = self.get(_BITS, ())
        return set(bits) if isinstance(bits, tuple) else {bits}

    def number(self, tag: int, default: int) -> int:
        """Returns the first value of a tag if it is an integer, else ``default``."""
        value = self.get(tag, default)
        if isinstance(value, tuple):
            value = next(iter(value), default)
        return value if isinstance(value, int) else default


class _Tiff(NoMetadata, TiffImagePlugin.TiffImageFile):
    _open = with_globals(TiffImagePlugin.TiffImageFile._open, ImageFileDirectory_v2=_TiffTags)

    def load_prepare(self) -> None:
        # Pillow checks its own size limit, with a warning, only where it allocates the image itself.
        self.im = Image.new(self.mode, self.size, None).im
        super().load_prepare()


def open_tiff(stream: IO[bytes], check: CheckSize) -> OpenedImage:
    head = stream.read(16)
    tags = _TiffTags(head if head[2:3] == b"+" else head[:8])
    stream.seek(tags.next)
    tags.load(stream)
    if _WIDTH not in tags or _HEIGHT not in tags:
        raise ValueError("Missing dimensions")
    check(
        max(tags.number(_WIDTH, 1), tags.number(_TILE_WIDTH, 0)),
        max(tags.number(_HEIGHT, 1), tags.number(_TILE_HEIGHT, 0)),
    )
    if tags.number(_COMPRESSION, 1) == _OLD_JPEG:
        raise ValueError("old-style JPEG compression is not supported")
    if (samples := tags.number(_SAMPLES, 1)) > _MAX_SAMPLES:
        raise ValueError(f"{samples} samples per pixel (limit {_MAX_SAMPLES})")
    if _DNG_VERSION in tags or (tags.number(_SUBFILE, 0) & 1 and _SUBFILES in tags):
        raise ValueError("a camera RAW file, of which only a preview could be read")
    stream.seek(0)
    image = _Tiff(stream)
    notes = reduced_to_8_bits(image) + ("damaged TIFF tags skipped",) * tags.damaged
    full_scale = 4095 if tags.bits == {12} else 65535
    opened = OpenedImage(image, tags.orientation, full_scale, _MAX_VALUE in tags, tags.white_is_zero)
    return opened._replace(notes=first_of(_page_count(stream, tags), "pages") + notes)


def _page_count(stream: IO[bytes], tags: _TiffTags) -> int:
    """Returns the number of pages, counted up to ``MAX_FRAMES``; ``tags`` are those of the first page."""
    seen = {tags.offset}
    while tags.next and tags.next not in seen and len(seen) < MAX_FRAMES:
        seen.add(tags.next)
        try:
            stream.seek(tags.next)
            tags.load(stream)
        except Exception:  # a later page is damaged in some way, and only the first is read
            break
    return len(seen)
