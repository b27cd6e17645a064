from importlib.metadata import EntryPoint, entry_points

import pytest

from cnntk.models.plugins import PluginGroup
from cnntk.runtime.errors import UsageError


def test_entry_points_are_unique_and_leave_built_in_names_alone() -> None:
    group = "console_scripts"
    names = {p.name for p in entry_points(group=group)}
    assert "cnntk" in names
    assert set(PluginGroup(group, "command", {"no-such"}).entry_points()) == names
    message = r"the command 'cnntk' is provided by cnntk itself and by cnntk "
    with pytest.raises(UsageError, match=message):
        PluginGroup(group, "command", {"cnntk"}).entry_points()


def test_a_point_without_a_distribution_is_named_too() -> None:
    described = PluginGroup("g", "command", ()).describe(EntryPoint("a", "b:c", "g"))
    assert described == "the command 'a' of an unnamed distribution (b:c)"
