"""Functions that several processes run together, as `torch.distributed` joins them."""

import io
import multiprocessing
import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

# A server that has torch already forks them: to import it in each would take most of the time.
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["torch", "dcgmm_cli.task", "dcgmm_cli.commands.train"])
MINUTE = timedelta(minutes=1)


def together(size: int, function: Callable[..., Any], *arguments: Any, threads: int = 1) -> list[Any]:
    """What a function of a module gives in each of so many processes; None of one that ended before its time."""
    with tempfile.TemporaryDirectory() as folder:
        pairs = [CONTEXT.Pipe(duplex=False) for _ in range(size)]
        processes = [
            CONTEXT.Process(target=_run, args=(Path(folder), rank, size, threads, end, function, arguments))
            for rank, (_, end) in enumerate(pairs)
        ]
        for process, (_, end) in zip(processes, pairs, strict=True):
            process.start()
            end.close()
        found = [_received(end) for end, _ in pairs]
        for process in processes:
            process.join()
    return found


def _received(end: Connection) -> Any:
    try:
        return torch.load(io.BytesIO(end.recv_bytes()), weights_only=False)
    except EOFError:
        return None


def _run(
    folder: Path,
    rank: int,
    size: int,
    threads: int,
    end: Connection,
    function: Callable[..., Any],
    arguments: tuple[Any, ...],
) -> None:
    torch.set_num_threads(threads)
    if size > 1:
        method = f"file://{folder / 'store'}"
        dist.init_process_group("gloo", init_method=method, rank=rank, world_size=size, timeout=MINUTE)
    content = io.BytesIO()
    torch.save(function(*arguments), content)  # pickled by itself, a tensor would stay in the memory of its process
    end.send_bytes(content.getvalue())
    end.close()
    os._exit(0)  # whether others are still there or not


@dataclass
class Ended:
    """How a process of a launched command ended."""

    code: int  # negative: killed by that signal
    out: str
    err: str


def launch(size: int, words: list[str], folder: Path, **changes: Any) -> list[Ended]:
    """Run a command line in several processes, as torchrun starts them.

    Args:
        size: how many.
        words: behind `dcgmm`.
        folder: that they run in.
        changes: of `_launched`, for the last one alone.
    """
    # As torchrun does: the store lives with the one that starts them, at a port that the system has chosen.
    store = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)  # type: ignore[attr-defined]
    places = [Path(tempfile.mkdtemp(dir=folder)) for _ in range(size)]
    started = [
        CONTEXT.Process(
            target=_launched,
            args=(folder, place, {"RANK": str(rank), "WORLD_SIZE": str(size), "MASTER_PORT": str(store.port)}, words),
            kwargs=changes if rank == size - 1 else {},
        )
        for rank, place in enumerate(places)
    ]
    for process in started:
        process.start()
    for process in started:
        process.join()
    found = []
    for process, place in zip(started, places, strict=True):
        assert process.exitcode is not None
        found.append(Ended(process.exitcode, (place / "out").read_text(), (place / "err").read_text()))
        shutil.rmtree(place)
    return found


def _launched(
    folder: Path,
    place: Path,
    environment: dict[str, str],
    words: list[str],
    *,
    also: tuple[str, ...] = (),
    moved: Path | None = None,
    signum: int | None = None,
    at: int = 0,
) -> None:
    """One process: in a folder of its own if it is `moved`, and with a signal to itself after so many steps."""
    from dcgmm.training import trainer
    from dcgmm_cli import main

    place_of_store = {"MASTER_ADDR": "127.0.0.1", "TORCHELASTIC_USE_AGENT_STORE": "True"}
    os.environ.update(environment, **place_of_store)
    os.chdir(moved or folder)
    for number, name in ((1, "out"), (2, "err")):
        os.dup2(os.open(place / name, os.O_WRONLY | os.O_CREAT), number)
    if signum is not None:
        step = trainer.Trainer.step

        def signalling_step(self: trainer.Trainer) -> Any:
            report = step(self)
            if self.steps == at:
                os.kill(os.getpid(), signum)
            return report

        trainer.Trainer.step = signalling_step  # type: ignore[method-assign]
    sys.argv = ["dcgmm", *words, *also]
    main.main()
