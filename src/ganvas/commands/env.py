"""`ganvas env`."""

from __future__ import annotations

from ganvas.commands.options import print_json, print_table


def env(*, json: bool = False) -> None:
    """Print versions, machine and folders, for bug reports.

    Parameters
    ----------
    json
        Print one JSON document.
    """
    from ganvas.views import environment

    facts = environment.describe()
    if json:
        print_json(facts)
        return
    print_table(["", ""], [[name, str(value)] for name, value in facts.items()])
