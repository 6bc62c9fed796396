"""Several processes that work on one model, on one machine or several, by `torch.distributed`.

Each process does everything on its part of the images; what all need to know is added up, or gathered in the order of
the processes, so that all of them hold the same. torchrun, or anything else that sets `RANK`, `WORLD_SIZE`,
`MASTER_ADDR` and `MASTER_PORT`, starts them.
"""

import contextlib
import hashlib
import os
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Any, Self, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from dcgmm.errors import InputError, LostProcessError

T = TypeVar("T")
Rows = TypeVar("Rows", bound=Any)

PATIENCE = timedelta(minutes=30)  # that a process waits for another one that lives
_LAST_WORDS = 2.0  # seconds that it waits for what others say of their end
_SAMPLE = 1000  # images that tell data apart


class Processes:
    """The processes that work together, as one of them sees them. One alone is the usual case.

    Args:
        rank: this one's number.
        size: how many they are.

    Examples:
        >>> ALONE.rank, ALONE.size, ALONE.rows(10)
        (0, 1, slice(0, 10, None))
    """

    def __init__(self, rank: int, size: int) -> None:
        self.rank, self.size = rank, size
        self._wish, self._wishes = False, 0.0
        if size > 1:
            self._store = dist.distributed_c10d._get_default_store()
            self._store.set(f"dcgmm/who/{rank}", f"{socket.gethostname()}, pid {os.getpid()}")

    @classmethod
    def current(cls) -> Self:
        """Those of `torch.distributed`'s default group; this one alone where there is none.

        Examples:
            >>> Processes.current().size
            1
        """
        if not (dist.is_available() and dist.is_initialized()):
            return cls(0, 1)
        return cls(dist.get_rank(), dist.get_world_size())

    @property
    def is_first(self) -> bool:
        """Whether this is the one that writes and prints."""
        return self.rank == 0

    def rows(self, count: int) -> slice:
        """This one's part of so many."""
        return slice(count * self.rank // self.size, count * (self.rank + 1) // self.size)

    def shared(self, images: Rows) -> tuple[Rows, "Processes"]:
        """This one's part of images, and those that share them: fewer images than processes each looks at by itself.

        Examples:
            >>> ALONE.shared([3, 4])[0]
            [3, 4]
        """
        if self.size == 1 or len(images) < self.size:
            return images, ALONE
        return images[self.rows(len(images))], self

    def summed(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """Each tensor, added up over all processes: one exchange for all of them, and the same bits for each process.

        Args:
            tensors: of one number type, on one device, of the same shapes in all processes.

        Raises:
            LostProcessError: another one has ended.
        """
        if self.size == 1:
            return list(tensors)
        wish = tensors[0].new_full((1,), float(self._wish))
        flat = torch.cat([*(each.reshape(-1) for each in tensors), wish])
        with self._told():
            dist.all_reduce(flat)
        *parts, self._wishes = flat.split([*(each.numel() for each in tensors), 1])
        return [part.view(each.shape) for part, each in zip(parts, tensors, strict=True)]

    def agree(self, wish: bool) -> bool:
        """Whether all stop now, because one wishes it: what each says here goes with the next sums, and so all know
        of it at the same step. One alone does as it wishes.
        """
        if self.size == 1:
            return wish
        self._wish = wish
        return float(self._wishes) > 0

    def gathered(self, value: T) -> list[T]:
        """The values of all processes, in their order; a value is anything that pickles.

        Raises:
            LostProcessError: another one has ended.
        """
        if self.size == 1:
            return [value]
        found: list[Any] = [None] * self.size
        with self._told():
            dist.all_gather_object(found, value)
        return found

    def concatenated(self, values: Mapping[str, Tensor]) -> dict[str, Tensor]:  # (n, ...) each -> (N, ...)
        """What each process has made of its rows, for all rows.

        Raises:
            LostProcessError: another one has ended.
        """
        if self.size == 1:
            return dict(values)
        parts = self.gathered({name: each.cpu() for name, each in values.items()})
        return {name: torch.cat([part[name] for part in parts]).to(own.device) for name, own in values.items()}

    def from_first(self, make: Callable[[], T]) -> T:
        """What the first process makes, for all; an InputError that it raises is raised by all.

        Raises:
            LostProcessError: the first one has ended otherwise.
        """
        if self.size == 1:
            return make()
        given: list[Any] = [None, None]
        if self.is_first:
            try:
                given[0] = make()
            except InputError as error:
                given[1] = error
        with self._told():
            dist.broadcast_object_list(given)
        if given[1] is not None:
            raise given[1]
        return given[0]  # type: ignore[no-any-return]  # what make() made

    def require_same(self, facts: Mapping[str, Any]) -> None:
        """Refuse processes that were given different things.

        Args:
            facts: what each was given, by what it is in words; compared as `repr` shows it.

        Raises:
            InputError: something differs; names it and the processes.
            LostProcessError: another one has ended.
        """
        found = self.gathered({name: repr(value) for name, value in facts.items()})
        for rank, other in enumerate(found):
            different = [name for name, value in found[0].items() if other.get(name) != value]
            if different:
                raise InputError(f"{self.name_of(rank)} has other {' and '.join(different)} than {self.name_of(0)}")

    def name_of(self, rank: int) -> str:
        """A process in words: its number, machine and process id."""
        return f"process {rank} ({self._store.get(f'dcgmm/who/{rank}').decode()})"

    def tell_end(self, why: str) -> None:
        """Leave word for the others why this process ends before its time."""
        if self.size > 1:
            with contextlib.suppress(RuntimeError):  # the store may have ended first
                self._store.set(f"dcgmm/end/{self.rank}", why)

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        """Say in words which other process has ended, where an exchange fails."""
        try:
            yield
        except RuntimeError as error:  # all that its backends raise
            self.tell_end("")
            raise LostProcessError(self._lost() or f"the processes cannot reach each other: {error}") from error

    def _lost(self) -> str:
        """Which others have ended, and why: those who were left alone say so, those who were killed say nothing."""
        others = {rank: f"dcgmm/end/{rank}" for rank in range(self.size) if rank != self.rank}
        try:
            until = time.monotonic() + _LAST_WORDS
            while not self._store.check([*others.values()]) and time.monotonic() < until:
                time.sleep(0.05)  # not all of them say something
            told = {rank: self._store.get(key).decode() for rank, key in others.items() if self._store.check([key])}
            ended = [f"{self.name_of(rank)} has ended: {why}" for rank, why in told.items() if why]
            killed = [f"{self.name_of(rank)} has ended without a word" for rank in others if rank not in told]
        except RuntimeError:
            return ""
        return "; ".join(ended or killed)


ALONE = Processes(0, 1)


def digest(images: Tensor) -> str:
    """Tells images apart by their number, shape and type, and by up to 1,000 of them.

    Examples:
        >>> digest(torch.zeros(5, 2, 2, 1)) == digest(torch.zeros(5, 2, 2, 1)) != digest(torch.ones(5, 2, 2, 1))
        True
    """
    some = images[:: -(-max(1, len(images)) // _SAMPLE)].cpu().contiguous()
    content = hashlib.sha256(repr((tuple(images.shape), images.dtype)).encode())
    content.update(some.view(torch.uint8).numpy().data)
    return content.hexdigest()


def are_started() -> bool:
    """Whether this process is one of several that were started to work together: the environment says so.

    Examples:
        >>> are_started()
        False
    """
    size = os.environ.get("WORLD_SIZE", "")
    return "RANK" in os.environ and size.isdecimal() and int(size) > 1


@contextlib.contextmanager
def joined() -> Iterator[Processes]:
    """Work together with the processes that were started with this one; alone where there are none.

    They talk by gloo on CPUs and NCCL on GPUs; each takes the GPU of its `LOCAL_RANK`.

    Raises:
        InputError: they do not find each other.

    Examples:
        >>> with joined() as processes:
        ...     processes.size
        1
    """
    if not are_started():
        yield ALONE
        return
    has_gpu = torch.cuda.is_available()
    if has_gpu:
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")) % torch.cuda.device_count())
    try:
        dist.init_process_group("cpu:gloo,cuda:nccl" if has_gpu else "gloo", timeout=PATIENCE)
    except (RuntimeError, ValueError) as error:
        raise InputError(f"the processes do not find each other: {_in_words(error)}") from error
    yield Processes.current()
    dist.destroy_process_group()


def _in_words(error: Exception) -> str:
    place = f"{os.environ.get('MASTER_ADDR')}:{os.environ.get('MASTER_PORT')}"
    if "EADDRINUSE" in str(error):
        return f"the port of {place} is in use by another program; give another one, or torchrun --standalone"
    return f"{place}: {next(iter(str(error).splitlines()), type(error).__name__)}"
