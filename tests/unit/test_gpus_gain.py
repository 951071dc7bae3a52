"""What n GPUs bring: reckoned by hand for a layer of round numbers."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from scail_model.config import TransformerConfig
from scail_model.gpus.gain import ALONE, NVLINK, Layer, Together, largest_share, layer_seconds
from scail_model.kernels.precision import FAST as FAST_PRECISION
from scail_model.preflight import forward_time
from scail_model.preflight.budget import token_count, token_seconds
from scail_model.sparse.settings import SparseSettings

# 4096 rows of 1000: 2048 on each of two, whose halves of the heads are 2.048 MB for each tensor
LAYER = Layer(tokens=4096, dim=1000, linears=8e-3, projection=1e-3, context=1e-3, attention=16e-3, one_call=False)
COPIES = {2: 18 * 2048 * 1000 / 3.4e12, 4: 17 * 1024 * 1000 / 3.4e12}
LOST = 1e-3
FAST = 1e15  # a link on which nothing is waited for


def test_one_gpu_takes_what_it_takes():
    assert layer_seconds(LAYER, ALONE) == pytest.approx(25e-3)
    assert layer_seconds(LAYER, replace(ALONE, link=1.0)) == pytest.approx(25e-3)


@pytest.mark.parametrize("count", [2, 4])
def test_rows_and_heads_are_shared_and_the_context_is_not(count):
    assert layer_seconds(LAYER, Together(count, FAST)) == pytest.approx(
        24e-3 / count + 1e-3 + COPIES[count] + LOST)


def test_keys_and_values_travel_behind_projections_and_the_rest_behind_half_of_the_own_rows():
    own = 13e-3 + COPIES[2] + LOST
    tensor = 2 * 2048 * 1000 / 2
    # a projection of the own rows takes 0.5 ms; a quarter of the attention 2 ms
    assert layer_seconds(LAYER, Together(2, tensor / 0.5e-3)) == pytest.approx(own)
    assert layer_seconds(LAYER, Together(2, tensor / 0.8e-3)) == pytest.approx(own + 2 * 0.3e-3)
    assert layer_seconds(LAYER, Together(2, tensor / 3e-3)) == pytest.approx(own + 2 * 2.5e-3 + 2 * (3e-3 - 2e-3))


def test_queries_and_results_are_waited_for_where_queries_come_in_one_call():
    tensor = 2 * 2048 * 1000 / 2
    waiting = layer_seconds(replace(LAYER, one_call=True), Together(2, tensor / 0.5e-3))
    assert waiting == pytest.approx(13e-3 + COPIES[2] + LOST + 2 * 0.5e-3)


def test_results_travel_behind_the_own_rows_where_rows_come_in_parts():
    tensor, layer = 2 * 2048 * 1000 / 2, replace(LAYER, one_call=True, in_parts=True, projection=40e-3)
    own = 13e-3 + COPIES[2] + LOST  # of it 4 ms of attention to the own rows
    assert layer_seconds(layer, Together(2, tensor / 3e-3)) == pytest.approx(own + 3e-3)
    assert layer_seconds(layer, Together(2, tensor / 5e-3)) == pytest.approx(own + 5e-3 + 1e-3)


def test_each_of_four_sends_three_quarters_of_its_rows():
    tensor = 2 * 1024 * 1000 * 3 / 4
    waiting = layer_seconds(replace(LAYER, one_call=True), Together(4, tensor / 0.1e-3))
    assert waiting == pytest.approx(7e-3 + COPIES[4] + LOST + 2 * 0.1e-3)


@pytest.mark.parametrize(("tokens", "count", "rows"), [
    (48832, 1, 48832), (48832, 2, 24512), (48832, 8, 6144), (95920, 5, 19200), (100, 2, 64), (512, 2, 256), (9, 40, 1)])
def test_the_gpu_with_most_rows(tokens, count, rows):
    """Parts are multiples of 256 rows, or of fewer where there are few."""
    assert largest_share(tokens, count) == rows


@pytest.mark.parametrize(("gpus", "conditionings", "rounds", "each"), [
    (1, 1, 1, 1), (1, 2, 2, 1), (2, 1, 1, 2), (2, 2, 1, 1), (4, 2, 1, 2), (5, 2, 2, 5), (8, 2, 1, 4)])
def test_guidance_is_shared_before_rows(gpus, conditionings, rounds, each):
    assert Together(gpus).shared(conditionings) == (rounds, Together(each, NVLINK, gpus // each))


@pytest.mark.parametrize(("gpus", "forwards", "least"), [(2, 1, 20e-3), (4, 1, 40e-3), (2, 2, 40e-3), (1, 2, 25e-3)])
def test_a_layer_takes_as_long_as_all_threads_need_to_launch_it(gpus, forwards, least):
    """One after the other, also those of another forward."""
    assert layer_seconds(replace(LAYER, launching=10e-3), Together(gpus, FAST, forwards)) == pytest.approx(least)


MEASURED = json.loads((Path(__file__).parents[1] / "bench/gpus_h200.json").read_text())
ONE = {(row["precision"], row["tokens"]): row["block_ms"] / 1e3 for row in MEASURED["parts"] if row["n"] == 1}


@pytest.mark.parametrize("row", [row for row in MEASURED["parts"] if row["n"] > 1],
                         ids=lambda row: f"{row['precision']} {row['tokens']} {row['n']}")
def test_a_gpus_own_work_is_what_was_measured(row, monkeypatch):
    """Where nothing travels, and nothing is launched by others, as a share of one GPU's."""
    for name in ("LAUNCHING", "INT8_LAUNCHING"):
        monkeypatch.setattr(forward_time, name, 0.0)
    config, count, tokens = TransformerConfig(), row["n"], row["tokens"]
    how = {"int8": True} if row["precision"] != "exact" else {}
    if row["precision"] == FAST_PRECISION:
        how["density"] = SparseSettings().first(tokens)
    alone = ONE[row["precision"], tokens]
    reckoned = (token_seconds(config, tokens, together=Together(count, FAST), **how)
                / token_seconds(config, tokens, **how))
    assert row["block_ms"] / 1e3 / alone == pytest.approx(reckoned, rel=0.06)


PAGE = (Path(__file__).parents[2] / "docs/gpus.md").read_text(encoding="utf-8")
ROWS = re.findall(r"^\| (\d+)x(\d+), (exact|8-bit|fast) \| (\d\.\d\d / .*) \|$", PAGE, re.MULTILINE)


@pytest.mark.parametrize(("height", "width", "precision", "gains"), ROWS)
def test_the_page_says_what_the_check_reckons(height, width, precision, gains):
    """Of 81 frames, at guidance 1 and above."""
    config, tokens = TransformerConfig(), token_count(int(width), int(height), 81, 0)
    how = {"int8": True} if precision != "exact" else {}
    if precision == FAST_PRECISION:
        how["density"] = SparseSettings().first(tokens)

    def step(prompts, together):
        rounds, each = together.shared(prompts)
        return rounds * token_seconds(config, tokens, together=each, **how)

    for count, pair in zip((2, 4, 5, 8), gains.split(" | "), strict=True):
        for prompts, gain in enumerate(pair.split(" / "), 1):
            assert float(gain) == pytest.approx(step(prompts, ALONE) / step(prompts, Together(count)), abs=0.006)


def test_the_page_has_both_sizes_and_all_precisions():
    assert len(ROWS) == 6
