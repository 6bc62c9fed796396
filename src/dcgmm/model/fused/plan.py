"""How a step's work is cut into blocks for a GPU."""

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

    @property
    def whole(self) -> bool:
        """Whether the kernel that scores has all features of its points."""
        return self.splits == 1


SUM_BLOCK = 32  # points and features at a time, where sums have a kernel of their own
SHARES = 4  # programs a multiprocessor, at most: more would only leave more sums to add


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
    # As many points at a time as spill no registers, where there are enough of them for all multiprocessors.
    if padded > 64 or (points < 1024 and not few):
        size = LEAST
    else:
        size = 64 if points >= 1024 and few and block * padded <= 512 else 32
    blocks = -(-points // size)
    turns = _turns(models, blocks, units)
    parts = -(-blocks // turns)
    splits = 1 if few or turns > 1 else max(1, min(-(-features // 128), units // max(1, parts * models)))
    split = features if splits == 1 else -(-features // splits // block) * block
    if few:
        pieces, stretch = parts, turns * size
    else:
        wanted = max(1, min(-(-points // SUM_BLOCK), 2 * units // max(1, -(-features // SUM_BLOCK) * models)))
        stretch = -(-points // wanted // SUM_BLOCK) * SUM_BLOCK
        pieces = -(-points // stretch)
    return Plan(padded, size, turns, parts, block, -(-features // split), split, few, pieces, stretch)


def _turns(models: int, blocks: int, units: int) -> int:
    """Blocks of points that a program takes, so that all are done the soonest.

    A multiprocessor has the registers for one program at a time, seldom for two: programs come in waves.
    """
    least = -(-blocks // max(1, SHARES * units // models))

    def time(turns: int) -> int:
        return -(-models * -(-blocks // turns) // units) * turns

    return min(range(least, SHARES * least + 1), key=time)


def padded_size(size: int) -> int:
    """The least power of two that holds it, and can be multiplied as a block."""
    return max(LEAST, 1 << (size - 1).bit_length())
