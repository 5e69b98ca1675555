"""The command line. Commands, in ganvas.commands, import torch when they run: --help is instant.

Results go to stdout, progress and notices to stderr. Exit codes: 0 done; 2 bad input, explained in
one line; 130 stopped by Ctrl-C and 143 by SIGTERM, with the state saved; 1, with a traceback, a bug
of ganvas's own.
"""

from __future__ import annotations

import io
import os
import sys

import cyclopts
from cyclopts import App, Parameter

from ganvas.commands import (
    bench,
    data_inspect,
    demo_1d,
    doctor,
    env,
    evaluate_compare,
    export,
    extractor,
    report,
    runs_timelapse,
    sample,
    show_recipes,
    train,
    tune,
)
from ganvas.errors import GanvasError
from ganvas.system.files import REASONS
from ganvas.version import __version__

app = App(
    name="ganvas",
    version=__version__,
    help_format="markdown",
    default_parameter=Parameter(negative=()),
    help="Train, judge and sample generative adversarial networks on your own images.",
)
data_app = App(name="data", help="Look at data sets before training on them.")
demo_app = App(name="demo", help="Small demonstrations of how GANs work.")
app.command(data_app)
app.command(demo_app)
for command in (
    train.train,
    tune.tune,
    sample.sample,
    evaluate_compare.evaluate,
    evaluate_compare.compare,
    export.export,
    extractor.extractor,
    runs_timelapse.runs,
    doctor.doctor,
    report.report,
    runs_timelapse.timelapse,
    show_recipes.recipes,
    show_recipes.show,
    bench.bench,
    env.env,
):
    app.command(command)
data_app.command(data_inspect.inspect)
demo_app.command(demo_1d.demo_1d, name="1d")


def main(arguments: list[str] | None = None) -> None:
    """Run the `ganvas` command and exit with its code."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        # The terminal's encoding may lack a character of a class's name.
        sys.stdout.reconfigure(errors="backslashreplace")
    sys.exit(run(arguments))


def run(arguments: list[str] | None) -> int:
    """Run the command with these arguments; None for those of the process. Returns the exit code.

    SystemExit (from --help, or a SIGTERM) passes through.
    """
    try:
        app(arguments, exit_on_error=False, print_error=False, result_action="return_value")
        sys.stdout.flush()
    except (GanvasError, cyclopts.CycloptsError) as error:
        print(f"ganvas: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # the reader, such as head, has gone
        _close_stdout()
    except OSError as error:
        if error.errno not in REASONS:
            raise
        if error.filename is not None:
            name = " ".join(str(error.filename).split())
            print(f"ganvas: {name}: {error.strerror}", file=sys.stderr)
            return 2
        # stdout is the only file without a name.
        _close_stdout()
        print(f"ganvas: cannot write the output: {REASONS[error.errno]}", file=sys.stderr)
        return 2
    return 0


def _close_stdout() -> None:
    """Point stdout nowhere, so that Python's last flush does not fail once more."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    main()
