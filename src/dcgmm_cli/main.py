"""The `dcgmm` command: takes the command's name off the arguments and lets Hydra do the rest.

Imports neither torch nor Hydra before they are needed, so that help and completion answer at once; and hardly anything
before it takes signals, so that one in the first moment leaves no traceback.
"""

import contextlib
import os
import signal
import sys
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

from dcgmm_cli.interruption import leave

COMMANDS = {
    "train": "train a model; results and checkpoint go to a new run directory",
    "outliers": "tell outliers from the images that a model was trained on, and show where they differ",
    "sample": "draw images from a model, and judge them",
    "sharpen": "draw images and sharpen them, or sharpen given ones; shows before, after and difference",
    "inpaint": "complete images of which a part is missing, beside what other methods make of them",
    "visualize": "show what a model has learnt: centroids, variances, weights and use of its components",
    "cluster": "judge a model's components as clusters of images, beside k-means and a plain mixture",
    "classify": "tell classes by a model that was trained without labels: by Bayes' rule and by a linear readout",
    "export": "a model for other programs: arrays, or the whole outlier detector as an ONNX graph",
    "show": "what a run was: layers, settings, data, figures, what was done with it; also as a page",
    "compare": "runs side by side: settings and figures that differ, curves, pictures; also as a page",
    "results": "one table over runs: filter, sort, group over seeds",
    "data": "fetch, verify and list data sets; list and remove decoded images",
}

USAGE = """\
dcgmm {version}: Deep Convolutional Gaussian Mixture Models

usage: dcgmm COMMAND [key=value ...] [Hydra flags]

commands:
{commands}

  dcgmm COMMAND --help         the command's keys, with types, defaults and meaning
  dcgmm completion SHELL       a completion script for bash or zsh: eval "$(dcgmm completion bash)"
  dcgmm --version

Hydra flags that are often of use: -m (sweep over comma-separated values), --cfg job (show the configuration),
--config-dir DIR (your own arch/ and dataset/ files), --hydra-help (all of them).
"""


def main() -> None:
    """Entry point: exits with 0, 1 (our fault: traceback in the run's log), 2 (the user's mistake), 128 + signal."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, leave)
    # Names of files need not be UTF-8; they are printed as the bytes that they are.
    if sys.stdout is not None:  # closed
        sys.stdout.reconfigure(errors="surrogateescape")  # type: ignore[union-attr]
    code = run(sys.argv[1:])
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # else it would end the process that is ending, with another code
    sys.exit(code)


def run(arguments: Sequence[str]) -> int:
    """Run one command line and return its exit code."""
    from dcgmm import __version__
    from dcgmm.errors import InputError

    if not arguments or arguments[0] in ("-h", "--help", "help"):
        width = max(map(len, COMMANDS))
        print(
            USAGE.format(
                version=__version__,
                commands="\n".join(f"  {name:<{width}}  {text}" for name, text in COMMANDS.items()),
            ),
            end="",
        )
        return 0
    command, rest = arguments[0], list(arguments[1:])
    if command == "--version":
        print(__version__)
        return 0
    try:
        if command == "completion":
            _complete(rest)
        elif command not in COMMANDS:
            import difflib

            close = difflib.get_close_matches(command, COMMANDS, 1)
            hint = f"did you mean {close[0]}? " if close else ""
            raise InputError(f"unknown command {command!r}: {hint}the commands are {', '.join(COMMANDS)}")
        elif "-h" in rest or "--help" in rest:
            from dcgmm_cli.help import command_help

            print(command_help(command, COMMANDS[command], conf_dir()), end="")
        else:
            return _run_hydra(command, rest)
    except InputError as error:
        return _fail(str(error))
    return 0


def conf_dir() -> Path:
    """The Hydra tree: inside the installed package, else at the top of the source tree."""
    package = Path(__file__).resolve().parent
    inside = package / "conf"
    return inside if inside.is_dir() else package.parents[1] / "conf"


def _run_hydra(command: str, rest: list[str]) -> int:
    # Hydra would print a traceback's tail and exit with 1 for any mistake; we want its exceptions.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    import logging
    import warnings

    from dcgmm_cli.endings import ending
    from dcgmm_cli.hydra_glue import run_hydra
    from dcgmm_cli.interruption import Interruption
    from dcgmm_cli.job import remember_command_line
    from dcgmm_cli.logs import TerminalFormatter
    from dcgmm_cli.sweep_start import SweepStart
    from dcgmm_cli.task import FAILURES, TOLD, run_task

    if logging.lastResort is not None:  # shows warnings until Hydra has set up logs
        logging.lastResort.setFormatter(TerminalFormatter())
    logging.raiseExceptions = False  # a log on a full disk is not worth a traceback each line
    # Hydra only warns of errors in callbacks; without what this one sets up, failures would be lost.
    warnings.filterwarnings("error", f"Callback {SweepStart.__name__}")
    remember_command_line(["dcgmm", command, *rest])
    FAILURES.clear()
    TOLD.clear()
    try:
        # Also between a sweep's jobs, and while they run in other processes.
        with (
            _launched(command, rest) as asked,
            Interruption().installed() as interruption,
            interruption.told(),
        ):
            run_hydra(asked, command, conf_dir(), run_task)
    except (Exception, KeyboardInterrupt) as error:
        if found := ending(error, command):
            code, why = found
            if why:
                print(why, file=sys.stderr)
            return code
    finally:
        _tell_of_sweep(command, FAILURES)
    # Our own failures before the user's.
    return 1 if 1 in FAILURES else max(FAILURES, default=0)


def _tell_of_sweep(command: str, failures: list[int]) -> None:
    """Print what came of a sweep's jobs, if there was one, and take in the exit codes of those that failed."""
    from dcgmm_cli.sweep_start import SweepStart
    from dcgmm_cli.sweeps import best, summary

    if not (sweep := SweepStart.take()) or not (outcomes := sweep.outcomes()):
        return
    if sweep.prints_elsewhere:
        print(*filter(None, (outcome.directory for outcome in outcomes)), sep="\n", flush=True)
    print(summary(sweep.jobs, outcomes), file=sys.stderr)
    if sweep.objective and (found := best(command, sweep.objective, outcomes)):
        print(found, file=sys.stderr)
    failures[:] = [outcome.code for outcome in outcomes if outcome.code]


def _launched(command: str, rest: list[str]) -> contextlib.AbstractContextManager[Namespace]:
    """What a command line asks of Hydra; together with others, where this process is one of several."""
    from dcgmm_cli.hydra_glue import prepare

    if "WORLD_SIZE" not in os.environ:  # to ask for others takes torch, which not all commands need
        return contextlib.nullcontext(prepare(command, rest))
    from dcgmm_cli.launch import launched

    return launched(command, rest, lambda: prepare(command, rest))


def _fail(message: str) -> int:
    print(f"error: {' '.join(message.split())}", file=sys.stderr)
    return 2


def _complete(arguments: Sequence[str]) -> None:
    from dcgmm.errors import InputError
    from dcgmm_cli.completion import SHELLS, completions, script

    if len(arguments) == 2 and arguments[0] == "--line":  # so its script asks
        print(*completions(arguments[1], conf_dir()), sep="\n")
    elif len(arguments) == 1 and arguments[0] in SHELLS:
        print(script(arguments[0]))
    else:
        raise InputError(
            f"usage: dcgmm completion SHELL, with SHELL {' or '.join(SHELLS)}, not {' '.join(arguments) or 'none'}"
        )
