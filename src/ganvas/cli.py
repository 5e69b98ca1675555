"""The command line. Its verbs, in ganvas.commands, import torch inside, so --help is instant.

Results go to stdout, progress and notices to stderr. Exit codes: 0 done, 2 bad input (one line says
which), 130 stopped by Ctrl-C and 143 by SIGTERM, with the state saved; 1, with a traceback, is a
bug of ganvas's.
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
    """The `ganvas` command. Prints what the user can mend in one line and exits 2."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        # a class's name need not fit the terminal's encoding
        sys.stdout.reconfigure(errors="backslashreplace")
    sys.exit(run(arguments))


def run(arguments: list[str] | None) -> int:
    """Do what the arguments say; the exit code. SystemExit (of --help, or a SIGTERM) passes
    through."""
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
            print(
                f"ganvas: {' '.join(str(error.filename).split())}: {error.strerror}",
                file=sys.stderr,
            )
            return 2
        _close_stdout()  # the one file of ours without a name
        print(f"ganvas: cannot write the output: {REASONS[error.errno]}", file=sys.stderr)
        return 2
    return 0


def _close_stdout() -> None:
    """Let Python's last flush go nowhere, instead of failing once more."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    main()
