"""comfy-kitchen's attention as backends of ours. In its place stand functions that have its layouts and take no more
than it does, but compute exactly."""

import sys
from types import SimpleNamespace

import golden
import pytest
import torch
from test_transformer import arguments

from scail_model.attention import sdpa
from scail_model.kernels import attention_choice, int8_attention, sol_attention
from scail_model.kernels.sparse_attention import RUN
from scail_model.sparse.calibration import Calibration
from scail_model.sparse.run import SparseRun
from scail_model.sparse.settings import SparseSettings

CPU = torch.device("cpu")


class Kitchen:
    """Of the package. calls: heads, queries and density of each call of sol_attn."""

    def __init__(self) -> None:
        self.calls = []

    def int8_attention(self, q, k, v, *, scale=None, attn_mask=None):
        """[B, heads, L, 128]"""
        assert q.stride(-1) == k.stride(-1) == v.stride(-1) == 1
        return torch.nn.functional.scaled_dot_product_attention(q, k, v)

    def sol_attn(self, q, k, v, tau=1.0, scale=None, *, topk_ratio=0.0):
        """(B, T, H, 128)"""
        assert q.shape == k.shape == v.shape
        assert q.shape[-1] == 128
        assert 0 < topk_ratio < 1
        self.calls.append((q.shape[2], q.shape[1], topk_ratio))
        return torch.nn.functional.scaled_dot_product_attention(
            *(x.transpose(1, 2) for x in (q, k, v))).transpose(1, 2).contiguous()


@pytest.fixture
def kitchen(monkeypatch):
    package = Kitchen()
    monkeypatch.setitem(sys.modules, "comfy_kitchen", SimpleNamespace(
        int8_attention=package.int8_attention, sol_attn=package.sol_attn))
    return package


def drawn(*shape, dtype=torch.float16):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0)).to(dtype)


@pytest.mark.parametrize("heads", [1, 8, 11])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_sparse_attention_of_any_length_batch_and_number_of_heads(kitchen, heads, dtype):
    q, k, v = drawn(3, 2, 333, heads * 128, dtype=dtype)
    found = sol_attention.attention(q, k, v, heads, 0.3)
    assert found.dtype == dtype
    torch.testing.assert_close(found, sdpa(q, k, v, heads), rtol=0, atol=0.01)
    assert max(given for given, *_ in kitchen.calls) <= 8
    assert {density for *_, density in kitchen.calls} == {0.3}


def test_attention_in_int8_of_fewer_queries_than_keys(kitchen):
    q, k, v = drawn(3, 2, 333, 256)
    found = int8_attention.prepare_kv(k, v, 2)(q[:, :100])
    torch.testing.assert_close(found, sdpa(q[:, :100], k, v, 2), rtol=0, atol=0.01)


@pytest.mark.parametrize("value", [2.0, torch.nan, torch.inf])
def test_large_keys_of_any_item_are_refused(kitchen, value):
    k = drawn(2, 333, 256)
    k[1] *= value
    assert int8_attention.prepare_kv(k, k, 2) is None


def test_what_all_keys_share_makes_them_no_larger(kitchen):
    k = drawn(2, 333, 256) + 100 * drawn(256)
    assert int8_attention.prepare_kv(k, k, 2) is not None


@pytest.fixture
def built(monkeypatch, kitchen):
    """Backends as a host builds them, for a few keys already."""
    monkeypatch.setattr(attention_choice, "_FEW_KEYS", 100)
    monkeypatch.setattr(sol_attention, "FEWEST_KEYS", 100)
    exact = []

    def host(q, k, v, heads, transformer_options=None, **options):
        exact.append(k.shape[1])
        return sdpa(q, k, v, heads)

    def build(name):
        return attention_choice._build(name, CPU, "", attention_choice.HostAttention("core", "pytorch", host)), exact

    return build


@pytest.mark.parametrize("name", ["int8", "sol"])
@pytest.mark.parametrize(("case", "by_host"), [
    ("as they come", False), ("few keys", True), ("large keys", True), ("float32", True)])
def test_few_large_and_wide_keys_are_left_to_exact_attention(built, kitchen, name, case, by_host):
    backend, exact = built(name)
    q, k, v = drawn(3, 1, 50 if case == "few keys" else 150, 256)
    if case == "large keys":
        k = k * 2
    if case == "float32":
        q, k, v = q.float(), k.float(), v.float()
    run = SparseRun(SparseSettings(), Calibration(150, {1: 0.3}))  # the second layer is measured in a later step
    found = backend.prepare_kv(k, v, 2, {RUN: run, "block_index": 1})(q)
    torch.testing.assert_close(found, sdpa(q, k, v, 2), rtol=0, atol=0.01)
    assert bool(exact) == by_host


def test_only_self_attention_is_sparse(built, kitchen):
    """What stands in for it, as under other nodes' attention, is exact."""
    backend, exact = built("sol")
    q, k, v = drawn(3, 1, 150, 256)
    backend(q, k, v, 2, {RUN: SparseRun(SparseSettings()), "block_index": 0})
    assert exact
    assert not kitchen.calls


@pytest.mark.parametrize("rows", [None, 50])
def test_the_network_computes_with_it_in_every_block_and_in_chunks(built, kitchen, monkeypatch, rows):
    inputs, _ = arguments("A4_batch2_t3_8x12", "repl_add1_hist_t12_12")
    backend, exact = built("sol")
    monkeypatch.setattr(attention_choice, "_SIXTEEN_BITS", (torch.float32,))
    monkeypatch.setattr(attention_choice.fp8_attention, "keys_are_large", lambda *_: False)
    network = golden.tiny_transformer(attention=backend)
    monkeypatch.setattr(network, "rows_at_once", lambda *_: rows)
    run = SparseRun(SparseSettings(density=0.3))
    torch.testing.assert_close(network(**inputs, transformer_options={RUN: run}), golden.tiny_transformer()(**inputs),
                               rtol=0, atol=5e-6)
    length = 2 * 24 + 3 * 24 + 3 * 6
    assert {queries for _, queries, _ in kitchen.calls} == {length}
    assert len(kitchen.calls) == 2 * 2  # blocks and items
    assert [error.layer for error in run.errors] == [0, 1]
    assert max(error.error for error in run.errors) < 1e-3
    assert run.errors[0].density == pytest.approx(0.3)
