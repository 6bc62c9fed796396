"""Run what the paper's tables and figures need, collect it, and write the report."""

import contextlib
import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from dcgmm.files import write_text
from experiments.paper.plan import EVERYTHING, FULL, ITEMS, QUICK, REPORT, TARGETS, Study, plan
from experiments.paper.starts import carry_out, ended, locked, print_end, read_starts, require_plain, study_parser

ROOT = Path("runs") / "paper"
REPORT_DIR = Path(__file__).resolve().parents[1] / "report"


def main(arguments: Sequence[str] | None = None) -> int:
    """Return the exit code: 0, 1 where jobs failed, 2 for bad arguments, 128 + signal when interrupted."""
    report = "experiments/report; quick: ROOT/report"
    parser = study_parser("experiments.paper", __doc__, TARGETS, ROOT, report, FULL.seeds)
    options = parser.parse_args(arguments)
    scale = QUICK if options.quick else FULL
    if options.seeds is not None:
        scale = replace(scale, seeds=options.seeds)
    root = options.root or (ROOT.with_name("paper-quick") if options.quick else ROOT)
    out = options.report or (root / "report" if options.quick else REPORT_DIR)

    def work() -> int:
        require_plain(root)
        from dcgmm.runtime import available_cores  # which imports torch

        return reproduce(Study(root, scale), options.targets, out, options.jobs or available_cores(), options.quick)

    return ended(work)


def reproduce(study: Study, targets: Sequence[str], out: Path, workers: int, quick: bool) -> int:
    """Run what is missing of the targets, collect it into `out`, and write the report there.

    Raises:
        InputError: another start is at work in the same directory, it cannot be written, or it holds models that were
            trained with other settings.
        KeyboardInterrupt: a signal came.
    """
    import torch

    from dcgmm_cli.interruption import Interruption
    from experiments.paper.collect import collect
    from experiments.paper.origin import TIMING
    from experiments.paper.report import write_report
    from experiments.paper.settings import require_same_settings
    from experiments.paper.worker import dcgmm

    jobs = plan(study, targets, torch.cuda.is_available())
    # A report alone runs nothing: it may be written while another start is at work.
    with locked(study.root) if jobs else contextlib.nullcontext(), Interruption().installed():
        require_same_settings(study, jobs)
        outcome = carry_out(jobs, study.root, targets, workers, dcgmm)
        wanted = ITEMS if {EVERYTHING, REPORT} & set(targets) else [item for item in ITEMS if item in targets]
        missing = [item for item in wanted if not collect(study, item, out)]
        starts = read_starts(study.root)
        if starts:
            write_text(out / TIMING, json.dumps(starts, indent=1) + "\n")
        write_report(out, quick=quick)
    print_end(outcome, missing)
    print(out / "README.md")
    return 1 if outcome.failed else 0


if __name__ == "__main__":
    sys.exit(main())
