"""Pages in a real browser: Chromium without a window, where one is installed."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

from PIL import Image

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)

_FLAGS = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-quic"),
    "--force-device-scale-factor=1",
)
_CHROME = 200
"""Pixels of height that the window needs beside the page."""

_UTF8 = '<meta charset="utf-8">'

_MEASURE = """
<pre id="found"></pre>
<script>
addEventListener("load", () => {
  const found = [...document.querySelectorAll("iframe")].map(frame => {
    const page = frame.contentDocument, root = page.documentElement;
    const box = e => { const b = e.getBoundingClientRect(); return [b.left, b.top, b.right, b.bottom]; };
    const seen = e => e.getClientRects().length > 0;
    return {
      width: root.clientWidth, scroll_width: root.scrollWidth, height: root.scrollHeight,
      sections: Object.fromEntries(
        [...page.querySelectorAll("section[id], details[id]")].map(e => [e.id, box(e)])),
      figures: [...page.querySelectorAll("svg.figure")].filter(seen).map(box),
      clipped: [...page.querySelectorAll("body *")].filter(seen).filter(e => {
        const figure = e.closest("svg"), b = e.getBoundingClientRect();
        if (e.closest("thead") || (figure && e.tagName != "text")) return false;
        const c = figure ? figure.getBoundingClientRect() : {left: 0, right: root.clientWidth};
        const overflows = !figure && e.clientWidth > 0 && e.scrollWidth > e.clientWidth + 1;
        return b.left < c.left - 1 || b.right > c.right + 1 || overflows;
      }).map(e => `${e.tagName} ${e.textContent.trim().slice(0, 60)}`),
    };
  });
  document.getElementById("found").textContent = JSON.stringify(found);
});
</script>
"""


@dataclass(frozen=True)
class Window:
    """A page, so many pixels wide; in a frame of its own, as Chromium's windows have 500 pixels at least."""

    page: str
    width: int

    def frame(self, height: int) -> str:
        style = f"width:{self.width}px;height:{height}px;border:0;flex:none"
        return f'<iframe srcdoc="{html.escape(self.page)}" style="{style}"></iframe>'


def measured(windows: Sequence[Window]) -> list[dict[str, Any]]:
    """How each lies: ``width``, ``scroll_width``, ``height``, boxes of ``sections`` and shown ``figures``,
    and texts of ``clipped`` elements, which reach out of their boxes or the page."""
    dom = _chromium(_UTF8 + "".join(window.frame(1000) for window in windows) + _MEASURE, "--dump-dom")
    match = re.search(r'<pre id="found">(.*?)</pre>', dom, re.DOTALL)
    if match is None or not match[1]:
        raise RuntimeError(f"chromium measured nothing: {dom[-500:]}")
    boxes: list[dict[str, Any]] = json.loads(html.unescape(match[1]))
    return boxes


def screenshots(windows: Sequence[Window], height: int, *, dark: bool = False) -> list[Image.Image]:
    """What each looks like from its top, so many pixels high."""
    frames = "".join(window.frame(height) for window in windows)
    width = max(sum(window.width for window in windows), 500)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "page.png")
        size = f"--window-size={width},{height + _CHROME}"
        scheme = f"--blink-settings=preferredColorScheme={0 if dark else 1}"
        _chromium(
            f'{_UTF8}<body style="margin:0;display:flex">{frames}', f"--screenshot={file}", size, scheme
        )
        image = Image.open(file).convert("RGB")
    lefts = accumulate((window.width for window in windows), initial=0)
    return [image.crop((x, 0, x + w.width, height)) for x, w in zip(lefts, windows, strict=False)]


def _chromium(page: str, *flags: str) -> str:
    if CHROMIUM is None:
        raise RuntimeError("chromium is not installed")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        file = Path(folder, "page.html")
        file.write_text(page, encoding="utf-8")
        command = [CHROMIUM, *_FLAGS, f"--user-data-dir={folder}/profile", *flags, file.as_uri()]
        return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout
