from importlib.metadata import EntryPoint, entry_points

import pytest

from cnntk.models.plugins import added, giver
from cnntk.runtime.errors import UsageError


def test_points_come_by_name_and_a_name_of_our_own_is_refused() -> None:
    group = "console_scripts"
    names = {p.name for p in entry_points(group=group)}
    assert "cnntk" in names
    assert set(added(group, "command", {"no-such"})) == names
    with pytest.raises(UsageError, match=r"the command 'cnntk' is given by cnntk itself and by cnntk "):
        added(group, "command", {"cnntk"})


def test_a_point_without_a_distribution_has_a_name_too() -> None:
    assert giver(EntryPoint("a", "b:c", "g")) == "an unnamed distribution (b:c)"
