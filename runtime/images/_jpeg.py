"""The JPEG opener: Pillow's decoder, also for files that lack their end."""

from __future__ import annotations

import re
from itertools import product
from typing import IO

from PIL import JpegImagePlugin

from cnntk.runtime.images._opened import NoMetadata, OpenedImage, orientation_of
from cnntk.runtime.images.headers import END_OF_IMAGE, jpeg_segments

_START_OF_SCAN, _HUFFMAN_TABLES = 0xDA, 0xC4
_ARITHMETIC_FRAMES = {0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF}
_ARITHMETIC_MARKER = re.compile(rb"\xff[\xc9\xca\xcb\xcd\xce\xcf]")
_MAX_SCANS = 100
"""Scans of a JPEG image. Each one costs a pass over all pixels, and needs only 30 bytes."""


class JpegFile(NoMetadata, JpegImagePlugin.JpegImageFile):
    """A JPEG image that may lack its end if it is known what is missing then.

    That is so where all pixels are in one scan (the missing ones become gray), and where the last scan of a
    progressive image only refines what is complete.
    """

    may_lack_end = False
    cut_short = False  # whether the file ended before the image, seen after decoding

    def load_read(self, read_bytes: int) -> bytes:
        data = super().load_read(read_bytes)
        if data or self.cut_short or not self.may_lack_end:
            return data
        self.cut_short = True
        return bytes((0xFF, END_OF_IMAGE))


def open_jpeg(stream: IO[bytes]) -> OpenedImage:
    image = JpegFile(stream)
    image.may_lack_end = _is_single_scan(image, stream)
    if not image.may_lack_end:
        segments = tuple(jpeg_segments(stream))
        codes = [code for code, _ in segments]
        scans = codes.count(_START_OF_SCAN)
        if scans > _MAX_SCANS:
            raise ValueError(f"it has {scans} scans (limit {_MAX_SCANS})")
        if _HUFFMAN_TABLES in codes and not _ARITHMETIC_FRAMES.isdisjoint(codes):
            raise ValueError("its frame is for arithmetic codes, its tables are for Huffman codes")
        if END_OF_IMAGE not in codes:
            scan_headers = [segment for code, segment in segments if code == _START_OF_SCAN]
            image.may_lack_end = _ends_in_refinement(scan_headers, image.layers)
    return OpenedImage(image, orientation_of(image))


def _ends_in_refinement(scan_headers: list[bytes], components: int) -> bool:
    """Whether the scans have all bits of all 64 coefficients of each component, and the last adds one bit."""
    complete: set[tuple[int, int]] = set()
    previous_bit = 0
    for header in scan_headers:
        count = header[0]
        first, last, bits = header[1 + 2 * count : 4 + 2 * count]
        previous_bit = bits >> 4
        if bits & 15 == 0:
            complete.update(product(header[1 : 1 + 2 * count : 2], range(first, last + 1)))
    return len(complete) == 64 * components and previous_bit > 0


def _is_single_scan(image: JpegFile, stream: IO[bytes]) -> bool:
    """Whether the first scan, whose header Pillow has just read, has all components, in Huffman codes.

    A file that has the marker of an arithmetic frame anywhere before it is one of those that are looked at.
    """
    end = stream.tell()
    stream.seek(0)
    head = stream.read(end)
    length = 6 + 2 * image.layers
    scan = b"\xff\xda" + length.to_bytes(2) + bytes([image.layers])
    sequential = not image.info.get("progressive") and _ARITHMETIC_MARKER.search(head) is None
    return sequential and head.startswith(scan, end - length - 2)
