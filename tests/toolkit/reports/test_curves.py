import pytest
from drawn import marks_of, stray_marks, texts_of
from hypothesis import given, settings
from hypothesis import strategies as st
from made_up_bench import full_bench, sweep

from cnntk.reports.curves import draw_sweep_latency, draw_throughput
from cnntk.reports.figure import Circle, Line


def test_a_line_for_each_number_of_threads() -> None:
    found = full_bench().sweep
    assert found is not None
    figure = draw_throughput(found, 580)
    assert figure is not None
    lines = [line for line in marks_of(figure, Line) if line.width == 2.0]
    assert [len(line.points) for line in lines] == [3, 3]
    assert len({line.ink for line in lines}) == 2
    assert {"1 thread", "2 threads", "1", "8", "32"} <= set(texts_of(figure))
    assert figure.title == "865 images/s at most: batch 32 on 2 threads"


def test_more_images_a_second_stand_higher_and_more_ms_too() -> None:
    found = sweep((1, 1, 2.0), (8, 1, 8.0))
    for draw in (draw_throughput, draw_sweep_latency):
        figure = draw(found, 580)
        assert figure is not None
        first, second = marks_of(figure, Circle)
        assert first.x < second.x
        assert first.y > second.y


def test_threads_go_along_where_there_is_one_batch() -> None:
    figure = draw_throughput(sweep((4, 1, 2.0), (4, 2, 1.5), (4, 4, 1.4)), 336)
    assert figure is not None
    assert {"threads, log scale", "batch 4"} <= set(texts_of(figure))
    assert len(marks_of(figure, Circle)) == 3


def test_one_cell_is_no_line() -> None:
    assert draw_throughput(sweep((1, 1, 2.0)), 580) is None
    assert draw_sweep_latency(sweep((1, 1, 2.0)), 580) is None


@settings(deadline=None)
@given(
    cells=st.dictionaries(
        st.tuples(st.integers(1, 512), st.integers(1, 64)), st.floats(1e-4, 1e6), min_size=2, max_size=12
    ),
    width=st.sampled_from([336, 580]),
)
def test_any_sweep_stays_in_the_frame(cells: dict[tuple[int, int], float], width: int) -> None:
    found = sweep(*((batch, threads, ms) for (batch, threads), ms in sorted(cells.items())))
    for draw in (draw_throughput, draw_sweep_latency):
        figure = draw(found, width)
        assert figure is not None
        assert stray_marks(figure) == []
        assert len(marks_of(figure, Circle)) == len(cells)


@pytest.mark.parametrize("width", [336, 580])
def test_the_axis_of_latency_is_logarithmic_where_it_is_wide(width: int) -> None:
    narrow, wide = sweep((1, 1, 2.0), (2, 1, 3.0)), sweep((1, 1, 2.0), (64, 1, 100.0))
    for found, expected in ((narrow, "ms a run"), (wide, "ms a run, log scale")):
        figure = draw_sweep_latency(found, width)
        assert figure is not None
        assert expected in texts_of(figure)
