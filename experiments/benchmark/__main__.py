"""Train, judge by outliers and write the page: the benchmark's tasks, this package's models and other detectors."""

import contextlib
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from experiments.benchmark.collect import collect
from experiments.benchmark.peers import PEERS
from experiments.benchmark.plan import TARGETS, Study, plan, quick
from experiments.benchmark.report import PAGE, write_report
from experiments.benchmark.work import command
from experiments.paper.starts import carry_out, ended, locked, print_end, require_plain, study_parser

ROOT = Path("runs") / "benchmark"
REPORT_DIR = Path(__file__).resolve().parent


def main(arguments: Sequence[str] | None = None) -> int:
    """Return the exit code: 0, 1 where jobs failed, 2 for bad arguments, 128 + signal when interrupted."""
    report = "experiments/benchmark; quick: ROOT/results"
    parser = study_parser("experiments.benchmark", __doc__, TARGETS, ROOT, report, Study(ROOT).seeds)
    parser.add_argument("--peers", nargs="+", choices=PEERS, metavar="PEER", help=f"of {', '.join(PEERS)} (all)")
    options = parser.parse_args(arguments)
    root = options.root or (ROOT.with_name("benchmark-quick") if options.quick else ROOT)
    study = quick(root) if options.quick else Study(root)
    if options.seeds is not None:
        study = replace(study, seeds=options.seeds)
    out = options.report or (root / "results" if options.quick else REPORT_DIR)

    def work() -> int:
        require_plain(root)
        from dcgmm.runtime import available_cores  # which imports torch

        return reproduce(study, options.targets, options.peers, out, options.jobs or available_cores())

    return ended(work)


def reproduce(study: Study, targets: Sequence[str], peers: Sequence[str] | None, out: Path, workers: int) -> int:
    """Run what is missing, collect it into `out`, and draw it.

    Raises:
        InputError: another start is at work in the same directory, or it cannot be written.
        KeyboardInterrupt: a signal came.
    """
    from dcgmm_cli.interruption import Interruption

    chosen = [name for name in peers or PEERS if PEERS[name].installed]
    for name in set(peers or PEERS) - set(chosen):
        print(f"left out, not installed: {PEERS[name].title} (pip install '.[benchmark]')", file=sys.stderr)
    jobs = plan(study, targets, chosen)
    with locked(study.root) if jobs else contextlib.nullcontext(), Interruption().installed():
        outcome = carry_out(jobs, study.root, targets, workers, command)
        write_report(collect(study), out, quick=bool(study.suffix))
    print_end(outcome)
    print(out / PAGE)
    return 1 if outcome.failed else 0


if __name__ == "__main__":
    sys.exit(main())
