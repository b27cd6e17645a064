"""``cnntk verify``."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cnntk.cli.output import json_option, note, print_json, print_table

if TYPE_CHECKING:
    from cnntk.runtime.artifact.self_test import OutputCheck
    from cnntk.verification.artifact import OutputComparison, Verification
    from cnntk.verification.preprocessing_check import PreprocessingCheck, VariantScore


@click.command()
@click.argument("model", required=False)
@click.option("--self", "alone", is_flag=True, help="By what the file itself holds; the default.")
@click.option("--against", metavar="X", help="Beside another .onnx, or a source as export takes it.")
@click.option("--weights", metavar="FILE", help="Of a source that has none of its own.")
@click.option("--random", is_flag=True, help="Seeded random weights for such a source.")
@click.option("--images", metavar="FOLDER", help="Would labeled images score better, prepared otherwise?")
@click.option("--limit", type=click.IntRange(min=1), help="Of these, use at most so many; 300 by default.")
@click.option("--device", default="cpu", show_default=True, help="cpu, cuda, cuda:1 or auto.")
@json_option
def verify(
    model: str | None,
    alone: bool,
    against: str | None,
    weights: str | None,
    random: bool,
    images: str | None,
    limit: int | None,
    device: str,
    as_json: bool,
) -> int:
    """Check that MODEL is still the one that was exported.

    Without --against: its SHA-256, the fingerprints of its weights, and its answers to its own inputs.

    With --images: whether its preprocessing is the one it was trained with. FOLDER holds a folder per class,
    named by the model's label or its number; the usual mistakes (BGR, no /255, another mean, ...) are tried.
    """
    from cnntk.shipped.model_choice import pick_model
    from cnntk.verification.artifact import verify as verify_model

    _check_options(alone, against, weights, random)
    _check_images(alone, against, images, limit)
    picked = pick_model(model)
    if picked.why:
        note(f"model: {picked.path.name} ({picked.why})")
    if images is not None:
        return _find_mismatch(picked.path, images, limit, device, as_json)
    if against is not None and ":" in against:
        sys.path.append(os.getcwd())  # behind the installed packages, so that none of them is shadowed
    found = verify_model(picked.path, against, weights=weights, random=random, device=device)
    if as_json:
        print_json(found.to_json())
    else:
        print_table(list(_rows(found)))
    for text in found.notes:
        note(f"note: {text}")
    return 0 if found.holds else 1


def _check_options(alone: bool, against: str | None, weights: str | None, random: bool) -> None:
    if alone and against is not None:
        raise click.UsageError("--self and --against exclude each other: --against does what --self does too")
    if against is None and (weights or random):
        raise click.UsageError("--weights and --random belong to the source that --against names")


def _check_images(alone: bool, against: str | None, images: str | None, limit: int | None) -> None:
    if images is not None and (alone or against is not None):
        raise click.UsageError("--images excludes --self and --against: it asks whether the spec is right")
    if images is None and limit is not None:
        raise click.UsageError("--limit belongs to --images")


def _find_mismatch(model: Path, images: str, limit: int | None, device: str, as_json: bool) -> int:
    from cnntk.cli.progress import Bar
    from cnntk.verification.preprocessing_check import LIMIT, check_preprocessing

    total = 0

    def progress(done: int, of: int) -> None:
        nonlocal total
        total = of
        bar(done)

    with Bar("images", lambda: total, wanted=not as_json) as bar:
        found = check_preprocessing(model, images, limit=limit or LIMIT, device=device, progress=progress)
    if as_json:
        print_json(found.to_json())
    else:
        _print_mismatch(found)
    for text in (*found.broken[:8], *found.notes):
        note(f"note: {text}")
    if len(found.broken) > 8:
        note(f"note: {len(found.broken)} images can't be read; --json names them all")
    return 0 if found.holds else 1


def _print_mismatch(found: PreprocessingCheck) -> None:
    print_table(
        [_candidate_row(c) for c in (found.spec, *found.candidates)],
        header=("way", "accuracy", "log-lik.", "right", "wrong", "p", ""),
        right=(1, 2, 3, 4, 5),
    )
    print(found.verdict)


def _candidate_row(c: VariantScore) -> tuple[str, ...]:
    """``log-lik.``: of the true label, on average; ``right``, ``wrong``: images that turn so."""
    score = f"{100 * c.accuracy:.1f} %", f"{c.log_likelihood:.3f}"
    if not c.differing:
        return c.name, *score, "", "", "", "" if c.name == "spec" else "same"
    changed = f"{c.gained:+}" if c.gained else "0", str(-c.lost)
    return c.name, *score, *changed, f"{c.p:.1g}", "better" if c.better else ""


def _rows(found: Verification) -> Iterator[tuple[str, str]]:
    yield "file", found.path
    yield "digest", {"holds": "holds", "differs": "DIFFERS: bytes were changed", "none": "none"}[found.digest]
    if found.fingerprints:
        yield "fingerprints", f"{found.fingerprints} tensors" + (" as exported" if not found.changed else "")
    for change in found.changed[:8]:
        yield "  CHANGED", str(change)
    if found.self_test is not None:
        yield from (_row("self-test", check) for check in found.self_test.worst)
    if found.comparison is not None:
        yield from _comparison_rows(found.comparison)
    if found.damage:
        yield "DAMAGED", found.damage
    yield "verdict", "holds" if found.holds else "DOES NOT HOLD"


def _comparison_rows(comparison: OutputComparison) -> Iterator[tuple[str, str]]:
    yield "against", comparison.other
    yield from (_row("answers", check) for check in comparison.worst)
    first = comparison.diverges
    if first is not None:
        yield "first differs", str(first)
    others = [layer.layer for layer in comparison.weights if first is None or layer.layer != first.layer]
    if others:
        yield (
            "weights differ",
            f"of {len(others)} more: {', '.join(others[:8])}{', ...' if others[8:] else ''}",
        )


def _row(title: str, check: OutputCheck) -> tuple[str, str]:
    verdict = "" if check.holds else "  FAILS"
    text = f"{check.error:.2g} off, allowed {check.bound:.2g} (at {check.case}){verdict}"
    return f"{title}: {check.output}", text
