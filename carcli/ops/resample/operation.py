"""Content adaptive resampling as an operation that is differentiable, and that compilers see as one.

``resample`` is the one entry point: it takes the fused kernels of the device where it can, and
the definition everywhere else. The fused path is three operators of torch's dispatcher, so that
``torch.compile`` and ``torch.export`` record a call and look no further. Their relative overhead
over a bare ``autograd.Function``: a tenth of a millisecond a call, forwards and backwards, whatever
the size; less than 0.02 % of a training step of recipe edsr-base-x4 (two cores), and not measurable
at 16 LR images of 24x24 pixels or one of 256x256. So there is no second path outside of tracing.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from carcli.ops.quantise import to_uint8
from carcli.ops.resample import dispatch
from carcli.ops.resample.definition import HEADS, Heads, Resampling, resample_composition

_INPUTS = "Tensor image, Tensor kernels, Tensor offsets_h, Tensor offsets_v"


@torch.library.custom_op("carcli::resample", mutates_args=(), schema=f"({_INPUTS}, int scale, str heads) -> (Tensor, Tensor)")
def _resample(
    image: Tensor, kernels: Tensor, offsets_h: Tensor, offsets_v: Tensor, scale: int, heads: Heads
) -> tuple[Tensor, Tensor]:
    """The LR image, and the sums that ``carcli::resample_backward`` wants of it."""
    problem = Resampling(image, kernels, offsets_h, offsets_v, scale=scale, heads=heads)
    return dispatch.kernel_for(image.device).forward(problem)


@_resample.register_fake
def _(image: Tensor, kernels: Tensor, offsets_h: Tensor, offsets_v: Tensor, scale: int, heads: Heads) -> tuple[Tensor, Tensor]:
    b, _, h, w = kernels.shape
    planes = dispatch.kernel_for(image.device).SUMS
    work = torch.float64 if kernels.dtype == torch.float64 else torch.float32
    return image.new_empty((b, 3, h, w), dtype=work), image.new_empty((b, planes, h, w), dtype=work)


@torch.library.custom_op(
    "carcli::resample_backward",
    mutates_args=(),
    schema=f"(Tensor grad, Tensor lr, Tensor sums, {_INPUTS}, int scale, str heads, bool want_image)"
    " -> (Tensor, Tensor, Tensor, Tensor)",
)
def _resample_backward(
    grad: Tensor,
    lr: Tensor,
    sums: Tensor,
    image: Tensor,
    kernels: Tensor,
    offsets_h: Tensor,
    offsets_v: Tensor,
    scale: int,
    heads: Heads,
    want_image: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Gradients of image (empty unless wanted), kernels and offsets for that of the LR image."""
    problem = Resampling(image, kernels, offsets_h, offsets_v, scale=scale, heads=heads)
    return dispatch.kernel_for(image.device).backward(problem, grad, lr, sums, want_image=want_image)


@_resample_backward.register_fake
def _(
    grad: Tensor,
    lr: Tensor,
    sums: Tensor,
    image: Tensor,
    kernels: Tensor,
    offsets_h: Tensor,
    offsets_v: Tensor,
    scale: int,
    heads: Heads,
    want_image: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    problem = Resampling(image, kernels, offsets_h, offsets_v, scale=scale, heads=heads)
    d_kernels, d_offsets_h, d_offsets_v = dispatch.kernel_for(image.device).empty_gradients(problem)
    return image.new_empty(image.shape if want_image else (0,)), d_kernels, d_offsets_h, d_offsets_v


def _keep(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    """What the forward pass leaves to the backward pass."""
    *tensors, ctx.scale, ctx.heads = inputs
    lr, sums = output
    ctx.mark_non_differentiable(sums)
    ctx.save_for_backward(lr, sums, *tensors)


def _gradients(ctx: Any, grad: Tensor, _: Tensor | None) -> tuple[Tensor | None, ...]:
    want_image = ctx.needs_input_grad[0]
    d_image, *d_taps = _resample_backward(grad, *ctx.saved_tensors, ctx.scale, ctx.heads, want_image)
    return d_image if want_image else None, *d_taps, None, None


_resample.register_autograd(_gradients, setup_context=_keep)


@torch.library.custom_op("carcli::resample_rounded", mutates_args=(), schema=f"({_INPUTS}, int scale, str heads) -> Tensor")
def _resample_rounded(image: Tensor, kernels: Tensor, offsets_h: Tensor, offsets_v: Tensor, scale: int, heads: Heads) -> Tensor:
    """The LR image as 8-bit levels."""
    problem = Resampling(image, kernels, offsets_h, offsets_v, scale=scale, heads=heads)
    return dispatch.kernel_for(image.device).forward(problem, rounded=True)[0]


@_resample_rounded.register_fake
def _(image: Tensor, kernels: Tensor, offsets_h: Tensor, offsets_v: Tensor, scale: int, heads: Heads) -> Tensor:
    b, _, h, w = kernels.shape
    return image.new_empty((b, 3, h, w), dtype=torch.uint8)


def _check(image: Tensor, kernels: Tensor, offsets_h: Tensor, offsets_v: Tensor, scale: int, heads: str) -> None:
    if heads not in HEADS:
        raise ValueError(f"heads must be one of {', '.join(HEADS)}, not {heads!r}")
    if image.dim() != 4 or kernels.dim() != 4:
        raise ValueError("image must be (B, C, H, W) and kernels (B, k², h, w)")
    if not (image.is_floating_point() or image.dtype == torch.uint8):
        raise ValueError(f"image must be floating point in [0, 1] or uint8, not {image.dtype}")
    b, taps, h, w = kernels.shape
    k = math.isqrt(taps)
    if k * k != taps or k % 2 == 0:
        raise ValueError(f"kernels need k² channels with k odd, not {taps}")
    if offsets_h.shape != kernels.shape or offsets_v.shape != kernels.shape:
        raise ValueError("kernels, offsets_h and offsets_v must have one shape")
    if image.shape[0] != b or image.shape[2] != h * scale or image.shape[3] != w * scale:
        raise ValueError(f"image {tuple(image.shape)} is not {scale} times the LR size {(b, h, w)}")


def resample(
    image: Tensor,
    kernels: Tensor,
    offsets_h: Tensor,
    offsets_v: Tensor,
    scale: int,
    *,
    heads: Heads = "plain",
    rounded: bool = False,
) -> Tensor:
    """Resample an HR image with a kernel and k² sample offsets of its own for every LR pixel.

    Tap (ky, kx) of LR pixel (y, x) samples the HR image, mirrored by k // 2 at its borders, at
    row (y + 0.5)·s − 0.5 + ky − k//2 + s·offset_v and the column likewise, bilinearly
    (the offset unit is s HR pixels). Differentiable with respect to the image, the kernels
    and the offsets (equations 4 to 6 of the paper).

    Parameters
    ----------
    image : (B, C, H, W), float in [0, 1] or uint8 in 0..255; H = s·h, W = s·w.
    kernels, offsets_h, offsets_v : (B, k², h, w) float, k odd; tap t = k·ky + kx.
    scale : the integer s.
    heads : how the three tensors are meant, see ``apply_heads``. ``plain`` wants normalised
        kernels and offsets in units, ``clamp`` and ``residual`` want raw network heads.
    rounded : clamp to [0, 1] and round to 8 bits at once; not differentiable.

    Returns
    -------
    (B, C, h, w) LR image: float32 (float64 for float64 heads), not clamped, not rounded; or
    uint8 where ``rounded``.

    Raises
    ------
    ValueError
        for shapes or dtypes that do not fit together.
    """
    _check(image, kernels, offsets_h, offsets_v, scale, heads)
    inputs = image, kernels, offsets_h, offsets_v
    lr: Tensor
    if dispatch.is_fused(*inputs):
        if rounded:
            with torch.no_grad():
                lr = _resample_rounded(*inputs, scale, heads)
        else:
            lr, _ = _resample(*inputs, scale, heads)
        return lr
    if rounded:
        with torch.no_grad():
            return to_uint8(resample_composition(*inputs, scale, heads))
    return resample_composition(*inputs, scale, heads)
