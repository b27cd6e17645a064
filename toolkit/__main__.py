"""``python -m cnntk``."""

from cnntk.cli import main

raise SystemExit(main())
