"""What is said besides the slowdown, and that nothing is where there is nothing to say."""

from dataclasses import replace

import pytest

from cnntk.benchmark.case import Case
from cnntk.benchmark.case_notes import case_notes
from cnntk.benchmark.statistics.intervals import Estimate

ANY = Estimate(1.0, 1.0, 1.0)


def case(*medians_ms: float) -> Case:
    return Case({}, "ab" * 32, 100, ANY, ANY, {}, 0.1, tuple((ms,) for ms in medians_ms))


CALM, HALF, MOST = case(1, 1, 1, 1), case(1, 1, 2, 2), case(1, 1, 2, 2, 2)


def test_nothing_to_say() -> None:
    assert list(case_notes(CALM, CALM)) == []


@pytest.mark.parametrize(
    ("base", "now", "notes"),
    [
        (CALM, HALF, ["judged on 4 of 4 sessions then, 2 of 4 now"]),
        (HALF, CALM, ["judged on 2 of 4 sessions then, 4 of 4 now"]),
        (CALM, MOST, ["measured in 4", "judged on 4 of 4 sessions then, 2 of 5 now", "most were slow now"]),
        (MOST, MOST, ["judged on 2 of 5 sessions then, 2 of 5 now"]),
        (CALM, replace(CALM, model_sha256="cd" * 32), ["the model is another file than then"]),
        (CALM, replace(CALM, others=0.5), ["other processes used 10 % of the cores then, 50 % now"]),
    ],
    ids=["half now", "half then", "most now", "most of both", "file", "others"],
)
def test_what_is_said(base: Case, now: Case, notes: list[str]) -> None:
    found = list(case_notes(base, now))
    assert len(found) == len(notes)
    for text, begin in zip(found, notes, strict=True):
        assert text.startswith(begin)
