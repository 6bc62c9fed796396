"""How a step's work is cut into blocks for a GPU."""

import functools
from dataclasses import dataclass

LEAST = 16  # the least side of a block that is multiplied
MOST_COMPONENTS = 128  # of which a block of scores still fits the registers


@dataclass(frozen=True)
class Plan:
    """Blocks of one layer's step.

    A layer with few features is scored and summed up by one kernel. One with many, and few points to share among the
    multiprocessors, has its features split among programs, whose sums are added by another kernel.
    """

    components: int  # K, padded
    points: int  # at a time
    turns: int  # of so many points that a program takes, one after the other
    parts: int  # programs that share the points
    features: int  # at a time
    splits: int  # of the features
    split: int  # features of one
    sums: bool  # whether the kernel that scores sums up as well
    pieces: int  # into which the points are cut for their sums
    stretch: int  # points of one
    own: int  # features that a program updates
    rows: int  # of their sums' pieces at a time
    warps: int  # of the programs with products: as many as spill no registers

    @property
    def whole(self) -> bool:
        """Whether the kernel that scores has all features of its points."""
        return self.splits == 1


SUM_BLOCK = 32  # points and features at a time, where sums have a kernel of their own
VALUES = 4096  # of sums that a program adds at a time
FINISH = 4  # blocks of features that take as long as another kernel
MOST_SPLITS = 64
SHARES = 4  # programs a multiprocessor, at most: more would only leave more sums to add


@functools.cache
def plan(models: int, points: int, features: int, components: int, units: int = 132) -> Plan:
    """The blocks of a step.

    Args:
        models: R, side by side.
        points: P of each.
        features: D.
        components: K, at most `MOST_COMPONENTS`.
        units: multiprocessors of the GPU.
    """
    padded = padded_size(components)
    # Else the sums of a part spill registers.
    few = features <= 64 and padded <= 64 and padded * padded_size(features) <= 2048
    block = padded_size(features) if few else 32
    most = LEAST if padded > 64 else 32 if padded > 32 or (few and block == 32) else 64  # as spill no registers
    size = _points(models, points, most, units) if few or points >= 1024 else LEAST
    blocks = -(-points // size)
    turns = _turns(models, blocks, units)
    parts = -(-blocks // turns)
    splits = 1 if few or turns > 1 else _splits(models * parts, -(-features // block), units)
    split = features if splits == 1 else -(-features // splits // block) * block
    if few:
        pieces, stretch = parts, turns * size
    else:
        wanted = max(1, min(-(-points // SUM_BLOCK), 2 * units // max(1, -(-features // SUM_BLOCK) * models)))
        stretch = -(-points // wanted // SUM_BLOCK) * SUM_BLOCK
        pieces = -(-points // stretch)
    own = max(each for each in (1, 2, 4, 8) if each == 1 or models * features >= each * units)
    rows = min(1 << (pieces - 1).bit_length(), VALUES // (own * padded))
    splits, warps = -(-features // split), 8 if padded > 32 else 4
    return Plan(padded, size, turns, parts, block, splits, split, few, pieces, stretch, own, rows, warps)


def _points(models: int, points: int, most: int, units: int) -> int:
    """As many points at a time as leave work for half of the multiprocessors."""
    return next((size for size in (64, 32) if size <= most and models * points >= size * units // 2), LEAST)


def _turns(models: int, blocks: int, units: int) -> int:
    """Blocks of points that a program takes, so that all are done the soonest.

    A multiprocessor has the registers for one program at a time, seldom for two: programs come in waves.
    """
    least = -(-blocks // max(1, SHARES * units // models))

    def time(turns: int) -> int:
        return -(-models * -(-blocks // turns) // units) * turns

    return min(range(least, SHARES * least + 1, max(1, least // 64)), key=time)


def _splits(programs: int, blocks: int, units: int) -> int:
    """Parts of the blocks of features, so that all are done the soonest; to add them takes its time, too."""

    def time(splits: int) -> float:
        added = 0.0 if splits == 1 else (FINISH + splits / 4) * -(-programs // units)
        return -(-programs * splits // units) * -(-blocks // splits) + added

    return min(range(1, min(blocks, MOST_SPLITS) + 1), key=time)


def padded_size(size: int) -> int:
    """The least power of two that holds it, and can be multiplied as a block."""
    return max(LEAST, 1 << (size - 1).bit_length())


def scoring_blocks(models: int, points: int, components: int, units: int = 132) -> tuple[int, int, int]:
    """Points, components and features at a time of scores without a step: the largest that give all units work."""
    size, block = 64, min(64, padded_size(components))
    while size > LEAST and models * -(-points // size) * -(-components // block) < units:
        size //= 2
    while block > LEAST and models * -(-points // size) * -(-components // block) < units:
        block //= 2
    return size, block, 32
