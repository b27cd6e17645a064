"""Files of folders that are images, by content, and those that are not."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from image_files import encoded
from PIL import Image

from cnntk.runtime.errors import ImageError
from cnntk.runtime.images.search import LeftOutFiles, find_images, unreadable_formats

RGB = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)


def write(root: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    return root


def names(root: Path, left_out: LeftOutFiles | None = None) -> list[str]:
    return [os.path.relpath(str(image), root) for image in find_images(root, left_out)]


@pytest.mark.parametrize("form", ["BMP", "GIF", "JPEG", "JPEG2000", "MPO", "PNG", "PPM", "TIFF", "WEBP"])
@pytest.mark.parametrize("suffix", ["", ".dat", ".txt", ".PART"])
def test_images_are_taken_whatever_their_suffix(form: str, suffix: str, tmp_path: Path) -> None:
    write(tmp_path, {f"photo{suffix}": encoded(Image.fromarray(RGB), form), f"other{suffix}": b"no image"})
    assert names(tmp_path) == [f"photo{suffix}"]


@pytest.mark.parametrize("form", ["DDS", "EPS", "ICO", "PDF"])
def test_images_that_cannot_be_read_are_taken(form: str, tmp_path: Path) -> None:
    write(tmp_path, {"drawing": encoded(Image.new("RGB", (16, 16)), form)})
    assert names(tmp_path) == ["drawing"]


@pytest.mark.parametrize(
    "suffix", ["jpg", "JPE", "jfif", "apng", "dib", "mpo", "heic", "avif", "CR2", "svg", "tga"]
)
def test_files_named_as_images_are_taken(suffix: str, tmp_path: Path) -> None:
    """Whatever is wrong with them is said where they are read."""
    write(tmp_path, {f"a.{suffix}": b"", f"b.{suffix}": b"<!doctype html>"})
    assert names(tmp_path) == [f"a.{suffix}", f"b.{suffix}"]


OTHERS = {
    "labels.csv": b"file,label\na.png,1\n",
    "notes/a.TXT": b"BMW is a make of car.",
    "notes/b.txt": b"P5 is a road.",
    "annotations.json": b"{}",
    "film.mp4": b"\0\0\0\x18ftypisom" + bytes(99),
    "page.html": b"<!doctype html><svg></svg>",
    "model.onnx": b"\x08\x0a\x12\x07pytorch",
    "Thumbs.db": b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(99),
    "README": b"No images here.",
    "empty": b"",
}


def test_other_files_are_left_out_and_counted(tmp_path: Path) -> None:
    write(tmp_path, {**OTHERS, ".DS_Store": b"\0\0\0\1Bud1", "z.png": encoded(RGB, "PNG")})
    left_out = LeftOutFiles()
    assert names(tmp_path, left_out) == ["z.png"]
    assert str(left_out).startswith("left out: 10 files that are not images (2 ")
    assert str(left_out).endswith(", ...)")


@pytest.mark.parametrize(
    ("files", "text"),
    [
        ([], ""),
        (["a.csv"], "left out: 1 file that is not an image (1 .csv)"),
        (
            ["a.txt", "b.csv", "c.TXT", "d"],
            "left out: 4 files that are not images (2 .txt, 1 .csv, 1 without suffix)",
        ),
    ],
)
def test_files_that_are_left_out_are_one_line(files: list[str], text: str) -> None:
    left_out = LeftOutFiles()
    for file in files:
        left_out.add(file)
    assert str(left_out) == text


ODD_NAMES = [
    b"-dash.png", b"[brackets].png", b"latin\xe9.png", b"name with\ttab and \"quotes\".png", b"new\nline.png",
    b"percent%20.png", "\N{CAMERA} \N{CYRILLIC SMALL LETTER EF}.png".encode(),
]  # fmt: skip


def test_names_of_any_bytes(tmp_path: Path) -> None:
    for name in ODD_NAMES:
        Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name)).write_bytes(b"")
    assert sorted(map(os.fsencode, names(tmp_path))) == sorted(ODD_NAMES)


def test_folders_are_searched_in_order_of_name(tmp_path: Path) -> None:
    image = encoded(RGB, "PNG")
    write(tmp_path, {"b": image, "a.png/z": image, "a": image, "c/.hidden/x.png": image, ".d.png": image})
    assert names(tmp_path) == ["a", "a.png/z", "b"]


def test_links_and_pipes(tmp_path: Path) -> None:
    root = write(tmp_path / "f", {"a": encoded(RGB, "PNG"), "sub/b.png": b""})
    (root / "again.png").symlink_to(root)
    (root / "broken.png").symlink_to(root / "nowhere")
    (root / "broken.txt").symlink_to(root / "nowhere")
    (root / "linked").symlink_to(root / "a")
    os.mkfifo(root / "pipe")
    assert names(root) == ["a", "broken.png", "linked", "sub/b.png"]


def test_a_folder_that_goes_is_an_error(tmp_path: Path) -> None:
    (error,) = find_images(tmp_path / "gone")
    assert isinstance(error, ImageError)
    assert str(error) == f"{tmp_path}/gone: can't be listed (No such file or directory)"


def test_formats_that_are_not_read_are_errors(tmp_path: Path) -> None:
    image = encoded(RGB, "PNG")
    write(tmp_path, {"a.svg": b"<svg/>", "b.jfif": image, "c": image, "d.tga": b"", "e.png": b"damaged"})
    errors = [str(error) for error in unreadable_formats(map(str, find_images(tmp_path)))]
    assert errors == [
        f"{tmp_path}/a.svg: is an SVG drawing: render it as PNG",
        f"{tmp_path}/d.tga: is empty (0 bytes)",
    ]
    assert list(unreadable_formats([str(tmp_path / "gone")])) == []
