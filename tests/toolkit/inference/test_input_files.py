import os
from pathlib import Path

import pytest

from cnntk.inference import ImageResult, LeftOutFiles, expand
from cnntk.inference.input_files import _images_in
from cnntk.runtime.errors import UsageError


def tree(root: Path, *files: str) -> Path:
    for file in files:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).touch()
    return root


def test_a_file_with_a_pattern_in_its_name_is_a_file(tmp_path: Path) -> None:
    odd = tmp_path / "odd[1].png"
    odd.touch()
    assert list(expand([str(odd), "-"])) == [str(odd), "-"]


def test_a_folder_is_read_through_in_order_of_name(tmp_path: Path) -> None:
    root = tree(tmp_path / "f", "b.png", "a.JPG", "a/z.png", "c/.hidden/x.png", ".d.png", "c/e.txt", "é.png")
    expected = [str(root / name) for name in ("a/z.png", "a.JPG", "b.png", "é.png")]
    assert list(expand([str(root)])) == expected
    assert list(expand([f"{root}/*.png"])) == expected[2:]


def test_links_to_folders_are_not_followed_and_broken_links_are_reported_where_they_are_read(
    tmp_path: Path,
) -> None:
    root = tree(tmp_path / "f", "a.png", "sub/b.png")
    (root / "again.png").symlink_to(root)
    (root / "broken.png").symlink_to(root / "nowhere")
    (root / "linked.png").symlink_to(root / "a.png")
    os.mkfifo(root / "pipe.png")
    names = ("a.png", "broken.png", "linked.png", "sub/b.png")
    assert list(expand([str(root)])) == [str(root / name) for name in names]


def test_a_tree_is_walked_and_not_stored(tmp_path: Path) -> None:
    root = tree(tmp_path / "f", "a/1.png", "b/2.png")
    paths = expand([str(root)])
    assert next(paths) == str(root / "a/1.png")
    tree(root, "a/9.png", "b/3.png")
    assert list(paths) == [str(root / "b/2.png"), str(root / "b/3.png")], "b is read later than a"


def test_a_folder_that_goes_is_a_row(tmp_path: Path) -> None:
    (result,) = _images_in(str(tmp_path / "gone"), None)
    assert isinstance(result, ImageResult)
    assert result.error == f"{tmp_path}/gone: can't be listed (No such file or directory)"


def test_what_holds_nothing_is_a_row_among_others(tmp_path: Path) -> None:
    root = tree(tmp_path / "f", "a.png")
    (tmp_path / "empty").mkdir()
    first, second = expand([str(tmp_path / "empty"), str(root)])
    assert isinstance(first, ImageResult)
    assert (first.file, second) == (str(tmp_path / "empty"), str(root / "a.png"))
    assert "contains no image" in str(first.error)


def test_nothing_at_all_is_wrong_use(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"contains no image \((AVIF, )?BMP, "):
        expand([str(tmp_path)])
    with pytest.raises(UsageError, match="- is named twice"):
        expand(["-", "-"])


def test_files_that_are_not_images_are_counted_in_folders_only(tmp_path: Path) -> None:
    root = tree(tmp_path / "f", "a.png", "labels.csv", "sub/notes.txt")
    left_out = LeftOutFiles()
    assert list(expand([str(root), str(root / "labels.csv")], left_out)) == [
        str(root / "a.png"),
        str(root / "labels.csv"),
    ]
    assert str(left_out) == "left out: 2 files that are not images (1 .csv, 1 .txt)"
