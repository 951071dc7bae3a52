"""Attention in 8-bit floats, in plain PyTorch: its error, and where it leaves the work to another. The operations:
`test_kernels.py`."""

import pytest
import torch

from scail_model.attention import sdpa
from scail_model.kernels import fp8_attention


@pytest.mark.parametrize("common", [0.0, 5.0])
def test_attention_in_8_bits_keeps_what_differs_between_tokens(common):
    """However much all keys and all values have in common."""
    torch.manual_seed(0)
    q, k, v = torch.randn(3, 2, 700, 256)
    k, v = k + common * torch.randn(256), v + common * torch.randn(256)
    exact = sdpa(q, k, v, 2)
    differs = exact - v.mean(1, keepdim=True)
    assert 0.01 < float((fp8_attention.attention(q, k, v, 2) - exact).norm() / differs.norm()) < 0.1


def test_scores_of_few_channels_keep_their_precision():
    """As in a trained network: most of every score comes from two of the channels."""
    torch.manual_seed(0)
    q, k, v = torch.randn(3, 1, 700, 128)
    q[..., :2] *= 3
    k[..., :2] *= 6
    exact = sdpa(q, k, v, 1)
    assert float((fp8_attention.attention(q, k, v, 1) - exact).norm() / exact.norm()) < 0.08


def test_large_keys_are_refused_whatever_they_have_in_common():
    torch.manual_seed(0)
    k = torch.randn(2, 700, 256)
    assert fp8_attention.prepare_kv(k * 1.5 + 10 * torch.randn(256), k, 2) is not None
    k[1] *= 1.7
    assert fp8_attention.prepare_kv(k, k, 2) is None


def test_items_of_a_batch_have_scales_of_their_own():
    q, k, v = torch.randn(3, 2, 300, 128)
    v[1] *= 1e4
    together, alone = fp8_attention.attention(q, k, v, 1), fp8_attention.attention(q[:1], k[:1], v[:1], 1)
    torch.testing.assert_close(together[:1], alone, rtol=0, atol=1e-6)
