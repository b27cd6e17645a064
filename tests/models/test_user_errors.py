"""An error of foreign code, in one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from cnntk.models.user_errors import describe_error


def blamed(file: Path, source: str, module: str = "nets") -> str:
    code = compile(source, file, "exec")
    with pytest.raises(ValueError, match=r"odd|Expecting") as raised:
        exec(code, {"__name__": module})
    error = raised.value
    error.__traceback__ = error.__traceback__ and error.__traceback__.tb_next  # less this test's own frame
    return describe_error(error)


def test_the_innermost_location_in_the_users_code(tmp_path: Path) -> None:
    source = "import json\ndef f(): return json.loads('{')\nf()"
    file = tmp_path / "nets.py"
    assert blamed(file, source).endswith(f"({file}:2)"), "neither json's own line nor the call of f"


def test_packages_outside_the_environment_are_no_user_code(tmp_path: Path) -> None:
    other = tmp_path / "lib" / "site-packages" / "package.py"
    other.parent.mkdir(parents=True)
    other.write_text("def check(): raise ValueError('odd')")
    source = f"import runpy\nrunpy.run_path({str(other)!r})['check']()"
    assert blamed(tmp_path / "nets.py", source).endswith(f"({tmp_path / 'nets.py'}:2)")


def test_cnntk_and_code_without_a_file_have_no_location(tmp_path: Path) -> None:
    source = "raise ValueError('odd')"
    assert blamed(tmp_path / "nets.py", source) == f"ValueError: odd ({tmp_path / 'nets.py'}:1)"
    assert blamed(tmp_path / "nets.py", source, "cnntk.models.lenet") == "ValueError: odd"
    assert blamed(Path("<string>"), source) == "ValueError: odd"


def test_a_library_where_there_is_nothing_else() -> None:
    import json

    location = blamed(Path("<string>"), "import json\njson.loads('{')").rpartition("(")[2]
    assert location.startswith(json.__file__)


@pytest.mark.parametrize(
    ("error", "line"),
    [(RuntimeError("\n one\ntwo"), "RuntimeError: one"), (AssertionError(), "AssertionError")],
)
def test_the_first_line_alone(error: Exception, line: str) -> None:
    assert describe_error(error) == line
