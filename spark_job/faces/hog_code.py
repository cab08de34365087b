"""hog_code: hog_kernels in machine code, compiled once for a user of a machine and kept in the cache.

Compiling takes some ten seconds of a core, in a process of its own. Loading takes LLVM, which links the object file,
and not numba. The code is the same for all x86-64 processors from 2013 on, and so are the bits of a score; others have
none. It is run as it is: only a file that nobody but this user and root can have written is.
"""

import ctypes
import fcntl
import functools
import hashlib
import importlib.metadata
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

from spark_job import cache
from spark_job.errors import ModelError
from spark_job.faces.processor import flags

TRIPLE, ENTRY = "x86_64-unknown-linux-gnu", "detect"
# What x86-64-v3 says beyond the first level, as Linux names it: the level that the code is made for.
PROCESSOR, NEEDED = "x86-64-v3", {"avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "abm", "movbe"}
SOURCES = ("hog_plan.py", "hog_resize.py", "hog_features.py", "hog_kernels.py", "hog_compiler.py")
COMPILERS = ("numba", "llvmlite")
COMPILE_S = 600  # and then it hangs
ENVIRONMENT = {"NUMBA_CPU_NAME": PROCESSOR, "NUMBA_CPU_FEATURES": "", "NUMBA_SLP_VECTORIZE": "1"}
A, N = ctypes.c_void_p, ctypes.c_ssize_t  # an array and a number, as hog_kernels.detect takes them
TAKES = (A, A, N, N, A, A, A, A, A, A, A, A, N, A, N, A, A, N)


def load() -> Callable[..., int]:
    """hog_kernels.detect, of arrays and integers; it holds no lock of Python's. Raises ModelError where none can be."""
    if not flags() >= NEEDED:
        raise ModelError(f"this processor is no {PROCESSOR}")
    try:
        return _linked(_found() or _made())
    except OSError as error:
        raise ModelError(f"no folder for compiled code: {error}") from None
    except ImportError as error:
        raise ModelError(f"LLVM cannot be loaded: {error}") from None


def _linked(code: bytes) -> Callable[..., int]:
    """The function in an object file."""
    import llvmlite.binding as llvm  # here, since only a worker needs it

    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    machine = llvm.Target.from_triple(TRIPLE).create_target_machine()
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), machine)
    engine.add_object_file(llvm.ObjectFileRef.from_data(code))
    engine.finalize_object()
    function = ctypes.CFUNCTYPE(N, *TAKES)(engine.get_function_address(ENTRY))

    def detect(*arguments: Any) -> int:
        result: int = function(*(a.ctypes.data if isinstance(a, np.ndarray) else a for a in arguments))
        return result

    detect.engine = engine  # type: ignore[attr-defined]  # its memory holds the code as long as it can be called
    return detect


@functools.cache
def _stem() -> str:
    """What the name of a file begins with: the processor, and a digest of the sources and of what compiles them."""
    digest = hashlib.sha256()
    try:
        digest.update(" ".join(importlib.metadata.version(name) for name in COMPILERS).encode())
    except importlib.metadata.PackageNotFoundError as error:
        raise ModelError(f"{error.name} is not installed: pip install numba") from None
    for source in SOURCES:
        digest.update((files("spark_job.faces") / source).read_bytes())
    return f"hog-{PROCESSOR}-{digest.hexdigest()[:16]}-"


def _found() -> bytes | None:
    """The code that a folder holds already."""
    for path in cache.kept(_stem(), ".o"):
        if cache.is_ours(path) and cache.is_ours(path.parent):
            return path.read_bytes()
    return None


def _made() -> bytes:
    """The code, compiled and kept; of any number of processes of a machine that want it at once, one compiles it."""
    folder = cache.writable_folder(ours=True)
    with _alone(folder / "hog.lock"):
        code = _found() or _compiled(folder)
        cache.keep(folder, _stem(), ".o", code)
        return code


@contextmanager
def _alone(lock: Path) -> Iterator[None]:
    with lock.open("wb") as file:
        with suppress(OSError):  # a file system without locks: then each compiles it
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _compiled(folder: Path) -> bytes:
    """The code, from a process of its own: it takes 300 MB that a worker would keep."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("NUMBA_")} | ENVIRONMENT
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, sys.path))
    command = [sys.executable, "-P", "-m", "spark_job.faces.hog_compiler"]
    try:
        done = subprocess.run(command, env=environment, cwd=folder, capture_output=True, timeout=COMPILE_S, check=False)
    except subprocess.TimeoutExpired:
        raise ModelError(f"it was not compiled in {COMPILE_S} s") from None
    if done.returncode or not done.stdout:
        said = done.stderr.decode(errors="replace").strip().splitlines() or [f"exit code {done.returncode}"]
        raise ModelError(f"it could not be compiled: {said[-1]}")
    return done.stdout
