"""int8 linears: against float64 products of what the values stand for, and the kernels against their definitions."""

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from scail_model.attention import sdpa
from scail_model.kernels import fp8_attention, int8
from scail_model.kernels.linears import FullPrecision, Int8, Quantising


@pytest.fixture(autouse=True)
def no_grad():
    with torch.no_grad():
        yield


def relative(a, b):
    return float((a.double() - b.double()).norm() / b.double().norm())


def test_values_are_within_half_a_step_of_what_they_stand_for():
    x = torch.randn(2, 7, 64) * torch.logspace(-3, 3, 7)[:, None]
    rows = int8.quantise(x)
    assert torch.all((rows.wide() - x).abs() <= 0.5001 * rows.scale[..., None])
    assert torch.all(rows.values.abs().amax(-1) == 127)  # every row uses its whole range


def test_a_row_of_zeros_stays_zero():
    assert torch.all(int8.quantise(torch.zeros(1, 2, 32)).wide() == 0)


def test_gelu_uses_the_whole_range_of_int8():
    x = 3 * torch.randn(1, 5, 4096)
    rows, exact = int8.gelu(x), F.gelu(x, approximate="tanh")
    assert rows.values.min() == -127
    assert rows.values.max() == 127
    assert relative(rows.wide(), exact) < 0.6 * relative(int8.quantise(exact).wide(), exact)


@pytest.mark.parametrize("make", [int8.quantise, int8.gelu])
def test_linear_is_the_product_of_what_the_values_stand_for(make):
    rows, weight, bias = make(torch.randn(2, 5, 96)), int8.quantise_weight(torch.randn(40, 96)), torch.randn(40)
    expected = rows.wide().double() @ (weight.values.double() * weight.scale[:, None].double()).T + bias.double()
    assert relative(int8.linear(rows, weight, bias), expected) < 1e-6


def test_products_of_normally_distributed_values_are_off_by_little_more_than_a_percent():
    x, w = torch.randn(1, 64, 2048), torch.randn(64, 2048)
    error = relative(int8.linear(int8.quantise(x), int8.quantise_weight(w), None), x @ w.T)
    assert 0.005 < error < 0.015


def test_only_the_linears_that_are_taken_are_int8():
    network = nn.ModuleDict({"a": nn.Linear(64, 64), "b": nn.Linear(64, 64)})
    arithmetic, x = Quantising(), torch.randn(1, 3, 64)
    arithmetic.take(network, ["b"])
    assert torch.equal(arithmetic.product(network["a"], x), network["a"](x))
    assert 1e-4 < relative(arithmetic.product(network["b"], x), network["b"](x)) < 0.05


def test_norms_hand_over_what_their_reader_wants():
    network = nn.ModuleDict({"a": nn.Linear(64, 64), "b": nn.Linear(64, 64)})
    arithmetic, x, y = Quantising(), torch.randn(1, 3, 64), torch.randn(1, 3, 64)
    arithmetic.take(network, ["b"])
    weight, bias, gate = torch.randn(3, 1, 1, 64)
    for reader in network.values():
        norm = arithmetic.norm(x, weight, bias, 1e-6, torch.float32, reader)
        stream, added = arithmetic.add_norm_(x.clone(), y, gate, weight, bias, 1e-6, torch.float32, reader)
        exact = FullPrecision().add_norm_(x.clone(), y, gate, weight, bias, 1e-6, torch.float32, reader)
        assert torch.equal(stream, exact[0])
        whole = FullPrecision().norm(x, weight, bias, 1e-6, torch.float32, reader)
        for found, expected in ((norm, whole), (added, exact[1])):
            if reader is network["b"]:
                assert relative(found.wide(), expected) < 0.02
            else:
                assert torch.equal(found, expected)


def test_gradients_take_the_exact_way():
    layer = nn.Linear(32, 32)
    arithmetic = Quantising()
    arithmetic.take(nn.ModuleDict({"a": layer}), ["a"])
    with torch.enable_grad():
        x = torch.randn(1, 3, 32, requires_grad=True)
        assert torch.equal(arithmetic.product(layer, x), layer(x))


def test_rows_for_a_reader_that_is_not_int8_are_widened():
    layer, rows = nn.Linear(32, 8), int8.quantise(torch.randn(1, 3, 32))
    made = Int8(lambda _: False, None).product(layer, rows)
    assert torch.equal(made, layer(rows.wide()))


# a process of its own, because Triton reads the variable when it is imported
SCRIPT = """
    import os
    os.environ["TRITON_INTERPRET"] = "1"
    import torch
    from scail_model.kernels import fp8_attention, triton_fp8 as fp8_kernels, int8, triton_int8 as kernels

    torch.manual_seed(0)
    torch.set_grad_enabled(False)

    def same(found, rows):
        values, scale, *zero = found
        assert (values.int() - rows.values.int()).abs().max() <= 1  # on the edge between two values
        assert (values != rows.values).float().mean() < 1e-3
        torch.testing.assert_close(scale, rows.scale)
        if zero:
            torch.testing.assert_close(zero[0], rows.zero)

    x, y = torch.randn(2, 2, 5, 384)  # not a power of two; two items with modulations of their own
    same(kernels.quantise(x), int8.quantise(x))
    same(kernels.gelu(x), int8.gelu(x))
    for lead in (1, 2):
        weight, bias = torch.randn(2, lead, 1, 384)
        same(kernels.layer_norm(x, weight, bias, 1e-6), int8.layer_norm(x, weight, bias, 1e-6, torch.float32))
        for gate in (None, torch.randn(2, 1, 384)):
            stream = x.clone()
            result, *found = kernels.add_gated_norm_(stream, y.bfloat16(), gate, weight, bias, 1e-6)
            total, rows = int8.add_gated_norm_(x.clone(), y.bfloat16(), gate, weight, bias, 1e-6, torch.float32)
            torch.testing.assert_close(result, total)
            assert result.data_ptr() == stream.data_ptr()
            same(found, rows)
    weight, bias = int8.quantise_weight(torch.randn(300, 384)), torch.randn(300)  # tiles that stick out
    for rows in (int8.quantise(x), int8.gelu(x)):
        for b in (bias, None):
            made = kernels.linear(rows.values, rows.scale, rows.zero, weight.values, weight.scale, b, torch.float32)
            torch.testing.assert_close(made, int8.linear(rows, weight, b), rtol=1e-4, atol=1e-3)

    def heads(x):  # [..., L, 256] -> two heads
        return x.float().unflatten(-1, (2, -1)).transpose(-3, -2)

    x = torch.randn(700, 600).bfloat16()  # strips and spans that stick out
    found = fp8_kernels.survey(x + 3)
    torch.testing.assert_close(found.mean, (x + 3).float().mean(0), rtol=1e-5, atol=1e-5)
    assert found.largest == (x + 3).float().abs().max()
    torch.testing.assert_close(found.size(), ((x + 3).float() - found.mean).square().mean().sqrt())

    x, mean, step = torch.randn(200, 256).bfloat16(), torch.randn(256), torch.tensor(0.1)
    for m in (mean, None):
        centred = x.float() if m is None else x.float() - m
        exact = (centred.unflatten(-1, (2, 128)) @ fp8_attention.hadamard(128)).flatten(1)
        made = fp8_kernels.narrow_turned(x, m, step).float() * step
        # three bits behind the first; the interpreter does not round them
        assert 0.01 < (made - exact).norm() / exact.norm() < 0.1
        assert made.abs().max() <= 44.8
    x[0] = 1e4
    assert torch.isfinite(fp8_kernels.narrow_turned(x, mean, step).float()).all()

    k = torch.randn(2, 300, 256).bfloat16() * 1.5 + 5
    for factor in (1.0, 1.1):
        assert (fp8_attention.over(k * factor, k, 2) is None) == fp8_attention.too_large(k * factor) == (factor > 1)

    # attention to the first 256 keys, and the kernel that adds the last 40
    q, k, v = (torch.randn(n, 256).to(torch.float8_e4m3fn) for n in (70, 296, 296))
    scores, values = heads(q) @ heads(k).transpose(-1, -2) * 128**-0.5, heads(v) / 4
    found = (scores[..., :256].softmax(-1) @ values[:, :256]).transpose(0, 1).flatten(1)
    sums, mean = scores[..., :256].logsumexp(-1).contiguous(), torch.randn(256)
    two, quarter, unit = torch.tensor([2.0, 0.25, 128**-0.5]).unbind()
    for more in (40, 0):
        made = fp8_kernels.finish(found / 2, sums, two, q, k[256:256 + more], v[256:256 + more], unit, quarter, mean, 2,
                                  torch.float32) - mean
        exact = (scores[..., :256 + more].softmax(-1) @ values[:, :256 + more]).transpose(0, 1).flatten(1)
        torch.testing.assert_close(made, exact, rtol=0, atol=1e-3)
    print("all equal")
"""


def test_kernels_equal_their_definitions():
    pytest.importorskip("triton", reason="the GPU kernels are not tested: Triton is not installed (Linux only)")
    result = subprocess.run([sys.executable, "-c", textwrap.dedent(SCRIPT)], capture_output=True, text=True,
                            cwd=Path(__file__).parents[2], timeout=200)
    assert result.stdout.strip() == "all equal", result.stderr


@pytest.mark.parametrize("common", [0.0, 5.0])
def test_attention_in_8_bits_keeps_what_differs_between_tokens(common):
    """However much all keys and all values have in common."""
    torch.manual_seed(0)
    q, k, v = torch.randn(3, 2, 700, 256)
    k, v = k + common * torch.randn(256), v + common * torch.randn(256)
    exact = sdpa(q, k, v, 2)
    differs = exact - v.mean(1, keepdim=True)
    assert 0.01 < float((fp8_attention.definition(q, k, v, 2) - exact).norm() / differs.norm()) < 0.1


def test_scores_of_few_channels_keep_their_precision():
    """As in a trained network: most of every score comes from two of the channels."""
    torch.manual_seed(0)
    q, k, v = torch.randn(3, 1, 700, 128)
    q[..., :2] *= 3
    k[..., :2] *= 6
    exact = sdpa(q, k, v, 1)
    assert float((fp8_attention.definition(q, k, v, 1) - exact).norm() / exact.norm()) < 0.08


def test_large_keys_are_refused_whatever_they_have_in_common():
    torch.manual_seed(0)
    k = torch.randn(2, 700, 256)
    assert not fp8_attention.too_large(k * 1.5 + 10 * torch.randn(256))
    k[1] *= 1.7
    assert fp8_attention.too_large(k)


def test_items_of_a_batch_have_scales_of_their_own():
    q, k, v = torch.randn(3, 2, 300, 128)
    v[1] *= 1e4
    together, alone = fp8_attention.definition(q, k, v, 1), fp8_attention.definition(q[:1], k[:1], v[:1], 1)
    torch.testing.assert_close(together[:1], alone, rtol=0, atol=1e-6)
