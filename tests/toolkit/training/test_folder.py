"""What may be done with a folder that is there."""

from pathlib import Path

import pytest

from cnntk.runtime.errors import UsageError
from cnntk.training.folder import RunFolder
from cnntk.training.state import TrainingState


def open_(path: Path, *, resume: bool = False, force: bool = False) -> RunFolder:
    return RunFolder.open(path, resume=resume, force=force)


def test_new_and_empty_folders_are_accepted(tmp_path: Path) -> None:
    open_(tmp_path / "a" / "b").start()
    open_(tmp_path / "a" / "b")


def test_another_is_refused_before_anything_changes(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("x")
    with pytest.raises(UsageError, match="exists; --resume continues its training, --force replaces it"):
        open_(tmp_path)
    assert [f.name for f in tmp_path.iterdir()] == ["mine.txt"]


def test_force_removes_only_the_files_of_a_training(tmp_path: Path) -> None:
    run_files, others = ("spec.json", "model.safetensors"), (".mine.tmp", ".tmpfile", "mine.txt")
    for name in (*run_files, *others):
        (tmp_path / name).write_text("x")
    open_(tmp_path, force=True).start()
    assert sorted(f.name for f in tmp_path.iterdir()) == sorted(others)


def test_nothing_to_resume(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such folder, nothing to resume"):
        open_(tmp_path / "new", resume=True)
    (tmp_path / "mine.txt").write_text("x")
    with pytest.raises(UsageError, match="no training was started in it, nothing to resume"):
        open_(tmp_path, resume=True)


def test_a_run_that_was_killed_at_once_can_be_resumed(tmp_path: Path) -> None:
    (tmp_path / f".training.safetensors.1-{'0a' * 12}.tmp").write_text("")
    assert open_(tmp_path, resume=True).state() is None
    assert open_(tmp_path, resume=True).finished() is None


def test_a_state_can_be_resumed(tmp_path: Path) -> None:
    TrainingState({"seed": 1}).save(tmp_path / "training.safetensors")
    state = open_(tmp_path, resume=True).state()
    assert state is not None
    assert state.settings == {"seed": 1}


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="file: is a file; name a folder"):
        open_(tmp_path / "file")
    with pytest.raises(UsageError, match=r"below: .*file is not a writable folder"):
        open_(tmp_path / "file" / "below")


def test_a_report_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "report.json").write_text("[]")
    with pytest.raises(UsageError, match=r"report\.json: not a valid training report"):
        open_(tmp_path, resume=True).finished()
