"""`kernels.fp8.attention` in cuDNN (`nvidia-cudnn-frontend`, an optional package)."""

# Pyright takes the package cudnn for this folder.
# pyright: reportAttributeAccessIssue=false

from __future__ import annotations

import functools
import threading
from typing import Any, NamedTuple

import cudnn
import torch
from torch import Tensor

from ..eager.fp8 import HEAD, PROBABILITIES


def attention(q: Tensor, k: Tensor, v: Tensor, heads: int, q_scale: Tensor, k_scale: Tensor,
              v_scale: Tensor) -> tuple[Tensor, Tensor]:
    """See `fp8.attention`."""
    out, sums = torch.empty_like(q), torch.empty(heads, len(q), dtype=torch.float32, device=q.device)
    with _BUILDING:
        graph = _graph(len(q), len(k), heads, q.device)
    # a result is a mean of values, so the values' own scale holds it
    graph.run({"q": q, "k": k, "v": v, "o": out, "stats": sums, "descale_q": q_scale, "descale_k": k_scale,
               "descale_v": v_scale, "scale_o": 1 / v_scale})
    return out, sums


_BUILDING = threading.Lock()


class _Graph(NamedTuple):
    """A prepared product: its tensors by name, and those that are the same in every call. Its handle knows one stream,
    so one thread at a time starts it."""

    graph: Any
    tensors: dict[str, Any]
    handle: Any
    constants: dict[str, Tensor]
    workspace: int
    starting: threading.Lock

    def run(self, tensors: dict[str, Tensor]) -> None:
        device = tensors["q"].device
        workspace = torch.empty(max(self.workspace, 1), dtype=torch.uint8, device=device)
        with self.starting:
            cudnn.set_stream(self.handle, torch.cuda.current_stream(device).cuda_stream)
            self.graph.execute({self.tensors[name]: tensor for name, tensor in {**tensors, **self.constants}.items()},
                               workspace, handle=self.handle)


@functools.lru_cache(maxsize=64)  # a few for each GPU
def _graph(length: int, keys: int, heads: int, device: torch.device) -> _Graph:
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
    constants = {"scale_s": torch.tensor(PROBABILITIES, device=device),
                 "descale_s": torch.tensor(1 / PROBABILITIES, device=device),
                 "amax_s": torch.zeros((), device=device), "amax_o": torch.zeros((), device=device)}
    return _Graph(graph, {**named, "o": out, "stats": stats, "amax_s": amax_s, "amax_o": amax_o}, handle, constants,
                  graph.get_workspace_size(), threading.Lock())
