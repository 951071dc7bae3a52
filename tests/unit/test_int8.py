"""Linears in int8: their error, and which linears they are. The operations: `test_kernels.py`."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from scail_model.kernels import int8
from scail_model.kernels.linears import FullPrecision, Int8, QuantizingInt8


@pytest.fixture(autouse=True)
def no_grad():
    with torch.no_grad():
        yield


def relative(a, b):
    return float((a.double() - b.double()).norm() / b.double().norm())


def test_gelu_is_half_as_far_off_with_a_zero_of_its_own():
    x = 3 * torch.randn(1, 5, 4096)
    exact = F.gelu(x, approximate="tanh")
    assert relative(int8.gelu(x).dequantize(), exact) < 0.6 * relative(int8.quantize(exact).dequantize(), exact)


@pytest.mark.parametrize("make", [int8.quantize, int8.gelu])
def test_linear_is_the_product_of_what_the_values_stand_for(make):
    rows, weight, bias = make(torch.randn(2, 5, 96)), int8.quantize_weight(torch.randn(40, 96)), torch.randn(40)
    expected = rows.dequantize().double() @ (weight.values.double() * weight.scale[:, None].double()).T + bias.double()
    assert relative(int8.linear(rows, weight, bias), expected) < 1e-6


def test_products_of_normally_distributed_values_are_off_by_little_more_than_a_percent():
    x, w = torch.randn(1, 64, 2048), torch.randn(64, 2048)
    error = relative(int8.linear(int8.quantize(x), int8.quantize_weight(w), None), x @ w.T)
    assert 0.005 < error < 0.015


def test_only_the_linears_that_are_taken_are_int8():
    network = nn.ModuleDict({"a": nn.Linear(64, 64), "b": nn.Linear(64, 64)})
    linears, x = QuantizingInt8(), torch.randn(1, 3, 64)
    linears.quantize(network, ["b"])
    assert torch.equal(linears.product(network["a"], x), network["a"](x))
    assert 1e-4 < relative(linears.product(network["b"], x), network["b"](x)) < 0.05


def test_norms_hand_over_what_their_reader_wants():
    network = nn.ModuleDict({"a": nn.Linear(64, 64), "b": nn.Linear(64, 64)})
    linears, x, y = QuantizingInt8(), torch.randn(1, 3, 64), torch.randn(1, 3, 64)
    linears.quantize(network, ["b"])
    weight, bias, gate = torch.randn(3, 1, 1, 64)
    for reader in network.values():
        norm = linears.norm(x, weight, bias, 1e-6, torch.float32, reader)
        stream, added = linears.add_norm_(x.clone(), y, gate, weight, bias, 1e-6, torch.float32, reader)
        exact = FullPrecision().add_norm_(x.clone(), y, gate, weight, bias, 1e-6, torch.float32, reader)
        assert torch.equal(stream, exact[0])
        whole = FullPrecision().norm(x, weight, bias, 1e-6, torch.float32, reader)
        for found, expected in ((norm, whole), (added, exact[1])):
            if reader is network["b"]:
                assert relative(found.dequantize(), expected) < 0.02
            else:
                assert torch.equal(found, expected)


def test_gradients_take_the_exact_way():
    layer = nn.Linear(32, 32)
    linears = QuantizingInt8()
    linears.quantize(nn.ModuleDict({"a": layer}), ["a"])
    with torch.enable_grad():
        x = torch.randn(1, 3, 32, requires_grad=True)
        assert torch.equal(linears.product(layer, x), layer(x))


def test_tokens_for_a_reader_that_is_not_int8_are_dequantized():
    layer, rows = nn.Linear(32, 8), int8.quantize(torch.randn(1, 3, 32))
    made = Int8(lambda _: False, None).product(layer, rows)
    assert torch.equal(made, layer(rows.dequantize()))
