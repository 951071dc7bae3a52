"""How long a forward of the network takes, on one GPU or several: by the formulas of `budget` and `gpus.gain`."""

from __future__ import annotations

from dataclasses import replace

from ..config import CLIP_TOKENS, TransformerConfig
from ..gpus.gain import ALONE, Layer, Together, layer_seconds

H200_TFLOPS = 798.0  # of the product that `budget.probe_tflops` measures
_LINEAR_RATE, _ATTENTION_RATE = 661e12, 588e12  # FLOP/s on the H200
_INT8_TIME = 0.78  # of the linears' in bfloat16
_CHOOSING_TIME, _CHOSEN_TIME = 0.05, 0.9  # of self-attention's: what sparse attention takes anyway, and for its share

# Of a thread that launches a layer's kernels and its exchange in turn with others: beside one H200 5.9 ms each of eight
# threads in exact, 8.8 and 9.1 of four in 8-bit and fast (9.9 of eight in fast)
LAUNCHING, INT8_LAUNCHING = 6e-3, 9e-3


def token_seconds(config: TransformerConfig, tokens: int, matmul_tflops: float = H200_TFLOPS, *, int8: bool = False,
                  density: float = 1.0, together: Together = ALONE) -> float:
    """Duration of one forward of `tokens` tokens on GPUs of this speed."""
    slower = H200_TFLOPS / matmul_tflops
    # the layer in the H200's seconds, so the link in what it delivers in one of them
    there = replace(together, link=together.link * slower)
    layer = _layer(config, tokens, int8, density)
    if together.gpus * together.forwards > 1:
        layer = replace(layer, launching=(INT8_LAUNCHING if int8 else LAUNCHING) / slower)
    return slower * config.num_layers * layer_seconds(layer, there)


def forward_flops(config: TransformerConfig, tokens: int) -> tuple[int, int]:
    """(linears, attention) of the blocks in one forward of one conditioning."""
    linear = _rows_flops(config, tokens) + _context_flops(config)
    attention = 4 * tokens * (tokens + config.text_len + CLIP_TOKENS) * config.dim
    return config.num_layers * linear, config.num_layers * attention


def _layer(config: TransformerConfig, tokens: int, int8: bool, density: float) -> Layer:
    """On the H200."""
    rate = _LINEAR_RATE / (_INT8_TIME if int8 else 1.0)
    attention = forward_flops(config, tokens)[1] / config.num_layers / _ATTENTION_RATE
    attention *= 1.0 if density == 1 else min(1.0, _CHOOSING_TIME + _CHOSEN_TIME * density)
    return Layer(tokens, config.dim, _rows_flops(config, tokens) / rate, 2 * tokens * config.dim**2 / rate,
                 _context_flops(config) / rate, attention, one_call=int8 or density != 1, in_parts=density != 1)


def _rows_flops(config: TransformerConfig, tokens: int) -> int:
    """Of a layer's linears, of the tokens."""
    return 2 * tokens * (6 * config.dim**2 + 2 * config.dim * config.ffn_dim)


def _context_flops(config: TransformerConfig) -> int:
    """Of a layer's linears, of text and image."""
    return 4 * (config.text_len + CLIP_TOKENS) * config.dim**2
