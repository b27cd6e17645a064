from collections.abc import Callable


def test_a_sound_installation(cnntk: Callable) -> None:
    done = cnntk("doctor")
    assert done.status == 0
    assert "no problems found" in done.out
    assert "CPUExecutionProvider" in done.out


def test_json(cnntk: Callable) -> None:
    found = cnntk("doctor", "--json").json
    assert found["problems"] == []
    assert found["packages"]["torch"]
    assert found["cores"] >= 1
