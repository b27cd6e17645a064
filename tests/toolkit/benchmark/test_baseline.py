"""The file of a baseline, there and back; the machine that it holds for."""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from made_up_baselines import HERE, baseline, case

from cnntk.benchmark.baseline import load_baseline, save_baseline
from cnntk.runtime.codec import as_json
from cnntk.runtime.errors import UsageError


def test_there_and_back(tmp_path: Path) -> None:
    base = baseline(one=case(), two=case(2.0, seed=1, count=2))
    save_baseline(tmp_path / "base.json", base)
    assert load_baseline(tmp_path / "base.json") == base
    assert [file.name for file in tmp_path.iterdir()] == ["base.json"]
    assert (tmp_path / "base.json").stat().st_size < 20_000
    assert base.cases["one"].percentiles_ms["99.9"] is None
    assert base.cases["one"].runs == 1500


def _edit(change: Callable[[dict], object]) -> bytes:
    data = as_json(baseline(net=case()))
    change(data)
    return json.dumps(data).encode()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not a valid baseline; use a file that --save"),
        (b"\xff\xfe\x00", "not a valid baseline; use a file that --save"),
        (_edit(lambda _: None)[:-100], "not a valid baseline; use a file that --save"),
        (b"[1, 2]", "not a valid baseline; use a file that --save"),
        (b'{"version": 1}', "not a valid baseline; use a file that --save"),
        (_edit(lambda d: d.update(version=2)), "baseline version 2, expected 1; update cnntk"),
        (_edit(lambda d: d.pop("machine")), "damaged: baseline.machine is missing; measure it again"),
        (_edit(lambda d: d["machine"].update(color="red")), "damaged: baseline.machine"),
        (_edit(lambda d: d["machine"].update(cpu=5)), "damaged: baseline.machine"),
        (_edit(lambda d: d["machine"].update(gpu=[])), "damaged: baseline.machine"),
        (_edit(lambda d: d["machine"].update(cores="2")), "damaged: baseline.machine"),
        (_edit(lambda d: d.update(cases=[])), "damaged: baseline.cases"),
        (_edit(lambda d: d["cases"].update(net=None)), "damaged: .*"),
        (_edit(lambda d: d["cases"]["net"].update(other_cpu_share="x")), "damaged: .*"),
        (_edit(lambda d: d["cases"]["net"].update(other_cpu_share=1.5)), "damaged: .*"),
        (_edit(lambda d: d["cases"]["net"].update(model_sha256=7)), "damaged: .*"),
        (_edit(lambda d: d["cases"]["net"].update(mean_ms={"value": "x"})), "damaged: .*"),
        (_edit(lambda d: d["cases"]["net"].update(session_seconds="x")), "damaged: .*"),
        (_edit(lambda d: d["cases"]["net"].update(sessions=[[1.0]])), "damaged: .*"),
        (_edit(lambda d: d["cases"]["net"].update(sessions=[[1.0], []])), "damaged: .*"),
        (_edit(lambda d: d["cases"]["net"].update(sessions=[[1.0], [float("nan")]])), "damaged: .*"),
    ],
)
def test_a_file_that_is_no_baseline(tmp_path: Path, content: bytes, message: str) -> None:
    file = tmp_path / "base.json"
    file.write_bytes(content)
    with pytest.raises(UsageError, match=message) as caught:
        load_baseline(file)
    assert str(file) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not re.search(r"Error|could not convert|object has no", str(caught.value))


def test_no_file_at_all(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no such file \(expected a baseline"):
        load_baseline(tmp_path / "base.json")
    with pytest.raises(UsageError, match="does not exist"):
        save_baseline(tmp_path / "none" / "base.json", baseline())


def test_another_machine_is_refused_unless_allowed() -> None:
    base = replace(baseline(net=case()), machine=replace(HERE, cpu="Z80", cores=HERE.cores + 6))
    with pytest.raises(
        UsageError, match=r"machine \(cpu: Z80 in .* now; cores: \d+ in.*--allow-other-machine"
    ):
        base.check_machine(HERE)
    base.check_machine(HERE, allow_other=True)
    replace(base, machine=replace(HERE, python="9.9")).check_machine(HERE)
