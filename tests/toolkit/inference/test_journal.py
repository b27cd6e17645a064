from pathlib import Path

import pytest

from cnntk.inference import ImageResult
from cnntk.inference.journal import Journal
from cnntk.runtime.errors import UsageError

ORIGIN = {"model": "tiny 01", "top": 3}
FILES = [f"{i}.png" for i in range(10)]


def row(i: int) -> dict[str, object]:
    return {"file": FILES[i], "error": f"no {i}"}


@pytest.fixture
def part(tmp_path: Path) -> Path:
    """Seven rows, four of them a whole batch."""
    path = tmp_path / "out.csv.part"
    with Journal(path, ORIGIN, 4) as journal:
        assert list(journal.skip_done(iter(FILES))) == FILES
        for i in range(7):
            journal.append(row(i))
        journal.flush()
    return path


def resumed(path: Path) -> tuple[int, list[object], list[object]]:
    """Rows that are kept, files that are left, and the rows after one more."""
    with Journal(path, ORIGIN, 4) as journal:
        left = list(journal.skip_done(iter(FILES)))
        done = journal.done
        journal.append(row(done))
        journal.flush()
        return done, left, list(journal.rows())


def test_whole_batches_are_stored(part: Path) -> None:
    assert resumed(part) == (4, FILES[4:], [row(i) for i in range(5)])


def test_a_row_is_there_when_its_batch_is_full(tmp_path: Path) -> None:
    path = tmp_path / "part"
    with Journal(path, ORIGIN, 2) as journal:
        lines = []
        for i in range(4):
            journal.append(row(i))
            lines.append(len(path.read_bytes().splitlines()) - 1)
    assert lines == [0, 2, 2, 4]


@pytest.mark.parametrize("torn", [b'{"file": "7.pn', b"\0\0\0\0\n", b"7\n", b'{"file": "8.png"}'])
def test_a_torn_end_is_cut_off(part: Path, torn: bytes) -> None:
    sound = part.read_bytes()
    part.write_bytes(sound + torn)
    assert resumed(part) == (4, FILES[4:], [row(i) for i in range(5)])


def test_a_torn_row_in_the_first_batch_leaves_none(part: Path) -> None:
    part.write_bytes(part.read_bytes().replace(b'"no 2"}\n', b'"no 2'))
    assert resumed(part) == (0, FILES, [row(0)])


@pytest.mark.parametrize("length", [0, 5, 40])
def test_a_torn_first_line_is_a_new_one(part: Path, length: int) -> None:
    part.write_bytes(part.read_bytes()[:length])
    assert resumed(part) == (0, FILES, [row(0)])


@pytest.mark.parametrize(
    ("origin", "message"),
    [
        ({**ORIGIN, "model": "other 02"}, "was started with model tiny 01, not other 02"),
        ({**ORIGIN, "top": 5}, "was started with top 3, not 5"),
        ({**ORIGIN, "more": 1}, "was started with more None, not 1"),
    ],
)
def test_another_origin_is_refused(part: Path, origin: dict[str, object], message: str) -> None:
    before = part.read_bytes()
    with pytest.raises(UsageError, match=message):
        Journal(part, origin, 4)
    assert part.read_bytes() == before


@pytest.mark.parametrize("content", [b"my own notes\n", b"{}\n", b"[]\n", b"\xff\xfe"])
def test_what_is_something_else_is_left_alone(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "notes.part"
    path.write_bytes(content)
    with pytest.raises(UsageError, match="its content is not rows of an unfinished"):
        Journal(path, ORIGIN, 4)
    assert path.read_bytes() == content


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (["0.png", "new.png", *FILES[1:]], "has a row for 1.png, where new.png is now"),
        (FILES[:5], "has a row for 5.png, which is no longer among the images"),
    ],
)
def test_other_files_are_refused(part: Path, files: list[str], message: str) -> None:
    before = part.read_bytes()
    with Journal(part, ORIGIN, 4) as journal, pytest.raises(UsageError, match=message):
        journal.skip_done(iter(files))
    assert part.read_bytes() == before


def test_more_files_at_the_end_are_welcome(part: Path) -> None:
    more = [*FILES, ImageResult("10.png", None, "why"), Path("11.png")]
    with Journal(part, ORIGIN, 4) as journal:
        assert list(journal.skip_done(iter(more))) == more[4:]


def test_a_second_process_is_refused(part: Path) -> None:
    with Journal(part, ORIGIN, 4), pytest.raises(UsageError, match="another process is writing it"):
        Journal(part, ORIGIN, 4)
    Journal(part, ORIGIN, 4).remove()
    assert not part.exists()
