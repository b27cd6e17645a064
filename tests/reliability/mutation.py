"""Seeded damage to bytes: what disks, networks and attackers do to a file."""

from __future__ import annotations

import random
import zlib
from collections.abc import Sequence

__all__ = ["mutate", "png_with_checksums"]

_NUMBERS = (
    0,
    1,
    0x7F,
    0x80,
    0xFF,
    0x7FFF,
    0x8000,
    0xFFFF,
    0x7FFFFFFF,
    0x80000000,
    0xFFFFFFFF,
    2**63 - 1,
    2**64 - 1,
)
_MOST_EDITS = 6
_CHUNK_HEAD = 8


def mutate(data: bytes, rng: random.Random, others: Sequence[bytes] = ()) -> bytes:
    """``data`` with one to six edits, most often one; ``others`` are files that parts are taken from."""
    edits = 1
    while edits < _MOST_EDITS and rng.random() < 0.4:
        edits += 1
    file = bytearray(data)
    for _ in range(edits):
        rng.choice(_EDITS)(file, rng, others)
    return bytes(file)


def png_with_checksums(data: bytes) -> bytes:
    """A PNG file with the right checksum for each chunk, so that damage gets past them."""
    parts, position = [data[:8]], 8
    while position + _CHUNK_HEAD <= len(data):
        end = position + _CHUNK_HEAD + int.from_bytes(data[position : position + 4])
        body = data[position + 4 : end]
        parts += [data[position : position + 4], body, zlib.crc32(body).to_bytes(4)]
        position = end + 4
    return b"".join(parts)


def _position(file: bytearray, rng: random.Random) -> int:
    """Anywhere, but half of the time near an end, where headers and directories are."""
    near = min(len(file), 256)
    where = rng.random()
    if where < 0.25:
        return rng.randrange(near + 1)
    return len(file) - rng.randrange(near + 1) if where < 0.5 else rng.randrange(len(file) + 1)


def _flip_bit(file: bytearray, rng: random.Random, others: Sequence[bytes]) -> None:
    if file:
        file[min(_position(file, rng), len(file) - 1)] ^= 1 << rng.randrange(8)


def _set_byte(file: bytearray, rng: random.Random, others: Sequence[bytes]) -> None:
    if file:
        file[min(_position(file, rng), len(file) - 1)] = rng.randrange(256)


def _set_number(file: bytearray, rng: random.Random, others: Sequence[bytes]) -> None:
    size, order = rng.choice((1, 2, 4, 8)), rng.choice(("little", "big"))
    start = _position(file, rng)
    file[start : start + size] = (rng.choice(_NUMBERS) % 256**size).to_bytes(size, order)


def _edit_varint(file: bytearray, rng: random.Random, others: Sequence[bytes]) -> None:
    """Replaces a number as protobuf writes it, by one as long or longer."""
    start = stop = _position(file, rng)
    while stop < len(file) and file[stop] & 0x80:
        stop += 1
    value = rng.choice((*_NUMBERS, rng.getrandbits(14), rng.getrandbits(35)))
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    file[start : stop + 1] = bytes([*encoded, value])


def _truncate(file: bytearray, rng: random.Random, others: Sequence[bytes]) -> None:
    del file[_position(file, rng) :]


def _remove(file: bytearray, rng: random.Random, others: Sequence[bytes]) -> None:
    start = _position(file, rng)
    del file[start : start + rng.choice((1, 4, 64, 4096))]


def _repeat(file: bytearray, rng: random.Random, others: Sequence[bytes]) -> None:
    start = _position(file, rng)
    file[start:start] = file[start : start + rng.choice((1, 4, 64, 4096))] * rng.choice((1, 2, 16))


def _splice(file: bytearray, rng: random.Random, others: Sequence[bytes]) -> None:
    source = rng.choice(others) if others else bytes(file)
    start, size = rng.randrange(len(source) + 1), rng.choice((4, 64, 1024, 1 << 20))
    position = _position(file, rng)
    file[position : position + rng.choice((0, size))] = source[start : start + size]


def _exchange(file: bytearray, rng: random.Random, others: Sequence[bytes]) -> None:
    size = rng.choice((1, 8, 64, 1024))
    a, b = sorted((_position(file, rng), _position(file, rng)))
    if a + size <= b and b + size <= len(file):
        file[a : a + size], file[b : b + size] = file[b : b + size], file[a : a + size]


def _noise(file: bytearray, rng: random.Random, others: Sequence[bytes]) -> None:
    start, size = _position(file, rng), rng.choice((4, 32, 512))
    file[start : start + size] = rng.randbytes(size)


def _zeros(file: bytearray, rng: random.Random, others: Sequence[bytes]) -> None:
    """A block that never reached the disk."""
    start = _position(file, rng) // 512 * 512
    size = min(rng.choice((512, 4096)), len(file) - start)
    file[start : start + size] = bytes(max(size, 0))


_EDITS = (
    _flip_bit,
    _set_byte,
    _set_number,
    _edit_varint,
    _truncate,
    _remove,
    _repeat,
    _splice,
    _exchange,
    _noise,
    _zeros,
)
