"""A forward of each mode with a user's weights: seconds, memory, and how far it is from exact, in all and by layer."""

from __future__ import annotations

import math
import statistics
import time
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from ..kernels.fp8_attention import LARGEST_KEYS
from ..sparse.run import SparseRun
from ..sparse.settings import SparseSettings
from .inputs import SIGMA, Inputs, Size, random_inputs
from .layers import Trace, distance, stepping, traced
from .model_files import At
from .modes import LONG, MODES, SIZES, Mode, Running, Subject, estimates, fitting

_REPEATS = 3
_WAIT = 0.01  # seconds between two looks at the GPU, so that somebody who cancels does not wait for it
_NEAR = 0.2  # an estimated error that is this near to the true one, as a share of it

_OUT_OF_MEMORY = (torch.cuda.OutOfMemoryError, MemoryError)

MEASURED, UNAVAILABLE, FAILED = "measured", "not here", "failed"


@dataclass
class Result:
    """Of one mode. reason: why it was not measured, or why it has this attention. seconds: of each timed forward.
    bytes: at the peak, beside the weights; None where they are not known. difference: relative L2 distance of the
    velocity from exact's; None where exact was not measured. run: of the forward that was looked into, if attention is
    sparse."""

    mode: Mode
    state: str = FAILED
    reason: str = ""
    attention: str = ""
    weights: str = ""
    seconds: list[float] = field(default_factory=list)
    bytes: int | None = None
    finite: bool = True
    difference: float | None = None
    trace: Trace = field(default_factory=Trace)
    run: SparseRun | None = None
    stream_errors: list[float] = field(default_factory=list)

    def values(self) -> dict[str, Any]:
        found = {"mode": self.mode.name, "state": self.state}
        if self.state != MEASURED:
            return found | {"reason": self.reason}
        trace = self.trace
        found |= {
            "attention": self.attention, "reason": self.reason, "weights": self.weights, "dtype": trace.dtype,
            "seconds": _short(self.seconds), "median_seconds": _short(statistics.median(self.seconds)),
            "bytes": self.bytes,
            "finite": self.finite, "difference": _short(self.difference), "stream_errors": _short(self.stream_errors),
            "attention_errors": _short(trace.attention_errors), "key_sizes": _short(trace.key_sizes)}
        return found | (self._sparse_values(self.run) if self.run is not None else {})

    def _sparse_values(self, run: SparseRun) -> dict[str, Any]:
        """What the run has estimated, by layer, None of a layer that it has not; and of how many layers of those that
        leave something out the estimate is near to the true error."""
        told = {error.layer: error for error in run.errors}
        layers = [told.get(layer) for layer in range(len(self.trace.attention_errors))]
        near = [abs(layer.error - true) <= _NEAR * true
                for layer, true in zip(layers, self.trace.attention_errors, strict=True)
                if layer is not None and layer.density < 1]
        return {"densities": [None if layer is None else _short(layer.density) for layer in layers],
                "estimated_errors": [None if layer is None else _short(layer.error) for layer in layers],
                "near": [sum(near), len(near)]}


class Forwards:
    """The results so far."""

    def __init__(self, subject: Subject, at: At) -> None:
        self.subject, self.at = subject, at
        self.size: Size | None = None
        self.results: list[Result] = []

    def measure(self) -> None:
        """All modes, at the largest size that fits."""
        for size in fitting(self.subject):
            self.size, self.results = size, []
            self.at(f"making inputs of {size}")
            inputs = random_inputs(size, self.subject.config)
            try:
                self._measure(inputs)
            except _OUT_OF_MEMORY:
                continue
            return

    def _measure(self, inputs: Inputs) -> None:
        """Raises for too little memory if that shows in the first mode and there is a smaller size."""
        exact: Result | None = None
        velocity: Tensor | None = None
        for mode in MODES:
            result = Result(mode)
            try:
                found = self._run(result, inputs)
            except _OUT_OF_MEMORY as error:
                if mode is MODES[0] and inputs.size != SIZES[-1]:
                    raise
                found, result.state = None, UNAVAILABLE
                result.reason = f"there is too little memory ({line_of(error)})"
            self.results.append(result)
            if mode is MODES[0] and found is not None:
                exact, velocity = result, found
            elif found is not None and exact is not None and velocity is not None:
                result.difference = distance(found, velocity)
                result.stream_errors = result.trace.stream_errors(exact.trace)

    def _run(self, result: Result, inputs: Inputs) -> Tensor | None:
        """The velocity; None if there is none, and the result says why."""
        begun, velocities = False, []

        def use(running: Running) -> None:
            nonlocal begun
            begun = True
            result.attention, result.reason, result.weights = running.attention, running.reason, running.weights
            velocities.append(self._examine(running, result, inputs.size))

        self.at(f"{result.mode.name}: loading")
        try:
            self.subject.run(result.mode, inputs, use)
        except _OUT_OF_MEMORY:
            raise
        except Exception as error:  # whatever it is, the other modes are measured
            result.state = FAILED if begun or not isinstance(error, ValueError) else UNAVAILABLE
            result.reason = line_of(error)
            return None
        result.state = MEASURED
        return velocities[0]

    def _examine(self, running: Running, result: Result, size: Size) -> Tensor:
        """One forward that is looked into, as the first step of a video; and some that are timed, as later steps."""
        layers = self.subject.config.num_layers
        repeats, done = _REPEATS, 0

        def step(block: int) -> None:
            self.at(f"{result.mode.name}: forward {done + 1} of {repeats + 1}, block {block + 1} of {layers}")

        with stepping(running.network, step):
            result.run = SparseRun(SparseSettings()) if running.sparse else None
            with traced(running.network, size.tokens, size.video, compared=result.mode is not MODES[0]) as trace:
                velocity = running.forward(result.run).float().cpu()
            result.trace, result.finite = trace, bool(velocity.isfinite().all())
            while done < repeats:
                done += 1
                seconds, result.bytes = self._timed(running, _later(result.run))
                result.seconds.append(seconds)
                if seconds > LONG:
                    break
        return velocity

    def _timed(self, running: Running, run: SparseRun | None) -> tuple[float, int | None]:
        device = self.subject.device
        if device.type != "cuda":
            start = time.perf_counter()
            running.forward(run).cpu()  # waits for the device
            return time.perf_counter() - start, None
        torch.cuda.synchronize(device)
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        start, stop = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        running.forward(run)
        stop.record()
        while not stop.query():
            time.sleep(_WAIT)
            self.at("")
        return start.elapsed_time(stop) / 1e3, torch.cuda.max_memory_allocated(device) - before

    def values(self) -> dict[str, Any]:
        """For JSON."""
        subject, size = self.subject, self.size
        found: dict[str, Any] = {"file": subject.name, "layers": subject.config.num_layers, "width": subject.config.dim}
        if size is None:
            return found
        return found | {
            "size": {"width": size.width, "height": size.height, "frames": size.frames}, "tokens": size.tokens,
            "sigma": SIGMA, "largest_keys": LARGEST_KEYS, "large_keys": self._large_keys(),
            "modes": [result.values() | self._estimates(result, size) for result in self.results]}

    def _estimates(self, result: Result, size: Size) -> dict[str, Any]:
        if result.state != MEASURED:
            return {}
        seconds, needed = estimates(self.subject, size, result.mode)
        return {"estimated_seconds": _short(seconds), "estimated_bytes": needed}

    def _large_keys(self) -> list[int] | None:
        """Numbers of the blocks whose keys are too large for attention in 8 bits; None if no forward has told."""
        sizes = next((result.trace.key_sizes for result in self.results if result.trace.key_sizes), None)
        return None if sizes is None else [layer for layer, size in enumerate(sizes) if size > LARGEST_KEYS]


def line_of(error: BaseException) -> str:
    """One line; sentences of ours as they are."""
    return f"{type(error).__name__}: {error}".splitlines()[0] if not isinstance(error, ValueError) else str(error)


def _later(run: SparseRun | None) -> SparseRun | None:
    """Of a later step, which begins from what the first one has found out."""
    return None if run is None else SparseRun(run.settings, run.calibration())


def _short(numbers: Any) -> Any:
    """To four digits, for people who read the JSON too; None stays, and takes the place of NaN and infinity."""
    if isinstance(numbers, list):
        return [_short(number) for number in numbers]
    return None if numbers is None or not math.isfinite(numbers) else float(f"{numbers:.4g}")
