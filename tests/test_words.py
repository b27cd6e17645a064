"""Names, sizes and spelling of the source: plain words of the field, small functions, American English."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence

import pytest
from source_tree import ROOT, bound_names, relative, source_files

_VAGUE = "found given told said kept known made asked taken own ours theirs place thing"
VAGUE_WORDS = frozenset(_VAGUE.split())
VAGUE_SHARE_LIMIT = 0.005
FUNCTION_LINES_LIMIT = 60
FILE_LINES_LIMIT = 500

_METAPHORS = """
    anatomy beside blame blamed crew entrance face faint ledger lineage meanwhile nobody oddities oddity
    opponent opponents patience race racing recast rival rivalry rivals sealed stolen surroundings tape uncast
    unusual
    vetted weather workbench
"""
METAPHORS = frozenset(_METAPHORS.split())
"""Words that no name may contain."""

BANNED_NAMES = {
    "": """
        Answers Balanced Picture Player Trace apart arrange bypass calm closed_forms described doubles
        evaluated gathering given_back halves held_back nats nudged opening other_machine pair_safe prove
        rectified revive settled stacking taken_again to_dark traces wire
        """,
    "exporters": "failure kernels put quiet runnable vectors",
    "exporters/checks": "Case drift flat moved returned single trials whole",
    "exporters/passes": "declined done replaced sweep",
    "exporters/preprocessing": "levels",
    "exporters/sources": "edges",
    "toolkit/quantization": "Levels Recipe recipe trials",
    "toolkit/benchmark": "play word",
    "runtime": "chunks places trial",
}
"""By folder (``""``: all of the source), names that neither a module nor anything in it may have."""

BRITISH = re.compile(
    r"(?i)colour|grey|neighbour|behaviour|favour|honour|centre|metre(?![a-z])|analyse|catalogue|artefact|licence|learnt"
    r"|(?:label|model|signal|travel|total)l(?:ed|ing)(?![a-z])"
    r"|(?:quant|normal|optim|initial|equal|serial|organ|summar|minim|maxim|parallel|standard|general"
    r"|synchron|recogn|vector|random|special|categor|regular|custom|memor|util)is(?:e|ed|es|er|ers|ing|ation)(?![a-z])"
)


def words_of(name: str) -> set[str]:
    """The words that an identifier joins, in lower case."""
    return {word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+", name)}


def vague(source: str) -> list[str]:
    """Names in ``source`` that say nothing about what they stand for."""
    return [f"{name.line}: {name.text}" for name in bound_names(source) if VAGUE_WORDS & words_of(name.text)]


def banned(path: str, source: str) -> Iterator[str]:
    """The banned names of the module ``path`` and of what it binds."""
    exact = {
        name
        for folder, names in BANNED_NAMES.items()
        if not folder or path.startswith(f"{folder}/")
        for name in names.split()
    }
    for part in path.removesuffix(".py").split("/"):
        if part.lstrip("_") in exact or METAPHORS & words_of(part):
            yield f"the name of the file {path}"
    for name in bound_names(source):
        if name.text.lstrip("_") in exact or METAPHORS & words_of(name.text):
            yield f"{path}:{name.line}: {name.text}"


def ambiguous_classes(sources: Sequence[tuple[str, str]]) -> dict[str, list[str]]:
    """Class names that more than one of the modules defines, with those modules."""
    modules = defaultdict(set)
    for path, source in sources:
        for name in bound_names(source):
            if name.is_class:
                modules[name.text].add(path)
    return {name: sorted(paths) for name, paths in modules.items() if len(paths) > 1}


def long_functions(source: str) -> list[str]:
    """Functions in ``source`` with more than `FUNCTION_LINES_LIMIT` lines."""
    return [
        f"{node.lineno}: {node.name} has {length} lines"
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (length := (node.end_lineno or 0) - node.lineno + 1) > FUNCTION_LINES_LIMIT
    ]


def unexplained_excepts(source: str) -> list[str]:
    """Handlers of any exception whose line has no comment that says why."""
    lines = source.splitlines()
    return [
        f"{node.lineno}: {line.strip()}"
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.ExceptHandler)
        and (node.type is None or {"Exception", "BaseException"} & _names_in(node.type))
        and not re.search(r"#\s*(?!noqa)\w", line := lines[node.lineno - 1])
    ]


def british(text: str) -> list[str]:
    """Words of ``text`` in British spelling, with their lines."""
    return [
        f"{number}: {match[0]}"
        for number, line in enumerate(text.splitlines(), 1)
        for match in BRITISH.finditer(line)
    ]


def _names_in(node: ast.expr) -> set[str]:
    return {n.id for n in ast.walk(node) if isinstance(n, ast.Name)}


def sources() -> list[tuple[str, str]]:
    """Path and text of every source file."""
    return [(relative(file), file.read_text(encoding="utf-8")) for file in source_files()]


def test_few_names_are_vague() -> None:
    total = sum(1 for _, source in sources() for _ in bound_names(source))
    names = [f"{path}:{name}" for path, source in sources() for name in vague(source)]
    assert len(names) <= VAGUE_SHARE_LIMIT * total, "\n".join([f"{len(names)} of {total}", *names])


def test_no_name_is_banned() -> None:
    assert [name for path, source in sources() for name in banned(path, source)] == []


def test_a_class_name_has_one_meaning() -> None:
    assert ambiguous_classes(sources()) == {}


def test_functions_and_files_are_short() -> None:
    assert [f"{path}:{text}" for path, source in sources() for text in long_functions(source)] == []
    assert [path for path, source in sources() if len(source.splitlines()) > FILE_LINES_LIMIT] == []


def test_a_broad_except_says_why() -> None:
    assert [f"{path}:{text}" for path, source in sources() for text in unexplained_excepts(source)] == []


def test_spelling_is_american() -> None:
    files = source_files(("runtime", "models", "exporters", "toolkit", "tests", "benchmarks", "examples"))
    files += [*source_files(["toolkit"], ".j2"), *source_files(["docs"], ".md"), *ROOT.glob("*.md")]
    words = [
        f"{relative(file)}:{word}"
        for file in files
        if file.name != "test_words.py"
        for word in british(file.read_text(encoding="utf-8"))
    ]
    assert words == []


@pytest.mark.parametrize(
    "source",
    [
        "found = 1",
        "self.told_of = 1",
        "def f(given): pass",
        "def take_known(): pass",
        "class TheirPlace: pass",
        "import numpy as own",
        "for _kept in (): pass",
    ],
)
def test_a_vague_name_is_caught(source: str) -> None:
    assert len(vague(source)) == 1
    assert vague("report, placeholder, foundation, thin = 1, 2, 3, 4") == []


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("toolkit/opponents.py", ""),
        ("toolkit/a.py", "class TorchOpponent: pass"),
        ("toolkit/a.py", "def best_rival(): pass"),
        ("runtime/a.py", "class _Crew: pass"),
        ("exporters/checks/_flat.py", ""),
        ("exporters/checks/a.py", "class Case: pass"),
    ],
)
def test_a_banned_name_is_caught(path: str, source: str) -> None:
    assert len(list(banned(path, source))) == 1
    assert list(banned("toolkit/a.py", "class Case: interface, flat = 1, 2")) == []


def test_a_class_with_two_meanings_is_caught() -> None:
    modules = [("a.py", "class _Row: pass"), ("b.py", "class _Row: pass\nclass Cell: pass")]
    assert ambiguous_classes(modules) == {"_Row": ["a.py", "b.py"]}


def test_a_long_function_is_caught() -> None:
    assert long_functions("def f():\n" + "    pass\n" * FUNCTION_LINES_LIMIT)
    assert long_functions("def f():\n" + "    pass\n" * (FUNCTION_LINES_LIMIT - 1)) == []


@pytest.mark.parametrize(
    "handler",
    ["except:", "except Exception:", "except (ValueError, BaseException):", "except:  # noqa: E722"],
)
def test_an_unexplained_except_is_caught(handler: str) -> None:
    assert unexplained_excepts(f"try:\n    pass\n{handler}\n    pass")
    assert unexplained_excepts("try:\n    pass\nexcept Exception:  # a plug-in may raise any\n    pass") == []


@pytest.mark.parametrize(
    "text", ["the colour", "a labelled image", "quantisation", "Neighbours", "labelled_images"]
)
def test_british_spelling_is_caught(text: str) -> None:
    assert british(text)
    assert british("color, labeled, quantization, otherwise, precise, raise, equal") == []
