"""A layer as one of n GPUs computes it, on a single one: its rows and heads, and copies within a GPU; nothing travels.

Run by `gpus_gpu.py --parts`. "block_ms": seconds of the product's own block, median; "launch_ms": of the thread until
everything is launched (in 8-bit it waits for the GPU once a layer); "of_ideal": against an nth of one GPU's.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from scail_model.attention import sdpa
from scail_model.config import CLIP_TOKENS, TransformerConfig
from scail_model.gpus.attention import wide
from scail_model.gpus.gain import largest_share
from scail_model.gpus.rows import TILE
from scail_model.kernels import attention_choice, elementwise
from scail_model.kernels.attention_backends import AUTOMATIC
from scail_model.kernels.in_parts import begun
from scail_model.kernels.linears import FullPrecision, QuantizingInt8
from scail_model.kernels.precision import FAST, int8_linears, int8_storage
from scail_model.kernels.sparse_attention import RUN
from scail_model.sparse.run import SparseRun
from scail_model.sparse.settings import SparseSettings
from scail_model.transformer import SCAIL2Transformer

SMALL = TransformerConfig(dim=1024, ffn_dim=512, num_heads=8, num_layers=4)  # on a CPU
TOKENS = (48832, 95920)  # 512x896 and 704x1280, 81 frames


def first_device() -> torch.device:
    return torch.device("cuda", 0) if torch.cuda.is_available() else torch.device("cpu")


def dtype_on(device: torch.device) -> torch.dtype:
    return torch.bfloat16 if device.type == "cuda" else torch.float32


def network(config: TransformerConfig, precision: str, attention, device: torch.device) -> SCAIL2Transformer:
    """With random weights, the same on every device of a kind."""
    linears = QuantizingInt8() if int8_storage(precision) else FullPrecision()
    with torch.device("meta"):
        net = SCAIL2Transformer(config, attention=attention, dtype=dtype_on(device), linears=linears)
    net = net.to_empty(device=device).requires_grad_(False)
    generator = torch.Generator(device).manual_seed(0)
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.02 if parameter.ndim > 1 else 0.1, generator=generator)
    if int8_storage(precision):
        linears.quantize(net, int8_linears(config.num_layers))
    elementwise.prepare(device)
    return net


class OneRank:
    """Attention as one of `count` GPUs sees it: own rows of all heads come, own heads of all rows are attended."""

    def __init__(self, backend, heads: int) -> None:
        self.backend, self.all_heads = backend, heads
        self.count, self.tokens = 1, 0
        self.exact = getattr(backend, "exact", backend)
        self.arrived: dict[str, Tensor] = {}
        self.leaving: list[Tensor] = []

    def __call__(self, queries, keys, values, heads, transformer_options=None, **others):  # cross-attention
        return self.backend(queries, keys, values, heads=heads, transformer_options=transformer_options, **others)

    def needs_all_queries(self, options=None) -> bool:
        return False

    def queries_together(self, options=None) -> bool:
        asked = getattr(self.backend, "queries_together", None)
        return bool(asked and asked(options))

    def prepare_kv(self, keys: Tensor, values: Tensor, heads: int, options=None) -> Callable[[Tensor], Tensor]:
        if self.count == 1:
            return self._prepared(keys, values, self.all_heads, options)
        self.leaving.clear()
        rows = keys.shape[1]
        all_keys, all_values = self._spread(keys, "keys"), self._spread(values, "values")
        middle, cut = rows // 2 // TILE * TILE, rows // TILE * TILE
        apart = [slice(0, middle), slice(rows, self.tokens), slice(middle, rows)]

        def attend(queries: Tensor) -> Tensor:
            all_queries = self._spread(queries, "queries")
            attended = self._prepared(all_keys, all_values, self.all_heads // self.count, options)
            own = torch.empty_like(queries[..., : all_queries.shape[-1]])
            together = self.queries_together(options)
            rows_of = begun(attended, all_queries) if together else lambda part: attended(all_queries[:, part])
            for part in [slice(cut, self.tokens), slice(0, cut)] if together else apart:
                if part.stop == part.start:
                    continue
                result = rows_of(part)
                here = slice(part.start, min(part.stop, rows))
                if here.start < here.stop:
                    own[:, here] = result[:, : here.stop - here.start]
            self.leaving.clear()
            return torch.cat([own, *[self.arrived["results"]] * (self.count - 1)], dim=-1)

        return attend

    def _prepared(self, keys: Tensor, values: Tensor, heads: int, options) -> Callable[[Tensor], Tensor]:
        prepare = getattr(self.backend, "prepare_kv", None)
        if prepare is not None:
            return prepare(keys, values, heads, options)
        return lambda queries: self.backend(queries, keys, values, heads=heads, transformer_options=options)

    def _spread(self, x: Tensor, what: str) -> Tensor:
        """As the exchange does: own heads of the own rows to their place, the others' laid apart to leave."""
        heads = wide(x).unflatten(-1, (self.count, -1))
        wide(self.arrived[what])[:, : x.shape[1]] = heads[:, :, 0]
        self.leaving.append(heads[:, :, 1:].movedim(2, 0).contiguous())
        return self.arrived[what]


def timed(call: Callable[[], object], device: torch.device, repeats: int = 5) -> tuple[float, float, float]:
    """Seconds, seconds until all is launched, and bytes added at the peak: medians."""
    cuda, found = device.type == "cuda", []
    for number in range(repeats + 1):
        before = 0
        if cuda:
            torch.cuda.synchronize()
            torch.cuda.reset_peak_memory_stats()
            before = torch.cuda.memory_allocated()
        start = time.perf_counter()
        result = call()
        launched = time.perf_counter() - start
        if cuda:
            torch.cuda.synchronize()
        whole = time.perf_counter() - start
        del result
        if number:
            found.append((whole, launched, torch.cuda.max_memory_allocated() - before if cuda else 0))
    seconds, launching, peak = map(statistics.median, zip(*found, strict=True))
    return seconds, launching, peak


def rows(device: torch.device, precisions: Sequence[str], counts: Sequence[int]) -> list[dict]:
    """Every precision, number of tokens and count."""
    found: list[dict] = []
    config = TransformerConfig(num_layers=4) if device.type == "cuda" else SMALL
    for precision in precisions:
        try:
            backend = attention_choice.choose(AUTOMATIC, device, precision,
                                              attention_choice.HostAttention("pytorch", "pytorch", sdpa))
        except ValueError as error:
            print(json.dumps({"precision": precision, "left out": str(error)}), flush=True)
            continue
        one = OneRank(backend, config.num_heads)
        net = network(config, precision, one, device)
        attention_choice.prepare(backend, precision, device)
        for tokens in TOKENS if device.type == "cuda" else (1024,):
            for count in counts:
                row = {"precision": precision, "attention": backend.name, "tokens": tokens, "n": count,
                       **_layer(net, one, tokens, count, precision)}
                alone = row["block_ms"] if count == 1 else next(
                    other["block_ms"] for other in found
                    if (other["precision"], other["tokens"], other["n"]) == (precision, tokens, 1))
                row["of_ideal"] = round(row["block_ms"] / (alone / count), 4)
                found.append(row)
                print(json.dumps(row), flush=True)
    return found


def _layer(net: SCAIL2Transformer, one: OneRank, tokens: int, count: int, precision: str) -> dict:
    """Two blocks in the middle of the network, the rank with the most rows."""
    config, device = net.config, net.blocks[0].modulation.device
    kind = dtype_on(device)
    own, width = largest_share(tokens, count), config.dim // count
    generator = torch.Generator(device).manual_seed(1)

    def drawn(*shape: int, dtype: torch.dtype = kind) -> Tensor:
        return torch.randn(1, *shape, generator=generator, device=device).to(dtype)

    one.count, one.tokens = count, tokens
    one.arrived = {} if count == 1 else {name: drawn(own if name == "results" else tokens, width)
                                         for name in ("keys", "values", "queries", "results")}
    x, modulation = drawn(own, config.dim, dtype=torch.float32), 0.1 * drawn(6, config.dim, dtype=torch.float32)
    context = drawn(config.text_len + CLIP_TOKENS, config.dim)
    angles = torch.rand(own, config.dim // config.num_heads // 2, generator=generator, device=device)
    rotation, options = (angles.cos(), angles.sin()), {"cond_or_uncond": [0]}
    run = SparseRun(SparseSettings(error_limit=0.0)) if precision == FAST else None
    if run is not None:
        options[RUN] = run

    def blocks() -> Tensor:
        for index in (1, 2):
            options["block_index"] = index
            y = net.blocks[index](x, modulation, rotation, context, None, options, None)
        return y

    for sigma in (900.0, 800.0, 700.0):  # sparse attention chooses by the steps before
        if run is not None:
            run.begin(sigma, options)
        blocks()
        x.normal_(generator=generator)
    seconds, launching, peak = timed(blocks, device)
    return {"rows": own, "block_ms": round(500 * seconds, 3), "launch_ms": round(500 * launching, 3),
            "block_gib": round(peak / 2**30, 3)}
