from __future__ import annotations

from typing import get_args

import pytest

from cnntk.quantization.options import QuantizeOptions, RangeMethod
from cnntk.quantization.ranges import RANGE_METHODS
from cnntk.runtime.errors import UsageError


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("max_drop", -1),
        ("max_drop", 101),
        ("prefer", "beauty"),
        ("target", "arm"),
        ("format", "tflite"),
        ("range_method", "guess"),
        ("calibration_images", 0),
    ],
)
def test_options_out_of_range_are_refused(field: str, value: object) -> None:
    with pytest.raises(UsageError, match=f"{field}: expected"):
        QuantizeOptions("digits", **{field: value})  # type: ignore[arg-type]


def test_every_range_method_is_an_option() -> None:
    assert tuple(RANGE_METHODS) == get_args(RangeMethod)
