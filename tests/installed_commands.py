"""Runs the commands that need no torch, in the environment of this Python: does an installed wheel work?"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image, ImageDraw

COMMANDS = (
    ("doctor",),
    ("inspect",),
    ("verify",),
    ("infer", "seven.png"),
    ("bench", "--seconds", "0.5"),
)


def main() -> int:
    """Runs each command in an empty folder; returns 1 if one of them fails."""
    with tempfile.TemporaryDirectory() as folder:
        image = Image.new("L", (28, 28))
        ImageDraw.Draw(image).line([(6, 6), (21, 6), (12, 23)], fill=255, width=3)
        image.save(Path(folder, "seven.png"))
        for command in COMMANDS:
            line = [sys.executable, "-I", "-m", "cnntk", *command]
            print("$ cnntk", *command, flush=True)
            if subprocess.run(line, cwd=folder, check=False).returncode:
                return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
