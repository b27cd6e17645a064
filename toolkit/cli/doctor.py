"""``cnntk doctor``."""

from __future__ import annotations

from cnntk.cli.options import command, json_option
from cnntk.cli.output import show


@command("cnntk doctor", "cnntk doctor --json")
@json_option
def doctor(as_json: bool) -> int:
    """Show the machine, the packages and providers, and what is wrong with the installation.

    Exits with 1 if something is wrong, and says how to fix it.
    """
    from cnntk.doctor import diagnose

    diagnosis = diagnose()
    show(diagnosis, as_json)
    return int(bool(diagnosis.problems))
