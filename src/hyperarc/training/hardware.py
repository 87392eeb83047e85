"""What the machine can do, decided once at the start and named in the log."""

from __future__ import annotations

import ctypes
import os
import platform
from dataclasses import asdict, dataclass

import torch

from hyperarc.errors import RecipeError
from hyperarc.heads.sweep.precision import has_bf16
from hyperarc.recipe import Training

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # of malloc.h


@dataclass(frozen=True)
class Hardware:
    """Where and how a run computes.

    Attributes:
        device: "cpu" or "cuda".
        dtype: of the backbone under autocast.
        threads: CPU threads.
        name: of the device, in words.
        huge_pages: whether torch was asked for huge pages (THP_MEM_ALLOC_ENABLE, set by the command line).
        matmul: fp32 matmul precision in force.
        kept_heap: whether freed memory stays with the process (see :func:`keep_freed_memory`).
    """

    device: str
    dtype: torch.dtype
    threads: int
    name: str
    huge_pages: bool
    matmul: str
    kept_heap: bool

    def facts(self) -> dict[str, object]:
        """Plain values for logs and cards."""
        return asdict(self) | {"dtype": str(self.dtype).removeprefix("torch.")}


def choose_hardware(training: Training, local_rank: int = 0) -> Hardware:
    """Apply the recipe's choices to torch, and say what they came to; each process of a machine takes its own GPU."""
    device = "cuda" if torch.cuda.is_available() and training.backend != "gloo" else "cpu"
    if device == "cuda":
        torch.cuda.set_device(local_rank)
    if training.threads:
        torch.set_num_threads(training.threads)
    torch.set_float32_matmul_precision(training.matmul)
    return Hardware(
        device=device,
        dtype=choose_dtype(training.precision, device),
        threads=torch.get_num_threads(),
        name=torch.cuda.get_device_name() if device == "cuda" else torch.backends.cpu.get_cpu_capability(),
        huge_pages=os.environ.get("THP_MEM_ALLOC_ENABLE") == "1",
        matmul=training.matmul,
        kept_heap=device == "cpu" and training.keep_heap and keep_freed_memory(),
    )


def keep_freed_memory() -> bool:
    """Let glibc keep freed memory instead of handing it back; False where the C library is another.

    A training step on CPU frees and takes the same gigabyte of activations; handed back, every page of it is
    faulted in and zeroed again, which is 10 to 25 % of a step. Kept, the peak is 40 to 70 % higher, as holes stay
    (benchmarks/README.md).
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    return bool(mallopt(M_MMAP_MAX, 0)) and bool(mallopt(M_TRIM_THRESHOLD, 2**31 - 1))


def choose_dtype(precision: str, device: str) -> torch.dtype:
    """The backbone's dtype under autocast that ``training.precision`` means on ``device``.

    Errors: RecipeError for fp16 on a CPU.

    Example:
        >>> choose_dtype("bf16", "cpu")
        torch.bfloat16
    """
    if precision == "fp16":
        if device != "cuda":
            raise RecipeError("fp16 is slower than fp32 on a CPU and overflows", mend="use precision: auto")
        return torch.float16
    if precision == "auto":
        return torch.bfloat16 if has_bf16(device) else torch.float32
    return torch.bfloat16 if precision == "bf16" else torch.float32
