"""The batches that training steps are taken on, in an order that each epoch draws anew.

Shapes: N images, H W pixels, C channels (of a tile, where steps take tiles), B images of a batch, S batches of an
epoch; `...` is the model's batch_shape: each of models side by side has an order of its own. Of several processes B is
each one's part of a batch.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from dcgmm.background import Background, pinned
from dcgmm.distributed import ALONE, Processes
from dcgmm.errors import OptionError
from dcgmm.images import to_float
from dcgmm.model import fused
from dcgmm.model.fused.gathered import Gathered
from dcgmm.model.stack import DCGMM
from dcgmm.runtime import fits
from dcgmm.training.options import BATCH, TrainerOptions
from dcgmm.training.tiles import Tiles, Whole

STRETCH = 2**25  # bytes of images on the way to the device at a time


class Batches:
    """Batches of training images, epoch by epoch.

    The order of an epoch is drawn by a thread while the one before is under way. Images that a GPU cannot hold stay
    where they are: a thread gathers the coming batches, a stretch of them, while those before are at work.

    What a step reads lies in the same tensors from the first to the last: a CUDA graph holds their addresses.

    Args:
        images: (N, H, W, C), uint8 or floats.
        options: how many a step, and of which size tiles are.
        model: that they are for.
        generators: of the order, on the CPU; one for each model.
        processes: that share each batch: all draw the same order, and take their part of every batch.

    Raises:
        OptionError: there are fewer images or tiles than one batch takes, tiles are larger than the images, or a batch
            cannot be shared out evenly.
    """

    def __init__(
        self,
        images: Tensor,
        options: TrainerOptions,
        model: DCGMM,
        generators: Sequence[torch.Generator],
        processes: Processes = ALONE,
    ) -> None:
        self._device, self._dtype, self._generators = model.device, model.dtype, list(generators)
        stay = not fits(images, self._device)
        self._images = images if stay else _laid_out(images, self._device, self._dtype)
        given = (self._images, options.block_shuffle)
        self._parts = Whole(*given) if options.tile is None else Tiles(*given, options.tile)
        self.shape, count = self._parts.shape, self._parts.count
        whole = options.batch_size or max(1, min(BATCH, count))  # of all processes
        if count < whole:
            what = "training images" if options.tile is None else "tiles of an epoch"
            raise OptionError("batch_size", f"at most {count}, the number of {what}", whole, TrainerOptions)
        if whole % processes.size:
            rule = f"a multiple of {processes.size}, the number of processes"
            raise OptionError("batch_size", rule, whole, TrainerOptions)
        self.steps_per_epoch, self.batch_size = count // whole, whole // processes.size  # S, B
        self._processes = processes
        self._used = self.steps_per_epoch * self.batch_size
        self._position = torch.zeros(1, dtype=torch.long, device=self._device)  # batches of the order that were taken
        self._starts = [generator.get_state() for generator in generators]  # that the epoch's order is drawn from
        self._coming: Background[tuple[Tensor, list[Tensor]]] | None = None  # the next epoch's order
        shape = (*model.batch_shape, self._used)
        self._stretches = _Stretches(self._parts, images.dtype, shape, self.batch_size, self._device) if stay else None
        if self._stretches is None:
            self._there, tile = self._parts, options.tile
            self._order = torch.zeros(shape, dtype=torch.long, device=self._device)  # of the epoch
        else:
            self._images, self._order, tile = self._stretches.images, self._stretches.order, None
            self._there = Whole(self._images)
        usable = fused.gathers(self._images, self._dtype)
        self._gathered = self._to_gather(tile) if usable else None
        self._is_ordered = False

    def prepare(self, done: int) -> None:
        """Have all at hand for the next step, of an epoch of which some batches are done."""
        if done == 0 or not self._is_ordered:
            self._take_order(done)
        if self._stretches is not None and self._stretches.take(done):
            self._position.fill_(done % self._stretches.length)

    def _take_order(self, done: int) -> None:
        """The order of an epoch; one that is gone on with is that of before."""
        if done == 0:
            self._starts = [generator.get_state() for generator in self._generators]
        orders, ends = self._coming.result() if self._coming is not None else self._drawn(self._starts)
        for generator, end in zip(self._generators, ends, strict=True):
            generator.set_state(end)
        if self._stretches is None:
            self._order.copy_(orders.view(self._order.shape), non_blocking=True)
            self._position.fill_(done)
        else:
            self._stretches.begin(orders)
        self._coming = Background(partial(self._drawn, ends))
        self._is_ordered = True

    def _drawn(self, starts: Sequence[Tensor]) -> tuple[Tensor, list[Tensor]]:  # (models, S B)
        """An epoch's orders, drawn from these states of the generators; and the states after that."""
        orders, ends = [], []
        for start in starts:
            generator = torch.Generator()
            generator.set_state(start)
            drawn = self._parts.drawn(generator, self._used * self._processes.size)
            orders.append(self._own_part(drawn))
            ends.append(generator.get_state())
        return pinned(torch.stack(orders), self._device), ends

    def _own_part(self, order: Tensor) -> Tensor:  # of all processes' batches -> (S B,)
        """What this process takes of an epoch, batch after batch."""
        shares: Tensor = order.unflatten(0, (-1, self._processes.size, self.batch_size))
        return shares[:, self._processes.rank].flatten()

    def coming(self) -> fused.Maps:  # (..., B, H, W, C)
        """The images or tiles of the coming batch, to be taken once; in place and without a look at any value."""
        if self._gathered is not None:
            return self._gathered
        batch = self._at(self._position)
        self._position.add_(1)
        return batch

    def last(self) -> Tensor:  # (..., B, H, W, C)
        """Those of the batch that was taken last, once more."""
        position = self._position - 1
        if self._gathered is not None:
            return fused.gather(replace(self._gathered, position=position))
        return self._at(position)

    def _at(self, position: Tensor) -> Tensor:  # (1,) -> (..., B, H, W, C)
        rows = self._order.unflatten(-1, (-1, self.batch_size)).index_select(-2, position)
        shape = (*self._order.shape[:-1], self.batch_size, *self.shape)
        return to_float(self._there.gathered(rows.flatten()), self._dtype).view(shape)

    def _to_gather(self, tile: Sequence[int] | None) -> Gathered:
        size = None if tile is None else (tile[0], tile[1])
        return Gathered(self._images, self._order, self._position, self.batch_size, size)

    def states(self, done: int) -> list[Tensor]:
        """For each model the state of its generator that an epoch, of which some batches are done, is drawn from."""
        return self._starts if done else [generator.get_state() for generator in self._generators]

    def load_states(self, states: Sequence[Tensor]) -> None:
        """Go on from what `states` gave."""
        for generator, state in zip(self._generators, states, strict=True):
            generator.set_state(state)
        self._starts, self._coming, self._is_ordered = list(states), None, False


def _laid_out(images: Tensor, device: torch.device, dtype: torch.dtype) -> Tensor:
    """Images on a device: on a GPU bytes, or floats of the model's type, as they can be gathered."""
    if device.type != "cuda":
        return images.to(device)
    return images.to(device, images.dtype if images.dtype == torch.uint8 else dtype).contiguous()


class _Stretches:
    """The batches of images that stay on the host, a stretch of them on the device at a time.

    Each stretch is gathered while the one before is at work, and lies where that did, in the order of its batches.

    Args:
        parts: the images, on the host, or tiles of them.
        dtype: their number type.
        shape: (..., S B).
        batch_size: B.
        device: that they are for.
    """

    def __init__(
        self, parts: Whole, dtype: torch.dtype, shape: tuple[int, ...], batch_size: int, device: torch.device
    ) -> None:
        self._parts, self._batch_size = parts, batch_size
        models, steps = math.prod(shape[:-1]), shape[-1] // batch_size
        size = models * batch_size * math.prod(parts.shape) * dtype.itemsize  # bytes of a batch
        self.length = max(1, min(steps, STRETCH // size))  # batches
        rows = models * self.length * batch_size
        self.images = torch.empty(rows, *parts.shape, dtype=dtype, device=device)
        self.order = torch.arange(rows, device=device).view(*shape[:-1], -1)
        self._epoch = torch.empty(models, 0, dtype=torch.long)  # its order, on the host
        self._there: int | None = None  # number of the stretch on the device
        self._coming: tuple[int, Background[Tensor]] | None = None

    def begin(self, order: Tensor) -> None:  # (models, S B), on the host
        """Go on with the batches of an epoch."""
        self._epoch, self._there, self._coming = order, None, None

    def take(self, done: int) -> bool:
        """Have the batch on the device that comes after some of the epoch; whether another stretch came for that."""
        number = done // self.length
        if number == self._there:
            return False
        ahead, self._coming, self._there = self._coming, None, number
        images = ahead[1].result() if ahead is not None and ahead[0] == number else self._gathered(number)
        self.images.view(len(self._epoch), -1, *self._parts.shape)[:, : images.shape[1]].copy_(
            images, non_blocking=True
        )
        if (number + 1) * self.length * self._batch_size < self._epoch.shape[-1]:
            self._coming = number + 1, Background(partial(self._gathered, number + 1))
        return True

    def _gathered(self, number: int) -> Tensor:  # (models, n B, H, W, C)
        rows = self._epoch.split(self.length * self._batch_size, -1)[number]
        shape, is_pinned = (rows.numel(), *self._parts.shape), self.images.is_cuda
        images = torch.empty(shape, dtype=self.images.dtype, pin_memory=is_pinned)
        return self._parts.gathered(rows.flatten(), images).view(*rows.shape, *self._parts.shape)
