"""Attention in 8-bit floats through cuDNN (`nvidia-cudnn-frontend`, an optional package), for the 8-bit mode on Hopper.

Queries, keys, values and probabilities are float8 e4m3. What all keys have in common changes no probability, and what
all values have in common is simply added to the result, so both are taken out before rounding: else the result, which
is rounded to 8 bits too, would be lost in their mean (as in SageAttention 2, arXiv 2411.10958). The rest has one scale
each; probabilities are multiplied by 16, so that small ones keep their digits and none is too large.

In a trained network a few channels make most of a score, and their rounding most of its error. So queries and keys are
turned by a Hadamard matrix first, which changes no score and spreads it over all channels (as in FlashAttention 3,
arXiv 2407.08608). What is left of the error grows with queries and keys: a score is off by 0.04 times the product of
their sizes (root mean square of a channel; in the miniature 1.2 to 1.9 each). Where keys are `too_large`, another
attention has to do.

cuDNN is fast only where the keys are a multiple of 256, so the last ones are added by a kernel of ours, exactly:
softmax over two sets of keys is the two results, weighed by their sums.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

if TYPE_CHECKING:
    from .triton_fp8 import Survey

HEAD = 128  # channels
KEYS = 256  # of which a multiple goes to cuDNN
_LARGEST = 448.0  # of float8 e4m3
_SIZE = 1.6  # of keys: scores are off by 0.1, if queries are of their size, so probabilities by a tenth
_PROBABILITIES = 16.0  # and they may be up to 16, because cuDNN does not follow every new maximum


@functools.cache
def why_not(device: torch.device) -> str | None:
    """None if it works on a device, else the reason, as the end of a sentence."""
    if device.type != "cuda" or torch.version.hip:
        return "it needs an NVIDIA GPU"
    if torch.cuda.get_device_capability(device) != (9, 0):
        return "it was made for Hopper GPUs"
    try:
        generator = torch.Generator(device).manual_seed(0)
        q, k, v = torch.randn(3, 1, 300, HEAD, device=device, dtype=torch.bfloat16, generator=generator)
        found = attention(q, k, v, 1).float()
        exact = torch.nn.functional.scaled_dot_product_attention(*(x[:, None].float() for x in (q, k, v)))[:, 0]
        error = float((found - exact).norm() / exact.norm())
        if not error < 0.15:
            return f"its results are wrong here (off by {error:.2f})"
    except ImportError as error:
        return f"nvidia-cudnn-frontend or Triton is not installed ({error})"
    except Exception as error:  # whatever it is, there is another attention
        return f"it does not run here ({type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''})"
    return None


def attention(q: Tensor, k: Tensor, v: Tensor, heads: int) -> Tensor:
    """q [B, L, heads * 128], k and v [B, M, heads * 128], M at least 256 -> [B, L, heads * 128] of q's dtype, however
    large the keys."""
    from . import triton_fp8

    return _over(k, v, heads, [triton_fp8.survey(item) for item in k])(q)


def over(k: Tensor, v: Tensor, heads: int) -> Callable[[Tensor], Tensor] | None:
    """`attention` to these keys and values as a function of q, for any number of calls; it keeps them in 8 bits, and
    not k and v. None if the keys are too large."""
    from . import triton_fp8

    surveys = [triton_fp8.survey(item) for item in k]
    if any(float(survey.size()) > _SIZE for survey in surveys):  # waits for the GPU, which has enough to do
        return None
    return _over(k, v, heads, surveys)


def too_large(k: Tensor) -> bool:
    """Whether `over` refuses keys [B, M, heads * 128], on any device."""
    return bool(((k.float() - k.float().mean(1, keepdim=True)).square().mean((1, 2)).sqrt() > _SIZE).any())


def _over(k: Tensor, v: Tensor, heads: int, surveys: Sequence[Survey]) -> Callable[[Tensor], Tensor]:
    # item by item, so that the scales of one do not touch another
    sources = [_Source.of(*item, heads) for item in zip(k, v, surveys, strict=True)]

    def attention(q: Tensor) -> Tensor:
        items = [source.attend(x) for source, x in zip(sources, q, strict=True)]
        return torch.stack(items) if len(items) > 1 else items[0][None]

    return attention


def definition(q: Tensor, k: Tensor, v: Tensor, heads: int,
               transformer_options: dict[str, Any] | None = None) -> Tensor:
    """What `attention` computes, in plain float32 with the roundings to 8 bits; any number of keys, on any device."""
    def rounded(x: Tensor, step: Tensor) -> Tensor:
        return (x / step).clamp(-_LARGEST, _LARGEST).to(torch.float8_e4m3fn).float() * step

    def step_of(x: Tensor) -> Tensor:  # one for each item
        return x.abs().amax((1, 2), keepdim=True).clamp(min=1e-30) / _LARGEST

    def turned(x: Tensor) -> Tensor:
        return (x.unflatten(-1, (heads, -1)) @ hadamard(x.shape[-1] // heads).to(x.device)).flatten(2)

    def split(x: Tensor) -> Tensor:
        return x.unflatten(-1, (heads, -1)).transpose(1, 2)

    mean = v.float().mean(1, keepdim=True)
    q_, k_, v_ = turned(q.float()), turned(k.float() - k.float().mean(1, keepdim=True)), v.float() - mean
    v_step = step_of(v_)
    narrow = [split(rounded(x, step_of(x))) for x in (q_, k_, v_)]
    scores = narrow[0] @ narrow[1].transpose(-1, -2) * narrow[0].shape[-1] ** -0.5
    weights = (scores - scores.amax(-1, keepdim=True)).exp()
    small = (weights * _PROBABILITIES).to(torch.float8_e4m3fn).float() / _PROBABILITIES
    found = (small @ narrow[2] / weights.sum(-1, keepdim=True)).transpose(1, 2).flatten(2)
    return (rounded(found, v_step) + mean).to(q.dtype)


def hadamard(size: int) -> Tensor:
    """The symmetric orthogonal matrix [size, size] with entries of one magnitude; size is a power of two."""
    matrix = torch.ones(1, 1)
    while len(matrix) < size:
        matrix = torch.cat((torch.cat((matrix, matrix), 1), torch.cat((matrix, -matrix), 1)))
    return matrix * size**-0.5


class _Source(NamedTuple):
    """Keys and values of one item, float8 [M, heads * 128], their steps, and what all values have in common."""

    keys: Tensor
    key_step: Tensor
    values: Tensor
    value_step: Tensor
    mean: Tensor
    heads: int

    @classmethod
    def of(cls, k: Tensor, v: Tensor, survey: Survey, heads: int) -> _Source:
        from . import triton_fp8

        keys, key_step = _turned(k, survey.largest + survey.mean.abs().amax(), survey.mean)
        of_values = triton_fp8.survey(v)
        # a bound is enough: floats do not lose digits by a scale that is somewhat too large
        value_step = _step(of_values.largest + of_values.mean.abs().amax())
        return cls(keys, key_step, triton_fp8.narrow(v, of_values.mean, value_step), value_step, of_values.mean, heads)

    def attend(self, q: Tensor) -> Tensor:
        """q [L, heads * 128] -> the same shape."""
        from . import triton_fp8

        q8, q_step = _turned(q, triton_fp8.survey(q).largest)
        most = len(self.keys) // KEYS * KEYS
        graph = _graph(len(q), most, self.heads, q.device)
        found, sums = torch.empty_like(q8), torch.empty(self.heads, len(q), dtype=torch.float32, device=q.device)
        # a result is a mean of values, so the values' own scale holds it
        graph.run(q8, self.keys, self.values, found, sums, q_step, self.key_step, self.value_step)
        return triton_fp8.finish(found, sums, self.value_step, q8, self.keys[most:], self.values[most:],
                                  q_step * self.key_step * HEAD**-0.5, self.value_step, self.mean, self.heads, q.dtype)


def _turned(x: Tensor, largest: Tensor, mean: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """x [L, heads * 128], less a mean, times the Hadamard matrix -> float8, and what one of its units stands for."""
    from . import triton_fp8

    step = _step(largest * HEAD**0.5)  # a channel holds at most that much, if all that it is made of agree
    return triton_fp8.narrow_turned(x, mean, step), step


def _step(largest: Tensor) -> Tensor:
    return largest.clamp(min=1e-30) / _LARGEST


class _Graph(NamedTuple):
    """A prepared product of cuDNN's: what it takes and gives, by name."""

    graph: Any
    tensors: dict[str, Any]
    handle: Any
    fixed: dict[str, Tensor]
    workspace: int

    def run(self, q: Tensor, k: Tensor, v: Tensor, out: Tensor, sums: Tensor, q_step: Tensor, k_step: Tensor,
            v_step: Tensor) -> None:
        import cudnn

        cudnn.set_stream(self.handle, torch.cuda.current_stream(q.device).cuda_stream)
        given = {"q": q, "k": k, "v": v, "o": out, "stats": sums, "descale_q": q_step, "descale_k": k_step,
                 "descale_v": v_step, "scale_o": 1 / v_step, **self.fixed}
        workspace = torch.empty(max(self.workspace, 1), dtype=torch.uint8, device=q.device)
        self.graph.execute({self.tensors[name]: tensor for name, tensor in given.items()}, workspace,
                           handle=self.handle)


@functools.lru_cache(maxsize=8)
def _graph(length: int, keys: int, heads: int, device: torch.device) -> _Graph:
    import cudnn

    kinds = cudnn.data_type
    with torch.cuda.device(device):
        handle = cudnn.create_handle()
    graph = cudnn.pygraph(io_data_type=kinds.FP8_E4M3, intermediate_data_type=kinds.FLOAT,
                          compute_data_type=kinds.FLOAT, handle=handle)

    def tensor(name: str, rows: int) -> Any:
        width = heads * HEAD
        return graph.tensor(name=name, dim=(1, heads, rows, HEAD), stride=(rows * width, HEAD, width, 1),
                            data_type=kinds.FP8_E4M3)

    def number(name: str) -> Any:
        return graph.tensor(name=name, dim=(1, 1, 1, 1), stride=(1, 1, 1, 1), data_type=kinds.FLOAT)

    named = {"q": tensor("q", length), "k": tensor("k", keys), "v": tensor("v", keys)}
    named |= {name: number(name) for name in ("descale_q", "descale_k", "descale_v", "descale_s", "scale_s", "scale_o")}
    out, stats, amax_s, amax_o = graph.sdpa_fp8(**named, generate_stats=True, attn_scale=HEAD**-0.5)
    out.set_output(True).set_dim((1, heads, length, HEAD)).set_data_type(kinds.FP8_E4M3)
    out.set_stride((length * heads * HEAD, HEAD, heads * HEAD, 1))
    stats.set_output(True).set_dim((1, heads, length, 1)).set_data_type(kinds.FLOAT)
    stats.set_stride((heads * length, length, 1, 1))
    for amax in (amax_s, amax_o):
        amax.set_output(True).set_dim((1, 1, 1, 1)).set_stride((1, 1, 1, 1)).set_data_type(kinds.FLOAT)
    graph.validate()
    graph.build_operation_graph()
    graph.create_execution_plans([cudnn.heur_mode.A, cudnn.heur_mode.FALLBACK])
    graph.check_support()
    graph.build_plans()
    fixed = {"scale_s": torch.tensor(_PROBABILITIES, device=device),
             "descale_s": torch.tensor(1 / _PROBABILITIES, device=device),
             "amax_s": torch.zeros((), device=device), "amax_o": torch.zeros((), device=device)}
    return _Graph(graph, {**named, "o": out, "stats": stats, "amax_s": amax_s, "amax_o": amax_o}, handle, fixed,
                  graph.get_workspace_size())
