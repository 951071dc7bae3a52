"""What the training runs share: the optimiser, the schedule, the average of the weights, and where they are kept."""

from __future__ import annotations

import gc
import math
import sys
import time
import traceback
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

_WARM_UP = 200  # steps
_BETA = 0.95
_PACE_FROM, _PACE_TO = 150, 400  # steps between which the pace is taken
FIT = 10**9  # a number of steps that stands for as many as fit
_ADAM_SHARE = 0.5  # of the rate that the matrices have


class Muon:
    """Momentum made orthogonal (Jordan et al. 2024, kellerjordan.github.io/posts/muon), for weights that are matrices
    or convolutions [out, in * kernel]. Weights of one shape take the step together. The factor makes an update as
    large as AdamW's (arXiv 2502.16982, section 2.2), so that both have one rate."""

    def __init__(self, parameters: list[nn.Parameter], weight_decay: float = 0.01) -> None:
        self.weight_decay = weight_decay
        self.groups: dict[tuple[int, int], list[nn.Parameter]] = defaultdict(list)
        for parameter in parameters:
            self.groups[tuple(sorted(parameter.flatten(1).shape))].append(parameter)
        self.momentum = {shape: torch.zeros(len(group), *shape, device=group[0].device)
                         for shape, group in self.groups.items()}

    @torch.no_grad()
    def step(self, rate: Tensor) -> None:
        """`rate` has no axes: a tensor, so that a recorded step can be given another one."""
        for shape, group in self.groups.items():
            gradient = torch.stack([_lying(parameter.grad) for parameter in group])
            momentum = self.momentum[shape].lerp_(gradient, 1 - _BETA)
            update = _orthogonal(gradient.lerp(momentum, _BETA)) * (0.2 * max(shape) ** 0.5 * rate)
            torch._foreach_mul_(group, 1 - rate * self.weight_decay)
            torch._foreach_sub_(group, [(change if _lies(parameter) else change.T).reshape(parameter.shape)
                                        for change, parameter in zip(update, group, strict=True)])


def _lies(weight: Tensor) -> bool:
    """Whether [out, in * kernel] has no more rows than columns."""
    return weight.shape[0] <= weight[0].numel()


def _lying(weight: Tensor) -> Tensor:
    return weight.flatten(1) if _lies(weight) else weight.flatten(1).T


def _orthogonal(matrices: Tensor) -> Tensor:
    """About U V' for U S V' [g, rows, columns], by five Newton-Schulz steps; bfloat16 is enough for a direction."""
    x = matrices.to(torch.bfloat16 if matrices.is_cuda else torch.float32)
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(5):
        square = x @ x.mT
        x = 3.4445 * x + (-4.7750 * square + 2.0315 * square @ square) @ x
    return x.float()


class Optimiser:
    """Muon for the matrices in the network's middle, AdamW for everything else, and the running average of all."""

    def __init__(self, named: dict[str, nn.Parameter], is_matrix: Callable[[str], bool], rate: float, steps: int,
                 decay: float = 0.999) -> None:
        self.named, self.rate, self.steps, self.decay = named, rate, steps, decay
        matrices = [parameter for name, parameter in named.items() if is_matrix(name)]
        others = [parameter for name, parameter in named.items() if not is_matrix(name)]
        self.parameters = list(named.values())
        self.device = self.parameters[0].device
        self.muon = Muon(matrices)
        self.adam_rate = torch.tensor(rate, device=self.device)
        self.adam = torch.optim.AdamW(others, lr=self.adam_rate, betas=(0.9, 0.98), weight_decay=0.0,
                                      fused=self.device.type == "cuda", capturable=self.device.type == "cuda")
        self.average = [parameter.detach().clone() for parameter in self.parameters]
        self.step_count = 0
        self.recorded: Recorded | None = None
        for parameter in self.parameters:
            parameter.grad = torch.zeros_like(parameter)  # kept: what is recorded adds to these

    def rate_now(self) -> float:
        """Warm-up, flat to two fifths, then a cosine down to 2 %."""
        share = self.step_count / max(self.steps, 1)
        fall = max(0.0, (share - 0.4) / 0.6)
        return (self.rate * min(1.0, (self.step_count + 1) / _WARM_UP)
                * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * min(fall, 1.0)))))

    def clear(self) -> None:
        torch._foreach_zero_([parameter.grad for parameter in self.parameters])

    def step(self) -> None:
        decay = min(self.decay, (self.step_count + 1) / (self.step_count + 10))
        numbers = {"rate": torch.full((), self.rate_now(), device=self.device),
                   "new": torch.full((), 1 - decay, device=self.device)}
        if self.recorded is None:
            self.recorded = Recorded(self._step, numbers)
        self.recorded(numbers)
        self.step_count += 1

    @torch.no_grad()
    def _step(self, numbers: dict[str, Tensor]) -> Tensor:
        size = torch.nn.utils.clip_grad_norm_(self.parameters, 1.0)
        self.muon.step(numbers["rate"])
        self.adam_rate.copy_(numbers["rate"] * _ADAM_SHARE)
        self.adam.step()
        change = torch._foreach_sub(self.parameters, self.average)
        torch._foreach_mul_(change, numbers["new"])
        torch._foreach_add_(self.average, change)
        return size

    def averaged(self) -> dict[str, Tensor]:
        return dict(zip(self.named, self.average, strict=True))

    def state(self) -> dict:
        return {"parameters": {name: parameter.detach() for name, parameter in self.named.items()},
                "average": self.average, "momentum": self.muon.momentum, "adam": self.adam.state_dict(),
                "step": self.step_count, "steps": self.steps}

    @torch.no_grad()
    def resume(self, checkpoint: Path) -> int:
        """Take up a checkpoint if there is one; the steps done so far."""
        if not checkpoint.is_file():
            return 0
        state = torch.load(checkpoint, map_location=self.parameters[0].device)
        torch._foreach_copy_(self.parameters, [state["parameters"][name] for name in self.named])
        torch._foreach_copy_(self.average, state["average"])
        for shape, momentum in self.muon.momentum.items():
            momentum.copy_(state["momentum"][shape])
        self.adam.load_state_dict(state["adam"])
        self.adam_rate = self.adam.param_groups[0]["lr"] = torch.tensor(self.rate, device=self.device)
        self.step_count = state["step"]
        if self.steps == FIT:
            self.steps = state["steps"]
        say(f"going on from step {self.step_count} of {checkpoint}")
        return self.step_count


def run(optimiser: Optimiser, losses: Callable[[int], Tensor], checkpoint: Path, seconds: float,
        after: Callable[[int], None] = lambda step: None) -> bool:
    """Train until the optimiser's steps are done (True) or the time is up (False), then write `checkpoint`.
    `losses` computes the gradients of a step and returns figures to print. An optimiser without a number of steps
    gets as many as fit into the time, by the pace of the first ones."""
    seen: list[Tensor] = []
    started = since = time.monotonic()
    paced = started
    while optimiser.step_count < optimiser.steps and time.monotonic() - started < seconds:
        seen.append(losses(optimiser.step_count))
        optimiser.step()
        after(optimiser.step_count)
        if optimiser.step_count == _PACE_FROM:
            paced = time.monotonic()
        if optimiser.step_count == _PACE_TO and optimiser.steps == FIT:
            pace = (time.monotonic() - paced) / (_PACE_TO - _PACE_FROM)
            optimiser.steps = _PACE_TO + int(0.97 * (seconds - (time.monotonic() - started)) / pace)
            say(f"{pace * 1e3:.1f} ms a step: {optimiser.steps} steps fit")
        if optimiser.step_count in (10, 100) or optimiser.step_count % 500 == 0:
            figures = torch.stack(seen).float().mean(0).tolist()
            pace = (time.monotonic() - since) / len(seen)
            left = (optimiser.steps - optimiser.step_count) * pace
            say(f"step {optimiser.step_count} of {optimiser.steps}  " + "  ".join(f"{value:.4f}" for value in figures)
                + f"  {pace * 1e3:.1f} ms a step, {left:.0f} s left")
            seen, since = [], time.monotonic()
    checkpoint.parent.mkdir(parents=True, exist_ok=True)
    partial = checkpoint.with_suffix(".part")
    torch.save(optimiser.state(), partial)
    partial.replace(checkpoint)
    return optimiser.step_count >= optimiser.steps


class Recorded:
    """A function of tensors that keeps their shapes, recorded once as a CUDA graph and replayed: Python starts the
    thousands of kernels of a small network more slowly than a GPU runs them. On the CPU, and where recording fails, it
    is the plain function."""

    enabled = True
    pool = None  # of memory, which all recordings share, because only one runs at a time
    stream = None  # one for trial and recording, because autograd keeps the stream that a parameter first met

    def __init__(self, function: Callable[[dict[str, Tensor]], Tensor], inputs: dict[str, Tensor],
                 forget: Callable[[], None] = lambda: None) -> None:
        """`forget` clears what the trial runs leave behind. They and the recording call `function`."""
        self.function, self.graph = function, None
        if not (Recorded.enabled and next(iter(inputs.values())).is_cuda):
            return
        self.inputs = {name: value.clone() for name, value in inputs.items()}
        try:
            self._record(forget)
        except RuntimeError:
            Recorded.enabled = False
            say(f"no CUDA graphs: {traceback.format_exc()}")

    def _record(self, forget: Callable[[], None]) -> None:
        Recorded.stream = Recorded.stream or torch.cuda.Stream()
        Recorded.stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(Recorded.stream):
            for _ in range(2):
                self.function(self.inputs)
        torch.cuda.current_stream().wait_stream(Recorded.stream)
        forget()
        gc.collect()
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=Recorded.pool, stream=Recorded.stream):
            self.result = self.function(self.inputs)
        self.graph, Recorded.pool = graph, graph.pool()

    def __call__(self, inputs: dict[str, Tensor]) -> Tensor:
        if self.graph is None:
            return self.function(inputs)
        for name, value in inputs.items():
            self.inputs[name].copy_(value)
        self.graph.replay()
        return self.result.clone()


class Gradients:
    """Computes the gradients of a loss; the work on each kind of batch, which has shapes of its own, is recorded."""

    def __init__(self, optimiser: Optimiser, loss: Callable[[int, dict[str, Tensor]], tuple[Tensor, Tensor]]) -> None:
        """loss(kind, batch) -> what is minimised, and figures [k] to print."""
        self.optimiser, self.loss = optimiser, loss
        self.recorded: dict[int, Recorded] = {}

    def __call__(self, kind: int, batch: dict[str, Tensor]) -> Tensor:
        """Gradients in the parameters; returns the loss and the figures, [1 + k]."""
        def compute(values: dict[str, Tensor]) -> Tensor:
            total, figures = self.loss(kind, values)
            total.backward()
            return torch.cat((total.detach()[None], figures))

        if kind not in self.recorded:
            self.recorded[kind] = Recorded(compute, batch, self.optimiser.clear)
        self.optimiser.clear()
        return self.recorded[kind](batch)


def choose(weights: list[float], seed: int, step: int) -> int:
    """A seeded choice among the indices of `weights` that depends on nothing but seed and step."""
    generator = torch.Generator().manual_seed(seed * 1_000_003 + step)
    return int(torch.multinomial(torch.tensor(weights), 1, generator=generator))


_BEGIN = time.monotonic()


def say(text: str) -> None:
    """One line, with the seconds since the run began."""
    sys.stdout.write(f"{time.monotonic() - _BEGIN:6.1f} s  {text}\n")
    sys.stdout.flush()


def allow_tf32(device: torch.device) -> None:
    """What float32 products there are need no more digits to learn with."""
    if device.type == "cuda":
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True


def compute_dtype(device: torch.device) -> torch.dtype:
    return torch.bfloat16 if device.type == "cuda" else torch.float32


def write_half(state: dict[str, Tensor], path: Path) -> None:
    """A float16 .safetensors file under the official names."""
    save_file({name: tensor.detach().half().cpu().contiguous() for name, tensor in state.items()}, path)
