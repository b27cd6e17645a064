from pathlib import Path

import pytest

from cnntk.inference.names import check_names, matching_files
from cnntk.runtime.errors import UsageError


def test_missing_names_are_refused_together(tmp_path: Path) -> None:
    (tmp_path / "a.png").touch()
    (tmp_path / "broken.png").symlink_to(tmp_path / "nowhere")
    check_names([str(tmp_path), f"{tmp_path}/*.png", str(tmp_path / "broken.png"), "-"])
    with pytest.raises(UsageError) as error:
        check_names([str(tmp_path), "gone.png", f"{tmp_path}/*.gif", f"{tmp_path}/*.png", "b", "c", "d"])
    assert (
        str(error.value)
        == "gone.png: no such file; b: no such file; c: no such file; d: no such file; and 1 more"
    )
    with pytest.raises(UsageError, match=r"/\*\.gif: no file matches this pattern$"):
        check_names([f"{tmp_path}/*.gif"])
    with pytest.raises(UsageError, match="- is named twice"):
        check_names(["-", "-"])


def test_folders_match_no_pattern(tmp_path: Path) -> None:
    (tmp_path / "a.png").touch()
    (tmp_path / "b.png").mkdir()
    assert list(matching_files(f"{tmp_path}/*.png")) == [f"{tmp_path}/a.png"]
