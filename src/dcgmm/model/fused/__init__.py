"""The hot passes of a GMM layer on a GPU, in Triton (`kernels`).

They do what `GMM.step`, `Patches.contract` and `Pooling` say in tensors, for float32, in two to four launches a layer
instead of some forty. Without Triton, which comes with PyTorch's builds for CUDA, or without the C compiler that it
needs, tensors do all the work.

Products are of float32 as such (`ieee`), never of shortened factors (`tf32`): these would choose other winners.
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

from dcgmm.model.fused.plan import LEAST, MOST_COMPONENTS, SUM_BLOCK, padded_size, plan
from dcgmm.model.shapes import Window

log = logging.getLogger(__name__)

KIB = 1024
PRECISION = "ieee"
WARPS = 8  # of products of float32: at 4 they spill registers
ROWS = 32  # of partial sums that are added at a time
BLOCK = 512  # values that a kernel without products takes at a time


P = ParamSpec("P")
R = TypeVar("R")


def _on_its_device(launch: Callable[Concatenate[Tensor, P], R]) -> Callable[Concatenate[Tensor, P], R]:
    """Launch on the GPU that the first tensor is on: Triton takes the current one."""

    @functools.wraps(launch)
    def on_its_device(first: Tensor, /, *args: P.args, **kwargs: P.kwargs) -> R:
        with torch.cuda.device_of(first):
            return launch(first, *args, **kwargs)

    return on_its_device


def takes(components: int, *tensors: Tensor) -> bool:
    """Whether `step` can work on these: float32 on a GPU, no gradients wanted, not too many components, and Triton."""
    return contracts(*tensors) and components <= most_components(tensors[0].device)


def contracts(*tensors: Tensor) -> bool:
    """Whether `contract` and `pool` can work on these, whatever the number of components."""
    return (
        not torch.is_grad_enabled()
        and all(each.dtype == torch.float32 and each.is_cuda for each in tensors)
        and available(tensors[0].device)
    )


def gathers(images: Tensor, dtype: torch.dtype) -> bool:
    """Whether `gather` can make floats of this type of these images."""
    usable = dtype == torch.float32 and images.dtype in (torch.uint8, torch.float32)
    return usable and images.is_cuda and images.is_contiguous() and available(images.device)


@functools.cache
def available(device: torch.device) -> bool:
    """Whether Triton makes kernels for this GPU: tried once on a small one; if not, the log says why."""
    try:
        pool(torch.ones(1, 1, 1, 1, device=device), Window((1, 1), (1, 1)), 1, 1)
    except Exception as error:  # whatever a driver, a compiler or an import may raise
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        log.warning("no fused passes on %s, which is slower without: %s", device, reason)
        return False
    return True


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
    part, block = (32 if points >= 1024 else LEAST), min(MOST_COMPONENTS, padded_size(components))
    grid = (-(-points // part), -(-components // block), models)
    shapes = (*_map_shapes(x, window), components, features, points)
    blocks = {"BP": part, "KP": block, "BD": 32, "PRECISION": PRECISION}
    _kernels().contract_kernel[grid](x, linear, precision, constant, scores, *shapes, **blocks, num_warps=WARPS)
    return scores


@_on_its_device
def step(
    x: Tensor,  # (..., N, H, W, C)
    window: Window,
    parameters: Sequence[Tensor],  # logits (..., K), loc (..., K, D), precision_sqrt (..., K, D), changed in place
    kernel: Tensor | None,  # (..., S, S), S = sqrt(K)
    rates: Sequence[Tensor],  # (...) each, of the parameters
    limits: tuple[float, float],  # of precision_sqrt
    *,
    passes_on: bool,
    total: Tensor | None = None,  # (...), to which the objective is added
) -> tuple[Tensor, Tensor | None]:  # (...), (..., N, H', W', K)
    """`GMM.step`: one step of SGD ascent; the objective and the responsibilities that it started from."""
    logits, loc, precision_sqrt = parameters
    x, (components, features) = x.contiguous(), loc.shape[-2:]
    models, (rows, columns) = math.prod(logits.shape[:-1]), window.positions(*x.shape[-3:-1])
    points = x.shape[-4] * rows * columns
    blocks = plan(models, points, features, components, _multiprocessors(x.device))
    smooth, kernels = kernel is not None, _kernels()
    side = math.isqrt(components)
    value = x.new_empty(logits.shape[:-1])
    posterior = x.new_empty(*x.shape[:-3], rows, columns, components) if passes_on else None
    # A kernel needs an address for what it does not look at, too.
    kernel, stored = (loc if kernel is None else kernel.contiguous()), (value if posterior is None else posterior)
    values, counts = x.new_empty(models, blocks.parts), x.new_empty(models, blocks.parts, blocks.components)
    sums = x.new_empty(models, features, 2, blocks.pieces, blocks.components)
    winners = value if blocks.sums else torch.empty(models, points, dtype=torch.int32, device=x.device)
    partial = value if blocks.whole else x.new_empty(models, blocks.splits, points, blocks.components)

    maps, sizes = _map_shapes(x, window), (components, features, points)
    outcomes = {"SIDE": side, "SMOOTH": smooth, "PASSES": passes_on, "PRECISION": PRECISION, "num_warps": WARPS}
    padded = {"BP": blocks.points, "KP": blocks.components}
    kernels.scores_kernel[(blocks.parts, blocks.splits, models)](
        *(x, logits, loc, precision_sqrt, kernel, stored, winners, values, counts, sums, partial),
        *(*maps, *sizes, blocks.parts, blocks.split),
        **padded,
        BD=blocks.features,
        SUMS=blocks.sums,
        WHOLE=blocks.whole,
        **outcomes,
    )
    if not blocks.whole:
        kernels.finish_kernel[(blocks.parts, 1, models)](
            *(partial, logits, kernel, stored, winners, values, counts, *sizes, blocks.parts, blocks.splits),
            **padded,
            **outcomes,
        )
    if not blocks.sums:
        kernels.sums_kernel[(-(-features // SUM_BLOCK), blocks.pieces, models)](
            *(x, winners, sums, *maps, features, points, blocks.stretch),
            **{"BP": SUM_BLOCK, "KP": blocks.components, "BD": SUM_BLOCK, "PRECISION": PRECISION, "num_warps": WARPS},
        )
    kernels.update_kernel[(features, 1, models)](
        *(logits, loc, precision_sqrt, kernel, *rates, values, counts, sums, value, value if total is None else total),
        *(*sizes, blocks.parts, blocks.pieces, *limits),
        **{"KP": blocks.components, "SIDE": side, "SMOOTH": smooth, "STEP": ROWS, "ADDS": total is not None},
        num_warps=max(2, blocks.components // 16),
    )
    return value, posterior


@_on_its_device
def gather(
    images: Tensor,  # (M, H, W, C), uint8 or float32
    order: Tensor,  # (..., S B) int64: rows of `images`, batch after batch
    position: Tensor,  # () int64: of a batch among the S
    batch_size: int,  # B
) -> Tensor:  # (..., B, H, W, C) float32
    """The images of a batch, bytes scaled to [0, 1]; its position is read on the device."""
    size, models = images.shape[1:].numel(), math.prod(order.shape[:-1])
    out = torch.empty(*order.shape[:-1], batch_size, *images.shape[1:], dtype=torch.float32, device=images.device)
    _kernels().gather_kernel[(-(-size // BLOCK), batch_size, models)](
        *(images, order, position, out, order.shape[-1], size),
        BYTES=images.dtype == torch.uint8,
        BLOCK=BLOCK,
    )
    return out


@_on_its_device
def pool(x: Tensor, window: Window, rows: int, columns: int) -> Tensor:  # (..., H, W, C) -> (..., rows, columns, C)
    """The largest value of each channel in each window; a partial window counts."""
    x = x.contiguous()
    out = x.new_empty(*x.shape[:-3], rows, columns, x.shape[-1])
    _kernels().pool_kernel[(-(-out.numel() // BLOCK),)](
        *(x, out, *x.shape[-3:], rows, columns, *window.kernel, *window.stride, out.numel()), BLOCK=BLOCK
    )
    return out


def _map_shapes(x: Tensor, window: Window) -> tuple[int, ...]:
    """N, H, W, C, rows, columns, sh, sw and the length of a patch's rows, as the kernels take them."""
    height, width, channels = x.shape[-3:]
    return (*x.shape[-4:], *window.positions(height, width), *window.stride, window.kernel[1] * channels)


def _kernels() -> ModuleType:
    """The kernels. Imported here: Triton takes its time, and is not everywhere."""
    return importlib.import_module("dcgmm.model.fused.kernels")


@functools.cache
def most_components(device: torch.device) -> int:
    """Of which a step's blocks fit the shared memory of this GPU: 128 need 100 KiB, 64 need 65."""
    shared = getattr(torch.cuda.get_device_properties(device), "shared_memory_per_block_optin", 0)
    return MOST_COMPONENTS if shared >= 104 * KIB else 64 if shared >= 68 * KIB else 0


@functools.cache
def _multiprocessors(device: torch.device) -> int:
    """Of a GPU; as many as an H100 has for Triton's interpreter."""
    return torch.cuda.get_device_properties(device).multi_processor_count if device.type == "cuda" else 132
