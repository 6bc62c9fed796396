"""The hot passes of a GMM layer on a GPU, in Triton (`kernels`).

They do what `GMM.step`, `Patches.contract` and `Pooling` say in tensors, for float32, in two to four launches a layer
instead of some forty. Without Triton, which comes with PyTorch's builds for CUDA, one older than 3.5, or without the C
compiler that it needs, tensors do all the work, and the log says why.

Products are made on tensor cores of three of shortened factors each (`tf32x3`), which keep 22 of float32's 24 bits. On
an H200 parameters after 30 steps (2L-c, 3L-a, 1L, ten 2L-c) lay as far from float64's as by products of float32 as such
(`ieee`), to all digits, in up to a third less time. Factors that are shortened only (`tf32`) choose other winners.
"""

import functools
import importlib
import logging
import math
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Concatenate, ParamSpec, TypeVar

import torch
from torch import Tensor

from dcgmm.model.fused.gathered import Gathered
from dcgmm.model.fused.plan import MOST_COMPONENTS, SUM_BLOCK, plan, scoring_blocks
from dcgmm.model.shapes import Window

log = logging.getLogger(__name__)

KIB = 1024
PRECISION = "tf32x3"
BLOCK = 512  # values that a kernel without products takes at a time
MOST_POINTS, MOST_FEATURES = 2**31 - 2**20, 2**22  # which kernels count in 32 bits, with what they are multiplied with


Maps = Tensor | Gathered  # (..., N, H, W, C)
M = TypeVar("M", bound=Maps)
P = ParamSpec("P")
R = TypeVar("R")


def _on_its_device(launch: Callable[Concatenate[M, P], R]) -> Callable[Concatenate[M, P], R]:
    """Launch on the GPU that the first tensor is on: Triton takes the current one."""

    @functools.wraps(launch)
    def on_its_device(first: M, /, *args: P.args, **kwargs: P.kwargs) -> R:
        with torch.cuda.device_of(first):
            return launch(first, *args, **kwargs)

    return on_its_device


def takes(components: int, maps: Maps, *parameters: Tensor) -> bool:
    """Whether `step` can work on these: float32 on a GPU, no gradients wanted, not too many components, and Triton."""
    if not contracts(maps, *parameters) or components > most_components(maps.device):
        return False
    return all(each.is_contiguous() for each in parameters)  # it changes them where they lie


def contracts(*tensors: Maps) -> bool:
    """Whether `contract` and `pool` can work on these, whatever the number of components."""
    return (
        not torch.is_grad_enabled()
        and all(each.dtype == torch.float32 and each.is_cuda for each in tensors)
        and available(tensors[0].device)
        and most_components(tensors[0].device) > 0
        and tensors[0].shape[-4:-1].numel() <= MOST_POINTS
        and all(each.shape[-1] <= MOST_FEATURES for each in tensors[1:])
    )


def gathers(images: Tensor, dtype: torch.dtype) -> bool:
    """Whether batches of these images may be `Gathered`, for floats of this type."""
    usable = dtype == torch.float32 and images.dtype in (torch.uint8, torch.float32)
    return usable and images.is_cuda and images.is_contiguous() and available(images.device)


def why_not(components: int, parameter: Tensor) -> str | None:
    """Why steps of a layer go by tensors on a GPU whose kernels are `available`; None where they do not."""
    if parameter.dtype != torch.float32:
        return f"the model is in {str(parameter.dtype).removeprefix('torch.')}"
    if components > (most := most_components(parameter.device)):
        return f"steps of at most {most} components fit this GPU"
    return None


@functools.cache
def available(device: torch.device) -> bool:
    """Whether Triton makes kernels for this GPU: tried once on a small one; if not, the log says why."""
    try:
        _check(device)
        pool(torch.ones(1, 1, 1, 1, device=device), Window((1, 1), (1, 1)), 1, 1)
    except Exception as error:  # whatever a driver, a compiler or an import may raise
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        log.warning("no fused passes on %s, which is slower without: %s", device, reason)
        return False
    return True


def _check(device: torch.device) -> None:
    """Raise a RuntimeError where the kernels are not for a GPU: they multiply on tensor cores, in tf32."""
    if torch.version.hip is not None:
        raise RuntimeError("they are for NVIDIA's GPUs")
    if device.type == "cuda" and (capability := torch.cuda.get_device_capability(device)) < (8, 0):
        raise RuntimeError(f"they need compute capability 8.0, and this is {'.'.join(map(str, capability))}")


@_on_its_device
def contract(
    x: Tensor,  # (..., N, H, W, C)
    window: Window,
    linear: Tensor,  # (..., K, D)
    precision: Tensor,  # (..., K, D)
    constant: Tensor,  # (..., K)
) -> Tensor:  # (..., N, H', W', K)
    """constant_k + <linear_k, x> - <precision_k, x^2> / 2 for the patch at every position of a window."""
    x, linear, precision, constant = (each.contiguous() for each in (x, linear, precision, constant))
    models, (components, features) = math.prod(linear.shape[:-2]), linear.shape[-2:]
    rows, columns = window.positions(*x.shape[-3:-1])
    scores = x.new_empty(*x.shape[:-3], rows, columns, components)
    points = x.shape[-4] * rows * columns
    size, block, width = scoring_blocks(models, points, components, _multiprocessors(x.device))
    parts = -(-points // size)
    grid = (models * parts, -(-components // block))
    samples, _, *maps = _map_shapes(x, window)
    shapes = (samples, *maps, components, features, points, parts)
    blocks = {"BP": size, "KP": block, "BD": width, "PRECISION": PRECISION}
    _kernels().contract_kernel[grid](x, linear, precision, constant, scores, *shapes, **blocks)
    return scores


@_on_its_device
def step(
    x: Maps,  # (..., N, H, W, C)
    window: Window,
    parameters: Sequence[Tensor],  # logits (..., K), loc (..., K, D), precision_sqrt (..., K, D), changed in place
    kernel: Tensor | None,  # (..., S, S), S = sqrt(K)
    rates: Sequence[Tensor],  # (...) each, of the parameters
    limits: tuple[float, float],  # of precision_sqrt
    *,
    passes_on: bool,
    total: Tensor | None = None,  # (...), to which the objective is added
) -> tuple[Tensor, Tensor | None]:  # (...), (..., N, H', W', K)
    """`GMM.step`: one step of SGD ascent; the objective and the responsibilities that it started from.

    It takes what is `Gathered`: byte by byte where the images lie, each as often as patches overlap. That is a quarter
    of what floats in their place would have to be read, and these would have to be written first.
    """
    logits, loc, precision_sqrt = parameters
    components, features = loc.shape[-2:]
    x = x if isinstance(x, Gathered) else x.contiguous()
    models, (rows, columns) = math.prod(logits.shape[:-1]), window.positions(*x.shape[-3:-1])
    points = x.shape[-4] * rows * columns
    blocks = plan(models, points, features, components, _multiprocessors(x.device))
    smooth, kernels = kernel is not None, _kernels()
    side = math.isqrt(components)
    value = loc.new_empty(logits.shape[:-1])
    posterior = loc.new_empty(*x.shape[:-3], rows, columns, components) if passes_on else None
    # A kernel needs an address for what it does not look at, too.
    kernel, stored = (loc if kernel is None else kernel.contiguous()), (value if posterior is None else posterior)
    values, counts = loc.new_empty(models, blocks.parts), loc.new_empty(models, blocks.parts, blocks.components)
    sums = loc.new_empty(models, features, 2, blocks.pieces, blocks.components)
    winners = value if blocks.sums else torch.empty(models, points, dtype=torch.int32, device=x.device)
    partial = value if blocks.whole else loc.new_empty(models, blocks.splits, points, blocks.components)

    lies, maps, sizes = _lies(x), _map_shapes(x, window), (components, features, points)
    gathered = isinstance(x, Gathered)
    products = {"PRECISION": PRECISION, "num_warps": blocks.warps}
    outcomes = {"SIDE": side, "SMOOTH": smooth, "PASSES": passes_on, **products}
    padded = {"BP": blocks.points, "KP": blocks.components}
    kernels.scores_kernel[(models * blocks.parts, blocks.splits)](
        *(*lies, logits, loc, precision_sqrt, kernel, stored, winners, values, counts, sums, partial),
        *(*maps, *sizes, blocks.parts, blocks.turns, blocks.split),
        **padded,
        BD=blocks.features,
        SUMS=blocks.sums,
        WHOLE=blocks.whole,
        GATHERED=gathered,
        **outcomes,
    )
    if not blocks.whole:
        kernels.finish_kernel[(models * blocks.parts,)](
            *(partial, logits, kernel, stored, winners, values, counts, *sizes, blocks.parts, blocks.splits),
            **padded,
            **outcomes,
        )
    if not blocks.sums:
        kernels.sums_kernel[(models * -(-features // SUM_BLOCK), blocks.pieces)](
            *(*lies, kernel, winners, sums, *maps, *sizes, blocks.stretch),
            **{"BP": SUM_BLOCK, "KP": blocks.components, "BD": SUM_BLOCK, "SIDE": side, "SMOOTH": smooth},
            GATHERED=gathered,
            **products,
        )
    kernels.update_kernel[(models * -(-features // blocks.own),)](
        *(logits, loc, precision_sqrt, *rates, values, counts, sums, value, value if total is None else total),
        *(x.position if isinstance(x, Gathered) else value, *sizes, blocks.parts, blocks.pieces, *limits),
        **{"KP": blocks.components, "BD": blocks.own, "ROWS": blocks.rows},
        **{"ADDS": total is not None, "MOVES": gathered},
    )
    return value, posterior


def taken(batch: Maps) -> Tensor:  # (..., B, H, W, C) float32
    """Maps as a tensor: of what is gathered the coming batch, after which the next one is to come."""
    if not isinstance(batch, Gathered):
        return batch
    images = gather(batch)
    batch.position.add_(1)
    return images


@_on_its_device
def gather(batch: Gathered) -> Tensor:  # (..., B, H, W, C) float32
    """The images or tiles of a batch, bytes scaled to [0, 1]."""
    out = torch.empty(batch.shape, dtype=batch.dtype, device=batch.device)
    made, run = batch.shape[-3:].numel(), batch.shape[-2:].numel()
    _kernels().gather_kernel[(out.shape[:-3].numel() * -(-made // BLOCK),)](
        *(*_lies(batch), out, batch.batch_size, batch.order.shape[-1], batch.unit, batch.line, run, made), BLOCK=BLOCK
    )
    return out


@_on_its_device
def pool(x: Tensor, window: Window, rows: int, columns: int) -> Tensor:  # (..., H, W, C) -> (..., rows, columns, C)
    """The largest value of each channel in each window; a partial window counts."""
    x = x.contiguous()
    out = x.new_empty(*x.shape[:-3], rows, columns, x.shape[-1])
    _kernels().pool_kernel[(out.shape[:-2].numel(), -(-out.shape[-2:].numel() // BLOCK))](
        *(x, out, *x.shape[-3:], rows, columns, *window.kernel, *window.stride), BLOCK=BLOCK
    )
    return out


def _lies(x: Maps) -> tuple[Tensor, Tensor, Tensor]:
    """Values, the order and the position in it; a kernel needs addresses for those that it does not look at, too."""
    return (x.images, x.order, x.position) if isinstance(x, Gathered) else (x, x, x)


def _map_shapes(x: Maps, window: Window) -> tuple[int, ...]:
    """N, count, size, rows, columns, down, right, line and run, as the kernels take them."""
    samples, height, width, channels = x.shape[-4:]
    line, size = width * channels, height * width * channels
    count = 0
    if isinstance(x, Gathered):
        line, size, count = x.line, x.unit, x.order.shape[-1]
    (down, right), run = window.stride, window.kernel[1] * channels
    return (samples, count, size, *window.positions(height, width), down * line, right * channels, line, run)


def _kernels() -> ModuleType:
    """The kernels. Imported here: Triton takes its time, and is not everywhere."""
    return importlib.import_module("dcgmm.model.fused.kernels")


@functools.cache
def most_components(device: torch.device) -> int:
    """Of which a step's blocks fit the shared memory of this GPU: 128 need 96 KiB, 64 up to 80."""
    shared = getattr(torch.cuda.get_device_properties(device), "shared_memory_per_block_optin", 0)
    return MOST_COMPONENTS if shared >= 100 * KIB else 64 if shared >= 84 * KIB else 0


@functools.cache
def _multiprocessors(device: torch.device) -> int:
    """Of a GPU; as many as an H100 has for Triton's interpreter."""
    return torch.cuda.get_device_properties(device).multi_processor_count if device.type == "cuda" else 132
