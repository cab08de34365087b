"""Processor: the kind that a row was made on, since the last digits of an embedding depend on it."""

import functools
import platform
from pathlib import Path

# By the widest of these, ONNX Runtime and BLAS choose their kernels, which add in another order.
WIDEST = ("avx512f", "avx2", "avx")
# By the first of these, OpenVINO multiplies in bfloat16: twice as fast as float32, on either.
BFLOAT16 = ("amx_bf16", "avx512_bf16")


@functools.cache
def flags() -> frozenset[str]:
    """What the processor says that it can do; nothing where the system does not tell."""
    try:
        with Path("/proc/cpuinfo").open() as file:
            return frozenset(next((line for line in file if line.startswith("flags")), "").split())
    except FileNotFoundError:
        return frozenset()


def kind(chosen_by: tuple[str, ...] = WIDEST) -> str:
    """The architecture and the first of what kernels are chosen by: x86_64 avx512f."""
    return " ".join([platform.machine(), *[flag for flag in chosen_by if flag in flags()][:1]])
