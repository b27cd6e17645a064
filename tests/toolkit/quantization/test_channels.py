"""The range and mean of each channel."""

import json

import numpy as np
import pytest

from cnntk.quantization.channels import Channels

VALUES = np.random.RandomState(0).randn(6, 3, 4, 5).astype(np.float32)


@pytest.mark.parametrize("axis", [1, 2, -1])
def test_channels_are_those_of_numpy(axis: int) -> None:
    found = Channels.of(VALUES[:1], axis)
    for i in range(1, 6):
        found = found.and_then(Channels.of(VALUES[i : i + 1], axis))
    others = tuple(a for a in range(4) if a != axis % 4)
    assert np.array_equal(found.minimum, VALUES.min(axis=others))
    assert np.array_equal(found.maximum, VALUES.max(axis=others))
    assert np.allclose(found.mean, VALUES.astype(np.float64).mean(axis=others), rtol=1e-12)


def test_json_loses_nothing() -> None:
    found = Channels.of(VALUES, 1)
    assert Channels.from_json(json.loads(json.dumps(found.to_json()))).to_json() == found.to_json()


def test_damaged_json_is_refused() -> None:
    with pytest.raises(ValueError, match="2 minima, 3 maxima and 3 sums"):
        Channels.from_json(Channels.of(VALUES, 1).to_json() | {"minimum": [0, 0]})
