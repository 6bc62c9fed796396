"""What an array must be, checked before anything is computed with it: above all before it crosses into compiled code.

A compiled pass reads memory as its shapes say it lies. Each array goes through `dense` or `in_place` with the shape
that the pass will read, which costs half a microsecond.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from dcgmm.errors import InputError, OptionError

CPU = torch.device("cpu")
STORED = {torch.float32, torch.float64, torch.int64, torch.uint8, torch.bool}  # number types in files of ours


def check(
    name: str, array: Tensor, shape: tuple[int, ...], dtype: torch.dtype = torch.float32, device: torch.device = CPU
) -> None:
    """Refuse an array of another shape, number type or device.

    Raises:
        OptionError: it is; the error names the array.

    Examples:
        >>> check("rates", torch.zeros(3), (2,))
        Traceback (most recent call last):
        dcgmm.errors.OptionError: rates must be of shape (2,), float32, on cpu, not of shape (3,), float32, on cpu
    """
    if array.shape != shape or array.dtype != dtype or array.device != device:
        raise OptionError(name, _described(shape, dtype, device), _described(array.shape, array.dtype, array.device))


def dense(name: str, array: Tensor, shape: tuple[int, ...], dtype: torch.dtype = torch.float32) -> Tensor:
    """An array as a compiled pass reads it: of one type, on the CPU, without gaps; copied if it lies otherwise.

    Raises:
        OptionError: it has another shape, number type or device.
    """
    check(name, array, shape, dtype)
    return array.contiguous()


def in_place(name: str, array: Tensor, shape: tuple[int, ...]) -> Tensor:
    """As `dense`, for an array that a pass writes to: never a copy.

    Raises:
        OptionError: it has another shape, number type or device, or gaps.
    """
    check(name, array, shape)
    if not array.is_contiguous():
        raise OptionError(name, "contiguous", f"of strides {array.stride()}")
    return array


def check_step(
    shape: tuple[int, ...],  # (..., N, H, W, C), of x
    kernel: Tensor | None,  # (..., S, S)
    rates: Mapping[str, Tensor],  # (...) each
    like: Tensor,  # (...), of the parameters' number type and device
    side: int,  # S
) -> None:
    """Refuse arrays that do not fit a layer's parameters.

    Raises:
        OptionError: one has another shape, number type or device, or there are no samples.
    """
    batch, kind = tuple(like.shape), (like.dtype, like.device)
    if tuple(shape[:-4]) != batch or len(shape) != len(batch) + 4:
        raise OptionError("x", f"of shape {(*batch, 'N', 'H', 'W', 'C')}", tuple(shape))
    if not shape[-4]:
        raise OptionError("x", "of at least one sample", "empty")
    if kernel is not None:
        check("kernel", kernel, (*batch, side, side), *kind)
    for name, rate in rates.items():
        check(f"rates.{name}", rate, batch, *kind)


def check_stored(state: Mapping[str, Any]) -> None:
    """Refuse a state out of a file in which a tensor is no plain array: all of its numbers lie in the file, in a row.

    A file may hold sparse, quantised and complex tensors, such as lie nowhere, and such as repeat a few stored values.

    Raises:
        InputError: one is none; its place is named.

    Example:
        >>> check_stored({"model": {"loc": torch.zeros(1).expand(10**12)}})
        Traceback (most recent call last):
        dcgmm.errors.InputError: model.loc is no array of numbers
    """
    parts: list[tuple[str, Any]] = [("", state)]
    seen = set[int]()  # what holds itself has no end
    while parts:
        place, value = parts.pop()
        if isinstance(value, Tensor):
            if not _is_plain(value):
                raise InputError(f"{place} is no array of numbers")
        elif isinstance(value, Mapping | list | tuple) and id(value) not in seen:
            seen.add(id(value))
            inner = value.items() if isinstance(value, Mapping) else enumerate(value)
            parts += [(f"{place}.{key}" if place else str(key), each) for key, each in inner]


def _is_plain(value: Tensor) -> bool:
    if value.layout is not torch.strided or value.device != CPU or value.dtype not in STORED:
        return False
    repeats = any(stride == 0 < size - 1 for stride, size in zip(value.stride(), value.shape, strict=True))
    return not repeats and value.untyped_storage().nbytes() >= value.nbytes


def _described(shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> str:
    return f"of shape {tuple(shape)}, {str(dtype).removeprefix('torch.')}, on {device}"


def added(value: Tensor, total: Tensor | None) -> Tensor:  # (...), (...)
    """A value, after it was added to a total, if there is one."""
    if total is not None:
        total += value
    return value
