"""Block-sparse attention in plain PyTorch: what is computed, how far off it is, and what a run makes of that. The
operations: `test_kernels.py`."""

import pytest
import torch

from scail_model.attention import sdpa
from scail_model.kernels import attention_choice, sparse_attention
from scail_model.kernels.attention_choice import HostAttention
from scail_model.kernels.in_parts import SparseInParts, of_whole
from scail_model.kernels.precision import FAST
from scail_model.sparse import report
from scail_model.sparse.calibration import Calibration
from scail_model.sparse.run import ROWS, SparseRun, sampled_rows
from scail_model.sparse.settings import SparseSettings

CPU = torch.device("cpu")
BACKEND = attention_choice.choose("automatic", CPU, FAST, HostAttention("pytorch", "pytorch", sdpa))


def tokens(length=1500, heads=2, batch=1, seed=0):
    """Queries and keys whose attention is gathered, as a trained network's: groups of 16 look at groups of 16."""
    generator = torch.Generator().manual_seed(seed)
    q, k, v = torch.randn(3, batch, length, heads * 128, generator=generator)
    topics = torch.randn(12, heads * 128, generator=generator) * 2
    of_rows = torch.randint(12, (2, batch, -(-length // 16)), generator=generator).repeat_interleave(16, -1)
    return q + topics[of_rows[0, :, :length]], k + topics[of_rows[1, :, :length]], v


def distance(a, b):
    return float((a - b).norm() / b.norm())


def attend(run, q, k, v, layer=0, heads=2):
    return BACKEND.prepare_kv(k, v, heads, {sparse_attention.RUN: run, "block_index": layer})(q)


def started(density=0.2, limit=0.0, calibration=None):
    run = SparseRun(SparseSettings(density, limit), calibration)
    run.begin(1000.0)
    return run


def test_with_all_blocks_it_is_exact():
    q, k, v = tokens(batch=2)
    out, computed = sparse_attention.prepare_kv(k, v, 2)(q, 1.0)
    assert computed.tolist() == [[1, 1]] * 2
    torch.testing.assert_close(out, sdpa(q, k, v, 2), rtol=0, atol=1e-5)


@pytest.mark.parametrize("density", [0.1, 0.3, 0.6])
def test_about_the_density_is_computed(density):
    q, k, v = tokens(4000)
    _, computed = sparse_attention.prepare_kv(k, v, 2)(q, density)
    assert abs(float(computed.mean()) - density) < 0.02


def test_more_blocks_are_nearer_to_exact():
    q, k, v = tokens(3000)
    exact = sdpa(q, k, v, 2)
    errors = [distance(sparse_attention.prepare_kv(k, v, 2)(q, density)[0], exact) for density in (0.05, 0.2, 0.5, 0.8)]
    assert errors == sorted(errors, reverse=True)


def test_a_few_keys_among_many_are_found():
    """16 keys that every query looks at, in a block whose other keys point the other way: their mean hides them."""
    torch.manual_seed(0)
    look = torch.randn(128) * 3
    q, k, v = torch.randn(3, 1, 4096, 128)
    q = q * 0.3 + look
    k = k * 0.3
    k[:, 1280:1408] -= look / 7
    k[:, 1312:1328] = 0.3 * torch.randn(16, 128) + look
    exact = sdpa(q, k, v, 1)
    assert distance(sparse_attention.prepare_kv(k, v, 1)(q, 0.05)[0], exact) < 0.02


def test_what_is_left_out_counts_by_its_mean():
    """Equal keys in each block: their mean says everything, however few blocks are computed."""
    torch.manual_seed(0)
    q = torch.randn(1, 2000, 128)
    k = torch.randn(1, 16, 128).repeat_interleave(128, 1)[:, :2000]
    v = torch.randn(1, 2000, 128)
    assert distance(sparse_attention.prepare_kv(k, v, 1)(q, 0.01)[0], sdpa(q, k, v, 1)) < 1e-5


def test_items_of_a_batch_do_not_meet():
    q, k, v = tokens(batch=2)
    q[1] *= 3
    together = sparse_attention.prepare_kv(k, v, 2)(q, 0.2)[0]
    alone = sparse_attention.prepare_kv(k[:1], v[:1], 2)(q[:1], 0.2)[0]
    torch.testing.assert_close(together[:1], alone, rtol=0, atol=1e-5)


def test_chunks_of_whole_blocks_give_the_same():
    q, k, v = tokens(1500)
    attention = sparse_attention.prepare_kv(k, v, 2)
    chunks = torch.cat([attention(part, 0.2)[0] for part in q.split(512, 1)], 1)
    torch.testing.assert_close(chunks, attention(q, 0.2)[0], rtol=0, atol=1e-5)


def test_the_measured_error_is_the_true_one():
    q, k, v = tokens(4000)
    run = started()
    out = attend(run, q, k, v)
    (measured,) = run.errors
    assert (measured.step, measured.layer) == (0, 0)
    assert abs(measured.error / distance(out, sdpa(q, k, v, 2)) - 1) < 0.1


def test_sampled_rows_are_of_the_whole_sequence_and_others_in_each_turn():
    first, second = sampled_rows(48832, 0, CPU), sampled_rows(48832, 1, CPU)
    assert len(first) == ROWS
    assert (first.diff() - 48832 / ROWS).abs().max() < 1
    assert second.max() < 48832
    assert not set(first.tolist()) & set(second.tolist())
    assert len(set((first % 128).tolist())) > 100, "not the same row of every block"
    assert sampled_rows(300, 5, CPU).tolist() == list(range(300))


def test_a_layer_over_the_limit_computes_more_and_goes_on_with_it():
    q, k, v = tokens(4000)
    exact = sdpa(q, k, v, 2)
    loose, strict, none = (started(limit=limit) for limit in (0.9, 0.0001, 0.0))
    assert distance(attend(loose, q, k, v), exact) > 0.001
    torch.testing.assert_close(attend(strict, q, k, v), exact)
    assert strict.calibration() == Calibration(4000, {0: 1.0})
    assert strict.errors[0][2:] == (0.0, 1.0)
    strict.begin(900.0)
    torch.testing.assert_close(attend(strict, q, k, v), exact)
    assert len(strict.errors) == 1, "there is nothing to measure in a dense layer"
    attend(none, q, k, v)
    assert none.calibration() == Calibration(4000, {0: 0.2})


def test_between_both_a_layer_takes_twice_the_blocks():
    q, k, v = tokens(4000)
    exact, attention = sdpa(q, k, v, 2), sparse_attention.prepare_kv(k, v, 2)
    once, twice = (distance(attention(q, density)[0], exact) for density in (0.1, 0.2))
    run = started(density=0.1, limit=(once + twice) / 2)
    torch.testing.assert_close(attend(run, q, k, v), attention(q, 0.2)[0])
    assert run.calibration() == Calibration(4000, {0: 0.2})


def test_all_layers_are_measured_first_and_then_every_eighth_in_turn():
    q, k, v = tokens()
    run = started()
    for step in range(5):
        run.begin(1000.0 - step)
        for layer in range(16):
            attend(run, q, k, v, layer)
    layers = {step: [error.layer for error in run.errors if error.step == step] for step in range(5)}
    assert layers == {0: list(range(16)), 1: [7, 15], 2: [6, 14], 3: [5, 13], 4: [4, 12]}


def test_a_calibrated_run_begins_where_the_first_one_ended():
    q, k, v = tokens()
    run = started(calibration=Calibration.of(Calibration(1500, {0: 1.0, 1: 0.2}).values()))
    torch.testing.assert_close(attend(run, q, k, v, 0), sdpa(q, k, v, 2))
    attend(run, q, k, v, 1)
    assert run.errors == [], "layer 1 is not at its turn"
    assert run.calibration() == Calibration(1500, {0: 1.0, 1: 0.2})


def test_a_layer_that_was_not_sparse_leaves_the_others_their_calibration():
    """Attention in 8 bits leaves layers with large keys to exact attention."""
    run = started()
    for layer, density in ((0, 0.1), (2, 0.4)):
        run._prompt(0).densities[layer] = density
        attend(run, *tokens(), layer)
    later = started(calibration=Calibration.of(run.calibration().values()))
    for layer in range(3):
        attend(later, *tokens(), layer)
    assert later.calibration().densities == {0: 0.1, 1: 0.2, 2: 0.4}


def whole(function):
    """A sparse attention that computes all rows at once, and exactly as many blocks as it is asked for."""
    return SparseInParts(lambda q, density: (of_whole(function(q, density)), torch.tensor(density)))


def test_a_shorter_segment_looks_at_as_many_keys():
    settings, found = SparseSettings(), Calibration(56320, {0: 0.05, 1: 0.1, 2: 0.2})
    run = SparseRun(settings, found)
    for layer in range(3):
        run.attention(layer, 14080, whole(lambda q, density: q), lambda q: q)(torch.ones(1, 9, 128))
    assert run.calibration().densities == pytest.approx({0: 0.2, 1: 0.4, 2: 0.8})


def test_all_of_a_short_first_segment_is_no_reason_to_compute_all_of_a_long_one():
    run = SparseRun(SparseSettings(), Calibration(3000, {0: 1.0}))
    run.attention(0, 56320, whole(lambda q, density: q), lambda q: q)(torch.ones(1, 9, 128))
    assert run.calibration().densities == {0: 0.1}


def test_rows_in_parts_are_those_of_all_at_once():
    q, k, v = tokens(1300, 2)
    attention = sparse_attention.prepare_kv(k, v, 2)
    rows, computed = attention.begin(q, 0.2)
    parts = [slice(0, 256), slice(512, 1300), slice(256, 512)]
    found = torch.empty_like(q)
    for part in parts:
        found[:, part] = rows(part)
    expected, share = attention(q, 0.2)
    assert torch.equal(found, expected)
    assert torch.equal(computed, share)
    assert float(share.max()) < 0.5, "or nothing is left out"


def test_nan_goes_through_so_that_the_sampler_can_tell():
    q, k, v = tokens()
    run = started()
    assert attend(run, q * torch.nan, k, v).isnan().any()
    attend(run, q, k, v, 1)
    run.begin(900.0)
    assert attend(run, q * torch.nan, k, v).isnan().any()
    assert run.calibration().densities == {0: 0.2, 1: 0.2}


def test_calls_of_one_layer_in_one_step_count_together():
    """Chunks of rows, both prompts, windows."""
    q, k, v = tokens(3000)
    run = started()
    attention = BACKEND.prepare_kv(k, v, 2, {sparse_attention.RUN: run, "block_index": 0})
    out = torch.cat([attention(part) for part in q.split(1536, 1)], 1)
    (measured,) = run.errors
    assert abs(measured.error / distance(out, sdpa(q, k, v, 2)) - 1) < 0.1


def test_without_a_run_and_with_few_keys_it_is_exact():
    q, k, v = tokens()
    torch.testing.assert_close(BACKEND.prepare_kv(k, v, 2, {})(q), sdpa(q, k, v, 2))
    run = started()
    few = [x[:, :1000] for x in (q, k, v)]
    torch.testing.assert_close(attend(run, *few), sdpa(*few, 2))
    assert run.errors == []


def test_its_function_is_exact():
    """Cross-attention and other nodes call it."""
    q, k, v = tokens()
    torch.testing.assert_close(BACKEND(q, k, v, 2, {sparse_attention.RUN: started(), "block_index": 0}),
                               sdpa(q, k, v, 2))


def test_after_the_first_step_layers_get_blocks_by_the_roots_of_their_errors():
    """At a sixteenth of the smallest root a layer keeps half, at a hundred times the largest it gets twice as much."""
    run, q = started(density=0.1), torch.ones(1, 9, 128)
    for layer, error in enumerate((0.01, 0.01, 0.02, 1e-6)):
        run.attention(layer, 4000, whole(lambda q, density, error=error: q * (1 + error)),
                      lambda q: q)(q)
    assert [error.error for error in run.errors] == pytest.approx([0.01, 0.01, 0.02, 1e-6], rel=0.1)
    run.begin(900.0)
    roots = [0.01**0.5, 0.01**0.5, 0.02**0.5, 1e-3]
    shares = [0.1 * root / (sum(roots) / 4) for root in roots]
    assert [*run.calibration().densities.values()] == pytest.approx([*shares[:3], 0.05], rel=0.01)


@pytest.mark.parametrize(("length", "density"), [(48832, 5632 / 48832), (95920, 5632 / 95920), (3000, 1.0)])
def test_by_itself_the_density_is_a_number_of_keys(length, density):
    assert SparseSettings().first(length) == density


def test_dense_layers_count_at_their_turn():
    q, k, v = tokens()
    run = started(calibration=Calibration(1500, {0: 1.0, 1: 0.2, 2: 0.2, 3: 0.2, 4: 1.0}))
    for step in range(8):
        run.begin(1000.0 - step)
        for layer in range(5):
            attend(run, q, k, v, layer)
    assert [each[:2] for each in run.errors] == [(0, 0), (4, 4), (5, 3), (6, 2), (7, 1)]
    assert [each.density for each in run.errors[:2]] == [1.0, 1.0]
    assert "in 2 of 5 layers all" in report.line(run.errors)


def test_where_every_layer_was_over_the_limit_none_gets_less_after_the_first_step():
    clear, hard = tokens(4000), tuple(x * factor for x, factor in zip(tokens(4000), (0.4, 0.4, 1), strict=True))
    run = started(density=0.05, limit=1.65)
    for layer, given in enumerate((clear, hard)):
        attend(run, *given, layer)
    assert run.calibration().densities == {0: 0.1, 1: 0.2}
    run.begin(900.0)
    assert run.calibration().densities == {0: 0.1, 1: 0.2}
