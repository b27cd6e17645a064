import json
from typing import Any

import pytest

from cnntk.cli.output import print_json


@pytest.mark.parametrize("value", [float("inf"), float("-inf"), float("nan")])
def test_what_json_has_no_number_for_is_null(value: float, capsys: pytest.CaptureFixture[str]) -> None:
    def refuse(name: str) -> Any:
        raise ValueError(name)

    print_json({"a": value, "b": [1.5, (value, "ü", True, 3)], "c": {"d": {"e": value}}, "f": None})
    text = capsys.readouterr().out
    document = json.loads(text, parse_constant=refuse)
    assert document == {"a": None, "b": [1.5, [None, "ü", True, 3]], "c": {"d": {"e": None}}, "f": None}
    assert "ü" in text
    with pytest.raises(ValueError, match=r"NaN|Infinity"):  # what would have been written
        json.loads(json.dumps(value), parse_constant=refuse)
