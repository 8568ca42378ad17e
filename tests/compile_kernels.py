"""Compile the Triton kernels to machine code for GPUs that need not be here; run by test_resample_triton.py."""

from __future__ import annotations

import sys

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from carcli.ops.resample import triton as resample_triton

TARGETS = {"cuda80": GPUTarget("cuda", 80, 32), "cuda90": GPUTarget("cuda", 90, 32), "gfx942": GPUTarget("hip", "gfx942", 64)}
HEADS = ("scores", "heads_h", "heads_v", "grad_s", "grad_h", "grad_v")
WIDE = ("count", "h_b", "h_t", "i_b")


def code_size(kernel, target, image, heads, out, grad_image, constants) -> int:
    def kind(name: str) -> str:
        if name in constants:
            return "constexpr"
        pointers = {"image": image, "out": out, "grad_image": grad_image, "smooth": "fp32", "sums": "fp32", "grad": "fp32"}
        pointers |= dict.fromkeys(HEADS, heads)
        if name in pointers:
            return f"*{pointers[name]}"
        return "fp32" if name in ("level", "gain", "fixed") else "i64" if name in WIDE else "i32"

    source = ASTSource(
        fn=kernel,
        signature={name: kind(name) for name in kernel.arg_names},
        constexprs={(kernel.arg_names.index(name),): value for name, value in constants.items()},
    )
    made = triton.compile(source, target=target, options={"num_warps": 4})
    return len(made.asm["cubin" if target.backend == "cuda" else "hsaco"])


def main() -> None:
    target = TARGETS[sys.argv[1]]
    assert not resample_triton.INTERPRETED
    every = resample_triton.MODES.values()
    for mode in every if sys.argv[1] == "cuda90" else list(every)[-1:]:  # the rest differs little by target
        for taps, pixels in ((1, 128), (resample_triton.LAST_TAPS, resample_triton.LAST_PIXELS)):
            shape = {"K": 13, "TAPS_TOTAL": 169, "MODE": mode, "SMALL": taps == 1, "TAPS": taps, "PIXELS": pixels}
            forward, backward = resample_triton._forward, resample_triton._backward
            print(code_size(forward, target, "u8", "fp16", "u8", "fp32", {**shape, "ROUND": True}))
            print(code_size(forward, target, "fp32", "fp32", "fp32", "fp32", {**shape, "ROUND": False}))
            for want, kind in ((0, "fp32"), (1, "fp32"), (2, "i64")):
                print(code_size(backward, target, "fp32", "bf16", "fp32", kind, {**shape, "IMAGE": want}))


if __name__ == "__main__":
    main()
