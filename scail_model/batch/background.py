"""Work beside rows that are being made, which is never to take anything from them."""

from __future__ import annotations

import os
import pickle

import psutil

_THREADS = "OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS"
_IDLE = 19  # the nicest that a process can be


def in_background(pickled: bytes) -> None:
    """Call a pickled function without arguments in this process, which is given to nothing else: on one core, when
    nobody else wants that. What the function needs is imported only then."""
    process = psutil.Process()
    process.nice(psutil.IDLE_PRIORITY_CLASS if os.name == "nt" else _IDLE)
    if hasattr(process, "cpu_affinity"):  # macOS has no such thing
        cores = process.cpu_affinity()
        process.cpu_affinity([cores[os.getpid() % len(cores)]])  # FFmpeg and OpenCV start as many threads as there are
    os.environ.update(dict.fromkeys(_THREADS, "1"))
    pickle.loads(pickled)()
