"""The page of a bench, from figures that never change."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from html_tags import tags
from made_up_bench import (
    baseline_comparison,
    case_comparisons,
    compared,
    full_bench,
    latency,
    layer,
    layers,
    plain_bench,
    sweep,
)
from simulated_gpu import cuda_times

from cnntk.benchmark.cuda.report import CudaTimes
from cnntk.benchmark.result import BenchResult
from cnntk.benchmark.statistics.findings import Finding
from cnntk.benchmark.statistics.intervals import Estimate
from cnntk.benchmark.statistics.samples import WarmUp
from cnntk.reports import write_report
from cnntk.reports.charts import render_report
from cnntk.runtime.errors import UsageError
from cnntk.runtime.inert import inert
from cnntk.runtime.sections import number, size_text

EVIL = '<script>alert("x")</script>&\'"'
SECTIONS = {
    "interference", "latency", "since-the-baseline", "cold-start", "memory", "layers", "batches-and-threads",
    "end-to-end", "comparison", "notes", "machine", "file", "evidence",
}  # fmt: skip


@pytest.fixture(scope="module")
def page() -> str:
    return render_report(full_bench())


def sections_of(page: str) -> set[str | None]:
    return {a.get("id") for tag, a in tags(page).seen if tag in ("section", "details")} - {None}


def figures_of(result: BenchResult) -> Iterator[str]:
    """Every figure of it, as the page has it."""
    yield from (
        result.model,
        result.sha256,
        result.created,
        f"{result.size_bytes:,}",
        result.machine.identity,
    )
    for estimate in (*result.latency.percentiles_ms.values(), result.latency.mean_ms):
        yield from (number(v) for v in (estimate.value, estimate.low, estimate.high)) if estimate else ()
    assert None not in (result.cold_start, result.memory, result.layers, result.sweep, result.stages)
    start = result.cold_start
    yield from map(number, (start.import_ms, start.session_ms, start.first_run_ms, start.steady_ms))
    yield from (number(ms) for _, ms in start.next_batches)
    yield from (size_text(v) for k, v in vars(result.memory).items() if k.endswith("_bytes"))
    for row in result.layers.rows:
        yield from (row.name, number(row.time_ms), f"{row.share:.1%}")
        yield from (number(v) for v in (row.gmacs_per_s, row.gb_per_s) if v is not None)
        yield from (
            (f"{row.multiply_adds / 1e6:,.2f}", f"{row.bytes / 1e6:,.2f}")
            if row.bytes and row.multiply_adds
            else ()
        )
    for cell in result.sweep.cells:
        yield from map(
            number, (cell.latency_ms.value, cell.latency_ms.low, cell.latency_ms.high, cell.images_per_second)
        )
    for way in result.stages.formats:
        yield from (number(stage.time_ms.value) for stage in way.stages)
        yield from (number(way.sum_ms), number(way.call_ms), f"{way.unaccounted_ms.value:+#.2g}")
    for rival in result.against:
        yield from (rival.target.name, rival.target.note)
        if c := rival.comparison:
            yield from (number(c.first_ms), number(c.second_ms), c.verdict)
    yield from result.notes


def test_every_figure_is_on_the_page(page: str) -> None:
    words = re.sub(r"&#39;", "'", page)
    missing = [figure for figure in figures_of(full_bench()) if figure not in words]
    assert missing == []


def test_words_on_it(page: str) -> None:
    for words in (
        "p50 2.0",
        "needs 10,000 runs, had 3,000",
        "other processes used 31 % of the 2 cores",
        "2 runs beyond",
        "+12.2 %",
        "✗ slower",
        "not in the baseline",
        "base.json, measured at 2026-09-30T07:15:00+00:00",
        "<dt>another machine</dt><dd>cores: 8 in the baseline, 2 now</dd>",
        "<dt>other versions</dt><dd>onnxruntime: 1.20.1 in the baseline, 1.22.0 now</dd>",
        "1.58 (1.50 to 1.66)</td>",
        "no difference</td>",
        "not measured",
        "Resize, Transpose, Expand and 1 more",
        "with features.1",
    ):
        assert words in page, words


def test_it_is_well_formed_and_has_all_sections(page: str) -> None:
    assert sections_of(page) == SECTIONS
    assert [tag for tag, _ in tags(page).seen].count("figure") == 11


def test_a_baseline_of_this_machine_is_no_other() -> None:
    here = replace(baseline_comparison(), machine_differences=(), software_differences=())
    page = render_report(full_bench(baseline=here))
    assert "base.json, measured at 2026-09-30T07:15:00+00:00" in page
    assert "another machine" not in page


@pytest.mark.parametrize(
    ("judged", "cell"),
    [
        ({}, '<span class="bad">✗ slower, REGRESSED</span>'),
        ({"regressed": False}, '<span class="good">✓ slower</span>'),
        ({"regressed": False, "fail_above_percent": None}, "slower"),
        ({"regressed": False, "slowdown_percent": Estimate(0, -2, 2), "mostly_disturbed": True}, "undecided"),
    ],
    ids=["regressed", "borne", "no bound", "undecided"],
)
def test_a_verdict_accuses_only_by_a_bound(judged: dict[str, Any], cell: str) -> None:
    case = replace(case_comparisons()[0], **judged)
    page_text = render_report(plain_bench(baseline=baseline_comparison(case)))
    assert f">{cell}</td>" in page_text
    noted = render_report(plain_bench(baseline=baseline_comparison(replace(case, note="more"))))
    assert f">{cell.removesuffix('</span>')}; more" in noted
    assert ("regressed</text>" in page_text) == (judged == {})


def test_sections_without_figures_are_left_out() -> None:
    page = render_report(plain_bench())
    assert sections_of(page) == {"interference", "latency", "machine", "file", "evidence"}
    assert [tag for tag, _ in tags(page).seen].count("figure") == 2
    assert "None" not in page


@pytest.mark.parametrize(
    ("part", "section"),
    [
        ("cold_start", "cold-start"),
        ("memory", "memory"),
        ("layers", "layers"),
        ("sweep", "batches-and-threads"),
        ("stages", "end-to-end"),
        ("against", "comparison"),
    ],
)
def test_each_section_alone_may_be_missing(part: str, section: str) -> None:
    nothing: Any = () if part == "against" else None
    page = render_report(full_bench(**{part: nothing}))
    assert sections_of(page) == SECTIONS - {section}


def test_it_needs_nothing_from_outside(page: str) -> None:
    assert re.findall(r"https?:|//[a-z]|@import|url\(", page) == []
    for tag, attributes in tags(page).seen:
        assert tag not in ("script", "link", "img", "iframe", "object", "use")
        assert not {"src", "href", "srcset", "onload", "onclick"} & attributes.keys()


def test_text_is_escaped(page: str) -> None:
    row = layer(EVIL, 1.0, 10, 10, executed_ops=(EVIL,), fused=(EVIL,), op_type=EVIL)
    poisoned = full_bench(
        name="<b>" + EVIL,
        model=EVIL,
        layers=layers(row),
        against=(compared(EVIL, 1.5, EVIL), compared(EVIL, None, note=EVIL)),
        notes=(EVIL,),
        machine=replace(full_bench().machine, cpu=EVIL),
    )
    cases = tuple(replace(case, name=EVIL, note=EVIL) for case in case_comparisons())
    baseline = replace(baseline_comparison(*cases), file=EVIL, machine_differences=(EVIL,))
    page_text = render_report(replace(poisoned, baseline=baseline))
    assert "<script" not in page_text
    assert page_text.count("&lt;script&gt;") > 10
    assert {tag for tag, _ in tags(page_text).seen} == {tag for tag, _ in tags(page).seen}


def test_a_warm_up_without_end_is_a_warning() -> None:
    shaky = WarmUp(50, 1.5, False, None, "latencies were not steady after 1.5 s, 50 runs", 3.0)
    result = plain_bench()
    quiet = replace(result.latency, findings=())
    assert "Interference" not in render_report(replace(result, latency=quiet))
    page = render_report(replace(result, latency=replace(quiet, warm_up=shaky)))
    assert "<li>latencies were not steady after 1.5 s, 50 runs</li>" in page


@pytest.mark.parametrize("times", [cuda_times(), cuda_times(gpu=None)], ids=["all", "without NVML"])
def test_the_gpu(times: CudaTimes) -> None:
    assert 'id="gpu"' not in render_report(plain_bench())
    page_text = render_report(replace(plain_bench(), cuda=times))
    tags(page_text)
    section = page_text[page_text.index('<section id="gpu"') :].partition("</section>")[0]
    for text in ("run on the GPU", "0.250", "0.240 to 0.260", "4.8 MB", "9.63", "preprocess/size"):
        assert text in section
    assert times.findings[0] in section
    for text in ("NVIDIA H200", "252 to 260 W, limit 700", "600.0 MB by the model"):
        assert (text in section) == (times.gpu is not None)


@pytest.mark.parametrize(
    "change",
    [
        {"latency": latency(np.array([1.0, 1.0]))},
        {"latency": latency(np.array([1e-6] * 50 + [1e6] * 50))},
        {"layers": layers(layer("only", 1.0, 10, 10, share=1.0))},
        {"layers": layers(layer("a", 0.0, 10, 10, share=0.0), layer("b", 0.0, 0, 0, share=0.0), peaks=None)},
        {"layers": layers(*(layer(f"l{i}", 10.0**-i, 10**i, 10, share=0.1) for i in range(12)))},
        {"sweep": sweep((1, 1, 1.0))},
        {"against": (compared("nobody", None),)},
        {"model": "/tmp/\udcff\u202e\x1b[2J.onnx"},
    ],
    ids=["two runs", "far outliers", "one layer", "no time", "wide", "one cell", "nobody", "odd file name"],
)
def test_extremes(change: dict[str, Any], tmp_path: Path) -> None:
    result = full_bench(**change)
    write_report(result, tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    tags(page)
    assert "nan" not in re.sub(r"<style>.*?</style>|<[^>]*>", " ", page.lower(), flags=re.DOTALL).split()
    assert not re.search(r'="[^"]*\b(nan|inf)\b', page)
    assert [line for line in page.split("\n") if inert(line) != line] == []


def test_it_is_written_whole_or_not_at_all(page: str, tmp_path: Path) -> None:
    write_report(full_bench(), tmp_path / "r.html")
    written = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert re.sub("<nav.*</nav>\n?", "", written, flags=re.DOTALL) == page
    with pytest.raises(UsageError, match="does not exist"):
        write_report(full_bench(), tmp_path / "missing" / "page.html")
    assert [f.name for f in tmp_path.iterdir()] == ["r.html"]


def test_a_disturbed_machine_withholds_headline_and_roofline() -> None:
    disturbed = replace(
        latency(np.full(300, 2.0)),
        findings=(Finding("other_processes", "other processes used 90 % of the 2 cores", 0.9),),
    )
    result = full_bench(latency=disturbed)
    header = result.header()
    assert header.verdict.startswith("Not reliable, the machine was disturbed: other processes used 90 %")
    assert (header.tone, header.highlights) == ("bad", ())
    page = render_report(result)
    assert "of the runs take at most" not in page
    assert "multiply-adds per byte" not in page
    quiet = render_report(full_bench())
    assert "of the runs take at most" in quiet
    assert "multiply-adds per byte" in quiet


@pytest.mark.parametrize(
    ("finding", "disturbs"),
    [
        (Finding("other_processes", "", 0.3), False),
        (Finding("other_processes", "", 0.7), True),
        (Finding("other_processes", ""), True),
        (Finding("not_steady", "", 0.05), False),
        (Finding("not_steady", "", 0.2), True),
        (Finding("throttled", ""), True),
        (Finding("outliers", ""), False),
    ],
)
def test_what_disturbs_a_thread_on_two_cores(finding: Finding, disturbs: bool) -> None:
    result = plain_bench(latency=replace(plain_bench().latency, findings=(finding,)))
    assert bool(result.disturbed) is disturbs
