from collections.abc import Callable


def test_a_sound_installation(cnntk: Callable) -> None:
    done = cnntk("doctor")
    assert done.status == 0
    assert done.out.splitlines()[-1].split() == ["problems", "none"]
    assert "CPUExecutionProvider" in done.out


def test_json(cnntk: Callable) -> None:
    document = cnntk("doctor", "--json").json
    assert document["problems"] == []
    assert document["packages"]["torch"]
    assert document["cores"] >= 1
