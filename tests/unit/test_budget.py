"""The estimates are the figures that were measured, and the counts behind them are the network's own."""

import json
import math
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from scail_model.attention import float32_parameters, sdpa
from scail_model.blocks import Block
from scail_model.config import TransformerConfig
from scail_model.gpus.gain import ALONE, Together
from scail_model.kernels import chunks
from scail_model.kernels.linears import FullPrecision
from scail_model.kernels.precision import int8_storage
from scail_model.preflight.budget import (
    DECODING,
    ENCODING,
    Coder,
    Machine,
    Work,
    activation_bytes,
    coding_seconds,
    duration,
    estimate,
    forward_seconds,
    probe_tflops,
    sampling_seconds,
    seconds,
    token_count,
    token_seconds,
)
from scail_model.preflight.memory_checks import needed_on_each
from scail_model.rope import segment_rotations
from scail_model.sparse.settings import SparseSettings

GIB = 2**30
SEVERAL = json.loads((Path(__file__).parents[1] / "bench/gpus_h200.json").read_text())
MEASURED, H100 = (json.loads((Path(__file__).parents[1] / "bench" / f"budget_{name}.json").read_text())
                  for name in ("h200", "h100"))
WEIGHTS = 2 * sum(math.prod(shape) for shape in TransformerConfig().parameter_shapes().values())
H200 = Machine(139 * GIB, 138 * GIB, 100 * GIB, MEASURED["matmul_tflops"])
OTHER = Machine(79 * GIB, 78 * GIB, 100 * GIB, H100["probe_tflops"])
WORK = Work(TransformerConfig(), 896, 512, (81,), additional=0, steps=40, guidance=5.0, weight_bytes=WEIGHTS,
            driving_width=1920, driving_height=1080)


def label(row):
    return f"{row['height']}x{row['width']}x{row['frames']}+{row.get('additional', 0)}x{row.get('batch', 1)}"


forwards = pytest.mark.parametrize("row", MEASURED["forward"], ids=label)
clips = pytest.mark.parametrize("row", MEASURED["vae"], ids=label)


@forwards
def test_activations_are_the_measured_ones(row):
    tokens = token_count(row["width"], row["height"], row["frames"], row["additional"])
    assert activation_bytes(TransformerConfig(), tokens, row["batch"]) / GIB == pytest.approx(row["gib"], rel=0.01)


@pytest.mark.parametrize("row", H100["chunked"], ids=lambda row: f"{label(row)} by {row['rows']}")
def test_chunks_need_what_was_measured_or_little_less(row):
    tokens = token_count(row["width"], row["height"], row["frames"], 0)
    reckoned = chunks.chunked_bytes(tokens, 5120, row["rows"], row["batch"]) / GIB
    assert row["gib"] * 0.999 < reckoned < row["gib"] * 1.035


@forwards
def test_seconds_of_a_forward_are_the_measured_ones(row):
    assert forward_of_a_layer(row, H200) == pytest.approx(row["seconds_per_layer"], rel=0.03)


@pytest.mark.parametrize("row", H100["forward"], ids=label)
def test_another_gpu_is_reckoned_by_its_matrix_products(row):
    assert forward_of_a_layer(row, OTHER) == pytest.approx(row["seconds_per_layer"], rel=0.06)


def forward_of_a_layer(row, machine):
    one_layer = replace(WORK, config=TransformerConfig(num_layers=1), width=row["width"], height=row["height"],
                        lengths=(row["frames"],), additional=row["additional"], steps=1,
                        guidance=5.0 if row["batch"] == 2 else 1.0)
    # only the forward: the difference to a second step
    return seconds(replace(one_layer, steps=2), machine) - seconds(one_layer, machine)


@clips
@pytest.mark.parametrize(("coder", "name"), [(DECODING, "decode"), (ENCODING, "encode")])
def test_the_vae_costs_what_was_measured(row, coder, name):
    size = row["width"], row["height"], row["frames"]
    assert coder.bytes(*size) / GIB == pytest.approx(row[f"{name}_gib"], rel=0.01)
    assert coder.seconds(*size) == pytest.approx(row[f"{name}_seconds"], rel=0.12)


# one forward of all 40 layers, by tests/bench/forward_gpu.py
@pytest.mark.parametrize(("width", "height", "duration", "peak"), [(896, 512, 5.25, 33.89), (1280, 704, 16.61, 37.06)])
def test_the_whole_network_costs_what_was_measured(width, height, duration, peak):
    work = replace(WORK, width=width, height=height, guidance=1.0, steps=1)
    assert estimate(work).whole / GIB == pytest.approx(peak, rel=0.01)
    assert seconds(replace(work, steps=2), H200) - seconds(work, H200) == pytest.approx(duration, rel=0.04)


@pytest.mark.parametrize(("width", "height", "frames", "additional"), [
    (896, 512, 81, 0), (832, 480, 5, 2), (512, 704, 33, 1), (32, 32, 1, 0)])
def test_tokens_are_the_networks(width, height, frames, additional):
    cos, _ = segment_rotations((frames + 3) // 4, height // 8, width // 8, replacement=False,
                               additional_references=additional)
    assert token_count(width, height, frames, additional) == len(cos)


def test_flops_are_the_networks():
    config, tokens = TransformerConfig(num_layers=3), token_count(512, 512, 17, 0)
    block = Block(config, torch.nn, sdpa, float32_parameters, FullPrecision(), device="meta")
    rotation = torch.empty(2, tokens, 64, device="meta").unbind()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        block(torch.empty(1, tokens, 5120, device="meta"), torch.empty(1, 6, 5120, device="meta"), rotation,
              torch.empty(1, 257 + 512, 5120, device="meta"))
    forward = 3 * counter.get_total_flops()
    work = replace(WORK, config=config, width=512, height=512, lengths=(17, 17), steps=8)
    assert estimate(work).flops == 8 * 2 * 2 * forward
    assert estimate(replace(work, guidance=1.0)).flops == 8 * 2 * forward


def test_a_run_takes_its_forwards_and_its_vae():
    forward, vae = 40 * 0.12774, 1.9853 + 1.2399 / 4
    work = replace(WORK, lengths=(81, 81))
    assert seconds(work, H200) == pytest.approx(2 * (80 * forward + vae), rel=0.02)
    assert seconds(replace(work, guidance=1.0), H200) == pytest.approx(2 * (40 * forward + vae), rel=0.02)
    assert seconds(replace(work, steps=0), H200) == pytest.approx(2 * vae, rel=0.12)
    assert seconds(work, replace(H200, matmul_tflops=798 / 4)) == pytest.approx(4 * seconds(work, H200))
    assert seconds(work, replace(H200, matmul_tflops=None)) is None


def test_the_longest_segment_decides_the_memory():
    several = estimate(replace(WORK, lengths=(33, 81, 17)))
    assert several == replace(
        estimate(WORK), flops=several.flops, disk=several.disk)


def test_both_conditionings_together():
    need = estimate(WORK)
    assert need.activations / GIB == pytest.approx(3.271, rel=0.01)
    assert need.activations_together / GIB == pytest.approx(6.91, rel=0.01)
    alone = estimate(replace(WORK, guidance=1.0))
    assert alone.activations_together == alone.activations


def test_with_weights_that_come_block_by_block():
    config = TransformerConfig()
    block = sum(math.prod(shape) for name, shape in config.parameter_shapes().items() if name.startswith("blocks.7."))
    need = estimate(WORK)
    assert need.least == pytest.approx(need.activations + 2 * 2 * block)
    assert need.least < 12 * GIB  # has run there: tests/bench/lowvram_gpu.py
    half = estimate(replace(WORK, weight_bytes=WEIGHTS // 2))
    assert half.least == pytest.approx(need.activations + 2 * block)
    assert half.whole == need.activations + WEIGHTS // 2


def test_the_vae_can_need_most():
    need = estimate(replace(WORK, config=TransformerConfig(dim=256, num_heads=2), weight_bytes=24 * 2**20))
    assert need.whole == need.least == need.vae
    assert need.vae / GIB == pytest.approx(3.599, rel=0.01)


def test_main_memory_is_the_frames_of_one_segment():
    read = torch.empty(81, 1080, 1920, 3, dtype=torch.uint8, device="meta")
    cropped = torch.empty(81, 512, 896, 3, dtype=torch.uint8, device="meta")
    halved, result = torch.empty(81, 256, 448, 3, device="meta"), torch.empty(81, 512, 896, 3, device="meta")
    expected = read.nbytes + cropped.nbytes + halved.nbytes + 2 * result.nbytes
    assert estimate(WORK).ram == expected
    assert estimate(replace(WORK, lengths=(81,) * 400)).ram == expected


def test_a_locked_plate_is_encoded_at_full_size_too():
    locked = replace(WORK, locked=True)
    assert seconds(locked, H200) - seconds(WORK, H200) == pytest.approx(1.2399, rel=0.02)
    assert estimate(locked).ram - estimate(WORK).ram == torch.empty(81, 512, 896, 3, dtype=torch.uint8).nbytes
    small = replace(locked, config=TransformerConfig(dim=256, num_heads=2), decoder=Coder(0, 0, 0, 0, 0))
    assert estimate(small).vae == ENCODING.bytes(896, 512, 81)


def test_disk_is_what_a_job_keeps_of_every_segment():
    """The tensors to the byte; of pixels in files, by the bounds that a codec has: 12 bits of three colours are 4.5
    bytes, and lossless coding saves a third of them or so; a good H.264 has 0.1 to 0.3."""
    tensors = sum(torch.empty(shape, device="meta").nbytes for shape in ((16, 21, 64, 112), (5, 512, 896, 3)))
    pixels = 2 * 81 * 512 * 896  # in a part, and in the joined file
    assert 0.1 < (estimate(WORK).disk - tensors) / pixels < 0.3
    assert 2.5 < (estimate(replace(WORK, lossless=True)).disk - tensors) / pixels < 4.5
    assert estimate(replace(WORK, lengths=(81,) * 10)).disk == 10 * estimate(WORK).disk


def test_small_cards_compute_in_chunks():
    """The card's size decides: from 1/3 of it on, whatever is free."""
    tokens = token_count(896, 512, 81, 0)
    whole = estimate(WORK)
    assert estimate(WORK, 139 * GIB) == whole
    assert estimate(WORK, 12 * GIB).activations == whole.activations
    small = estimate(WORK, 6 * GIB)
    rows = chunks.rows_at_once(tokens, 5120, 6 * GIB)
    assert small.activations == pytest.approx(chunks.chunked_bytes(tokens, 5120, rows))  # which was measured, see above
    assert small.whole == WEIGHTS + small.activations
    assert whole.sampling - small.sampling == whole.activations - small.activations > GIB
    assert estimate(replace(WORK, in_chunks=False), 6 * GIB) == whole
    # two conditionings in one batch are twice as many rows
    assert estimate(WORK, 16 * GIB).activations == whole.activations
    together = chunks.rows_at_once(tokens, 5120, 16 * GIB, 2)
    assert estimate(WORK, 16 * GIB).activations_together == pytest.approx(
        chunks.chunked_bytes(tokens, 5120, together, 2))


def test_the_probe_measures_a_matrix_product():
    product = torch.randn(1024, 1024, dtype=torch.bfloat16)
    start = time.perf_counter()
    for _ in range(3):
        product @ product
    expected = 3 * 2 * 1024**3 / (time.perf_counter() - start) / 1e12
    state = torch.get_rng_state()
    assert expected / 8 < probe_tflops(torch.device("cpu")) < expected * 8
    assert torch.equal(torch.get_rng_state(), state)  # nobody's noise changes


@pytest.mark.parametrize(("seconds", "words"), [
    (0.2, "0 s"), (59.4, "59 s"), (59.6, "1 min 0 s"), (89.9, "1 min 30 s"), (299, "4 min 59 s"), (300, "5 min"),
    (3569, "59 min"), (3571, "1 h 0 min"), (7265, "2 h 1 min"), (90061, "25 h 1 min")])
def test_durations_in_words(seconds, words):
    assert duration(seconds) == words


def test_what_is_left_out_saves_time_and_no_memory():
    """Measured on an H200 (speed.md): in the 8-bit mode everything but attention takes 35 ms a layer at this size, and
    attention in full precision 85 ms."""
    work = replace(WORK, steps=1, guidance=1.0)
    in_8_bits, sparse = replace(work, int8=True), replace(work, int8=True, sparse=SparseSettings(density=0.1))
    assert forward_seconds(in_8_bits, 81) == pytest.approx(40 * 0.120, rel=0.03)
    assert forward_seconds(sparse, 81) == pytest.approx(40 * (0.035 + 0.14 * 0.085), rel=0.03)
    assert forward_seconds(sparse, 81) < forward_seconds(in_8_bits, 81) < forward_seconds(work, 81)
    assert estimate(sparse).activations == estimate(in_8_bits).activations


def test_several_gpus_share_a_forward():
    """With a link that is never waited for, two take half of what is shared."""
    two = replace(WORK, guidance=1.0, together=Together(2, 1e15))
    one = replace(two, together=ALONE)
    assert 1.9 < sampling_seconds(one) / sampling_seconds(two) < 2
    assert 3.7 < sampling_seconds(one) / sampling_seconds(replace(two, together=Together(4, 1e15))) < 4
    assert coding_seconds(one) == coding_seconds(two)
    assert seconds(two, H200) == sampling_seconds(two) + coding_seconds(two)


def test_guidance_is_shared_first_and_costs_no_travel():
    guided = replace(WORK, together=Together(2, 1.0))  # a link that brings nothing
    assert sampling_seconds(guided) == pytest.approx(sampling_seconds(WORK) / 2)
    need, alone = estimate(guided), estimate(WORK)
    assert need.activations == need.activations_together == alone.activations
    assert need.flops == alone.flops


def test_a_slow_gpu_waits_less_for_the_same_link():
    """Its work takes longer while as many bytes travel."""
    def gain(tflops):
        return (token_seconds(TransformerConfig(), 48832, tflops)
                / token_seconds(TransformerConfig(), 48832, tflops, together=Together(2, 20e9)))

    assert gain(798 / 8) > 1.9 > gain(798)


def test_each_gpu_holds_its_rows():
    """Beside them more for each than one GPU."""
    config, tokens = TransformerConfig(), 48640  # 190 times 256
    rows = tokens // 2 * config.dim
    assert activation_bytes(config, tokens, gpus=2) == pytest.approx((14.05 + 1.05 + 4 / 2) * rows)
    assert activation_bytes(config, tokens, gpus=1) == activation_bytes(config, tokens)
    small = 8 * GIB
    chunk = chunks.rows_at_once(tokens, config.dim, small)
    assert activation_bytes(config, tokens, total_vram=small, gpus=2) == pytest.approx(
        chunks.chunked_bytes(tokens // 2, config.dim, chunk) + (4 + 1.05 + 4 / 2) * rows)


several = pytest.mark.parametrize("row", SEVERAL["rows"], ids=lambda row: " ".join(
    str(row[name]) for name in ("precision", "size", "batch")))


def reckoned(row, gpus=1):
    """GiB of a forward that was measured."""
    height, width, frames = map(int, row["size"].split("x"))
    tokens = token_count(width, height, frames, row["references"])
    return activation_bytes(TransformerConfig(), tokens, row["batch"], gpus=gpus,
                            int8=int8_storage(row["precision"])) / GIB


@several
def test_one_gpu_needs_what_is_reckoned_or_little_less(row):
    # fitted to PyTorch's attention, and others need up to 3 % more
    assert 0.97 * row["gib"] <= reckoned(row) <= 1.1 * row["gib"]


@several
def test_no_gpu_of_several_needs_more_than_is_reckoned(row):
    for count in (2, 4, 5, 8):
        assert row[str(count)]["rank_gib_of_one"] * row["gib"] <= reckoned(row, count)


@pytest.mark.parametrize("part", SEVERAL["parts"], ids=lambda part: " ".join(
    str(part[name]) for name in ("precision", "tokens", "n")))
def test_one_rank_by_itself_needs_no_more_than_is_reckoned(part):
    """A block's own memory, and the stream that it reads and overwrites."""
    needed = part["block_gib"] + 4 * part["rows"] * 5120 / GIB
    found = activation_bytes(TransformerConfig(), part["tokens"], gpus=part["n"], int8=int8_storage(part["precision"]))
    assert needed <= 1.002 * found / GIB


def test_int8_needs_more_in_chunks_too_and_less_in_smaller_ones():
    config, tokens = TransformerConfig(), token_count(1280, 704, 81, 0)
    needs = [activation_bytes(config, tokens, total_vram=card * GIB, int8=True) / GIB for card in (0, 16, 6)]
    exact = [activation_bytes(config, tokens, total_vram=card * GIB) / GIB for card in (0, 16, 6)]
    assert needs[0] == exact[0]
    assert all(more > less for more, less in zip(needs[1:], exact[1:], strict=True))
    assert needs[0] > needs[1] >= needs[2]
    in_batch = activation_bytes(config, tokens, 2, 16 * GIB, int8=True) / GIB
    assert in_batch > 1.9 * needs[1]


def test_the_check_and_the_choice_of_gpus_hear_of_int8():
    """Which takes more where blocks compute in chunks."""
    plain = replace(WORK, guidance=1.0)
    in_8_bits = replace(plain, int8=True)
    assert estimate(in_8_bits).activations == estimate(plain).activations
    for name in ("activations", "sampling", "least"):
        assert getattr(estimate(in_8_bits, 8 * GIB), name) > getattr(estimate(plain, 8 * GIB), name) + GIB // 2
    more, less = (needed_on_each(work, 8 * GIB)(1) for work in (in_8_bits, plain))
    assert more > less

