"""Links between the pages of one model that lie in one folder.

A page names the digests of the models that it is about. Pages that share one link to each other: a page that
is written links to those that are there, and the navigation of those is written anew.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from cnntk.reports.text import render
from cnntk.runtime.files import write_bytes

__all__ = ["PageEntry", "navigation_of", "related_pages", "update_navigation"]

_HEAD_BYTES = 4096
_META = re.compile(r'<meta name="cnntk-(page|models)" content="([^"]*)">')
_TITLE = re.compile(r"<title>(.*?): [^:<]*</title>")
_NAVIGATION = re.compile(r"(?<=<!-- cnntk pages -->).*?(?=<!-- end of cnntk pages -->)", re.DOTALL)
_GENERATOR = '<meta name="generator" content="cnntk '


@dataclass(frozen=True)
class PageEntry:
    """A page in a folder.

    Attributes:
        file: Name of its file.
        title: What it is, like ``Bench report``.
        name: Name of its model.
        digests: Digests of the models that it is about.
    """

    file: str
    title: str
    name: str
    digests: tuple[str, ...]


def navigation_of(current: PageEntry, entries: Sequence[PageEntry]) -> str:
    """The HTML of the links of a page to all ``entries``, of which it is one."""
    ordered = sorted(entries, key=lambda entry: entry.file)
    links = [(entry, f"./{quote(entry.file)}") for entry in ordered]
    return render("navigation.html.j2", current=current, links=links)


def related_pages(entry: PageEntry, folder: Path) -> tuple[PageEntry, ...]:
    """The other pages in a folder that are about one of the same models."""
    pages = (page for page in _pages(folder) if page.file != entry.file)
    return tuple(page for page in pages if set(page.digests) & set(entry.digests))


def update_navigation(folder: Path, entry: PageEntry, others: Sequence[PageEntry]) -> tuple[Path, ...]:
    """Writes the navigation of ``others`` anew, which ``entry`` joined; returns the files that changed."""
    changed = []
    for other in others:
        file = folder / other.file
        text = file.read_text(encoding="utf-8")
        links = navigation_of(other, (other, *related_pages(other, folder)))
        if (match := _NAVIGATION.search(text)) and match[0] != links:
            updated = f"{text[: match.start()]}{links}{text[match.end() :]}"
            write_bytes(file, updated.encode())
            changed.append(file)
    return tuple(changed)


def _pages(folder: Path) -> Iterator[PageEntry]:
    """The pages of this version's form in a folder; other files are none."""
    for file in sorted(folder.glob("*.html")):
        try:
            with file.open("rb") as stream:
                head = stream.read(_HEAD_BYTES).decode("utf-8", "replace")
        except OSError:
            continue  # a page that can't be read can't be linked to
        facts = {name: html.unescape(content) for name, content in _META.findall(head)}
        name = _TITLE.search(head)
        if _GENERATOR in head and name and facts.keys() == {"page", "models"}:
            yield PageEntry(file.name, facts["page"], html.unescape(name[1]), tuple(facts["models"].split()))
