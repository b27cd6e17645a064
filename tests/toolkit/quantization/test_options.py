from __future__ import annotations

import pytest

from cnntk.quantization.options import QuantizeOptions
from cnntk.runtime.errors import UsageError


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("max_drop", -1),
        ("max_drop", 101),
        ("prefer", "beauty"),
        ("target", "arm"),
        ("calibration_images", 0),
    ],
)
def test_options_out_of_range_are_refused(field: str, value: object) -> None:
    with pytest.raises(UsageError, match=f"{field}: expected"):
        QuantizeOptions("digits", **{field: value})  # type: ignore[arg-type]
