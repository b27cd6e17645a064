import inspect
import re

import cnntk
import cnntk.runtime
from cnntk.runtime import errors

CLASSES = {name: value for name, value in vars(errors).items() if inspect.isclass(value)}


def test_the_tree_in_the_docstring_is_the_tree() -> None:
    drawn = set(re.findall(r"── (\w+)", errors.__doc__)) | {"CnntkError"}
    assert drawn == set(CLASSES) == set(errors.__all__)


def test_everything_is_a_cnntk_error_with_an_exit_status() -> None:
    for error in CLASSES.values():
        assert issubclass(error, errors.CnntkError)
        assert error.exit_status in (1, 2)


def test_importable_where_apps_look() -> None:
    assert cnntk.CnntkError is cnntk.runtime.CnntkError is errors.CnntkError
    assert cnntk.runtime.DeviceUnavailable is errors.DeviceUnavailable
