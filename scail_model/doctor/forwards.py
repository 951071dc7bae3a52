"""A forward of each mode with a user's weights: seconds, memory, and how far it is from exact, in all and by layer."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from ..config import TransformerConfig
from ..kernels.fp8_attention import LARGEST_KEYS
from ..kernels.precision import EXACT, PRECISIONS
from ..preflight import budget
from ..preflight.budget import Machine
from .inputs import SIGMA, Inputs, Size, random_inputs
from .layers import Trace, distance, stepping, traced

SIZES = (Size(896, 512, 81), Size(832, 480, 81), Size(832, 480, 33), Size(640, 384, 33), Size(512, 320, 17),
         Size(256, 256, 5))  # pixels and frames, the largest first
_REPEATS = 3
_LONG = 20.0  # seconds: a size whose forward takes longer is not chosen, and one that does is not repeated
_MARGIN = 1.2  # of the activations: what is noted takes memory too
_WAIT = 0.01  # seconds between two looks at the GPU, so that somebody who cancels does not wait for it

MEASURED, UNAVAILABLE, FAILED = "measured", "not here", "failed"

At = Callable[[str], None]  # told what goes on, many times a second; may raise to stop


@dataclass(frozen=True)
class Running:
    """A network that is ready to compute. weights: their dtype or format. forward: one of the inputs that
    `Subject.run` got -> velocity [1, 16, T, H, W]."""

    network: nn.Module
    attention: str
    weights: str
    forward: Callable[[], Tensor]


class Subject(Protocol):
    """Weights as a host runs them. name: of their file. device, machine: where. in_chunks: whether its blocks may
    compute a few rows at a time. held_bytes: of weights on the device during a forward, at least."""

    name: str
    config: TransformerConfig
    device: torch.device
    machine: Machine
    in_chunks: bool
    held_bytes: int

    def run(self, precision: str, inputs: Inputs, use: Callable[[Running], None]) -> None:
        """Call `use` while a network of this precision is ready. ValueError, in one sentence, if it does not run here
        with these weights."""
        ...


@dataclass
class Result:
    """Of one mode. reason: why it was not measured. seconds: of each timed forward. bytes: at the peak, beside the
    weights; None where they are not known. difference: relative L2 distance of the velocity from exact's; None where
    exact was not measured."""

    mode: str
    state: str = FAILED
    reason: str = ""
    attention: str = ""
    weights: str = ""
    seconds: list[float] = field(default_factory=list)
    bytes: int | None = None
    finite: bool = True
    difference: float | None = None
    trace: Trace | None = None
    stream_errors: list[float] = field(default_factory=list)

    def values(self) -> dict[str, Any]:
        found = {"mode": self.mode, "state": self.state}
        if self.state != MEASURED:
            return found | {"reason": self.reason}
        trace = self.trace or Trace()
        return found | {
            "attention": self.attention, "weights": self.weights, "dtype": trace.dtype, "seconds": _short(self.seconds),
            "median_seconds": _short(statistics.median(self.seconds)) if self.seconds else None, "bytes": self.bytes,
            "finite": self.finite, "difference": _short(self.difference), "stream_errors": _short(self.stream_errors),
            "attention_errors": _short(trace.attention_errors), "key_sizes": _short(trace.key_sizes)}


class Forwards:
    """The results so far. repeats: how many forwards of each mode are timed."""

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
            except _OUT_OF_MEMORY as error:
                if size == SIZES[-1]:
                    self.results.append(Result(EXACT, reason=line_of(error)))
                continue
            return

    def _measure(self, inputs: Inputs) -> None:
        exact: Result | None = None
        velocity: Tensor | None = None
        for precision in PRECISIONS:
            result = Result(precision)
            try:
                found = self._run(result, inputs, exact)
            except _OUT_OF_MEMORY as error:
                if precision == EXACT:
                    raise
                result.state, result.reason = FAILED, line_of(error)
                found = None
            self.results.append(result)
            if precision == EXACT and found is not None:
                exact, velocity = result, found
            elif found is not None and exact is not None and velocity is not None:
                _compare(result, found, exact, velocity)

    def _run(self, result: Result, inputs: Inputs, exact: Result | None) -> Tensor | None:
        """The velocity; None if there is none, and the result says why."""
        begun, velocities = False, []

        def use(running: Running) -> None:
            nonlocal begun
            begun = True
            result.attention, result.weights = running.attention, running.weights
            velocities.append(self._examine(running, result, inputs.size))

        self.at(f"{result.mode}: loading")
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
        """One forward that is looked into, and some that are timed."""
        layers = self.subject.config.num_layers
        repeats, done = _REPEATS, 0

        def step(block: int) -> None:
            self.at(f"{result.mode}: forward {done + 1} of {repeats + 1}, block {block + 1} of {layers}")

        with stepping(running.network, step):
            with traced(running.network, size.tokens, size.video, compared=result.mode != EXACT) as trace:
                velocity = running.forward().float().cpu()
            result.trace, result.finite = trace, bool(velocity.isfinite().all())
            while done < repeats:
                done += 1
                seconds, result.bytes = self._timed(running.forward)
                result.seconds.append(seconds)
                if seconds > _LONG:
                    break
        return velocity

    def _timed(self, forward: Callable[[], Tensor]) -> tuple[float, int | None]:
        device = self.subject.device
        if device.type != "cuda":
            start = time.perf_counter()
            forward().cpu()  # waits for the device
            return time.perf_counter() - start, None
        torch.cuda.synchronize(device)
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        start, stop = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        forward()
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
        seconds, needed = estimates(subject, size)
        return found | {
            "size": {"width": size.width, "height": size.height, "frames": size.frames}, "tokens": size.tokens,
            "sigma": SIGMA, "estimated_seconds": _short(seconds), "estimated_bytes": needed,
            "largest_keys": LARGEST_KEYS, "large_keys": self._large_keys(),
            "modes": [result.values() for result in self.results]}

    def _large_keys(self) -> list[int] | None:
        """Numbers of the blocks whose keys are too large for attention in 8 bits; None if no forward has told."""
        traces = [result.trace for result in self.results if result.trace is not None]
        return [layer for layer, size in enumerate(traces[0].key_sizes) if size > LARGEST_KEYS] if traces else None


def fitting(subject: Subject) -> Iterator[Size]:
    """The sizes that should fit, the largest first; the smallest in any case. Without a GPU only that one."""
    for size in SIZES[:-1]:
        seconds, needed = estimates(subject, size)
        fits = _MARGIN * needed + subject.held_bytes <= subject.machine.free_vram
        if seconds is not None and seconds <= _LONG and fits:
            yield size
    yield SIZES[-1]


def estimates(subject: Subject, size: Size) -> tuple[float | None, int]:
    """As the check of inputs has them for an exact forward: seconds, None without a GPU; bytes beside the weights."""
    machine, config = subject.machine, subject.config
    needed = budget.activation_bytes(config, size.tokens, 1, machine.total_vram if subject.in_chunks else 0)
    if machine.matmul_tflops is None:
        return None, needed
    return budget.token_seconds(config, size.tokens, machine.matmul_tflops), needed


def _compare(result: Result, velocity: Tensor, exact: Result, exact_velocity: Tensor) -> None:
    result.difference = distance(velocity, exact_velocity)
    if result.trace is not None and exact.trace is not None:
        result.stream_errors = result.trace.stream_errors(exact.trace)


def _short(numbers: Any) -> Any:
    """To four digits, for people who read the JSON too; None stays, and takes the place of NaN and infinity."""
    if isinstance(numbers, list):
        return [_short(number) for number in numbers]
    return None if numbers is None or not math.isfinite(numbers) else float(f"{numbers:.4g}")


def line_of(error: BaseException) -> str:
    """One line; sentences of ours as they are."""
    return f"{type(error).__name__}: {error}".splitlines()[0] if not isinstance(error, ValueError) else str(error)


_OUT_OF_MEMORY = (torch.cuda.OutOfMemoryError, MemoryError)
