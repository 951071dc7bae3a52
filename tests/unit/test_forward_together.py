"""The network on several devices, a thread for each: to the bit what one device gives, and everybody stops at once."""

from __future__ import annotations

import threading
import time
import weakref
from contextlib import nullcontext
from itertools import product

import pytest
import torch

from scail_model.config import TransformerConfig
from scail_model.gpus import workers
from scail_model.gpus.forward import forward_together
from scail_model.gpus.rows import rows_of, size, within
from scail_model.gpus.team import Rank, Team, _ThreadState
from scail_model.transformer import SCAIL2Transformer

CPU = torch.device("cpu")
HEADS = 8


@pytest.fixture(scope="module", params=[torch.float32, torch.bfloat16])
def network(request) -> SCAIL2Transformer:
    torch.manual_seed(0)
    config = TransformerConfig(dim=HEADS * 128, num_heads=HEADS, ffn_dim=512, num_layers=2, text_dim=256)
    made = SCAIL2Transformer(config).to(request.param)
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter, std=0.02 if parameter.ndim > 1 else 0.1)
    return made


def inputs(batch: int = 1, additional: int = 0, driven: bool = True) -> tuple[list, dict]:
    """Arguments of a forward of three latent frames of 192x128 pixels."""
    torch.manual_seed(1)

    def video(channels: int, frames: int, scale: int = 1) -> torch.Tensor:
        return torch.randn(batch, channels, frames, 16 // scale, 24 // scale)

    conditions = {"reference_latents": video(16, 1), "reference_masks": video(28, 1), "replacement": False,
                  "driving_latents": video(16, 3, 2) if driven else None,
                  "driving_masks": video(28, 3, 2) if driven else None,
                  "history_mask": torch.zeros(batch, 4, 3, 16, 24)}
    conditions["history_mask"][:, :, :1] = 1
    if additional:
        conditions |= {"additional_latents": video(16, additional), "additional_masks": video(28, additional)}
    given = [video(16, 3), torch.full((batch,), 700.0), torch.randn(batch, 40, 256), torch.randn(batch, 257, 1280)]
    return given, conditions


def together(network: SCAIL2Transformer, count: int, given: list, conditions: dict, options: dict | None = None
             ) -> torch.Tensor:
    with torch.no_grad():
        return forward_together([CPU] * count, [network] * count, *given, transformer_options=options or {},
                                **conditions)


@pytest.mark.parametrize("count", [2, 8])
@pytest.mark.parametrize("kind", [{}, {"additional": 2}, {"driven": False}, {"batch": 2}])
def test_equals_one_device_to_the_bit(network, count, kind):
    given, conditions = inputs(**kind)
    with torch.no_grad():
        expected = network(*given, **conditions)
    assert torch.equal(together(network, count, given, conditions), expected)


def test_a_device_without_rows_of_the_video_is_asked_for_no_product_of_none(network):
    """Those in 8 bits, with a scale of what they get, would fail."""
    given, conditions = inputs()
    assert any(size(within(rows, slice(96, 384))) == 0 for rows in rows_of(456, 8)), "or this tests nothing"

    def refuse(layer, given):
        assert given[0].shape[-2] > 0

    hooks = [part.register_forward_pre_hook(refuse) for part in network.modules() if isinstance(part, torch.nn.Linear)]
    try:
        together(network, 8, given, conditions)
    finally:
        for hook in hooks:
            hook.remove()


def test_rows_in_chunks_equal_all_at_once(network, monkeypatch):
    given, conditions = inputs()
    with torch.no_grad():
        expected = network(*given, **conditions)
    monkeypatch.setattr(type(network), "rows_at_once", lambda self, tokens, options: 128)
    assert torch.equal(together(network, 2, given, conditions), expected)


def test_a_prompt_has_the_same_bits_in_a_batch_and_alone(network):
    given, conditions = inputs(batch=2)
    with torch.no_grad():
        both = network(*given, **conditions)
        for item in range(2):
            part = slice(item, item + 1)
            alone = network(*(value[part] for value in given), **{
                name: value[part] if isinstance(value, torch.Tensor) else value for name, value in conditions.items()})
            assert torch.equal(both[part], alone)


@pytest.mark.parametrize("tokens", [3, 441, 1764, 48832, 95920])
@pytest.mark.parametrize("count", [1, 2, 3])
def test_rows_cover_the_sequence_once(tokens, count):
    rows = rows_of(tokens, count)
    assert [row for part in rows for row in range(part.start, part.stop)] == list(range(tokens))
    assert all(part.stop > part.start for part in rows)


def test_long_sequences_are_cut_between_tiles():
    assert all(part.start % 256 == 0 for part in rows_of(48832, 8))


def test_no_gpu_has_a_few_rows_of_the_video():
    """The last block computes these alone, and few of them may have other bits on a GPU."""
    moved = 0
    for height, width, frames, references in product((256, 480, 512, 704), (544, 832, 896, 1280), (9, 17, 21), (1, 3)):
        frame = height // 16 * (width // 16)
        video = slice(references * frame, (references + frames) * frame)
        tokens = video.stop + frames * frame // 4
        for count in (2, 4, 5, 8):
            rows = rows_of(tokens, count, video)
            assert [part.start for part in rows[1:]] == [part.stop for part in rows[:-1]]
            assert (rows[0].start, rows[-1].stop) == (0, tokens)
            assert all(part.start % 256 == 0 for part in rows)
            if tokens >= 2048 * count:
                assert not any(0 < size(within(part, video)) < 512 for part in rows)
                assert all(abs(part.start - other.start) <= 512
                           for part, other in zip(rows, rows_of(tokens, count), strict=True))
                moved += rows != rows_of(tokens, count)
    assert moved > 10, "or this tests nothing"


def test_fewer_rows_than_devices_are_refused():
    with pytest.raises(ValueError, match="3 tokens cannot be split over 4 GPUs"):
        rows_of(3, 4)


def test_within_is_empty_where_nothing_is_shared():
    assert within(slice(10, 20), slice(30, 40)) == slice(20, 20)
    assert within(slice(10, 20), slice(15, 40)) == slice(15, 20)


class Cancelled(BaseException):
    """As ComfyUI's, no Exception."""


@pytest.mark.parametrize("failing", [0, 1, 3])
@pytest.mark.parametrize("error", [Cancelled("by the user"), torch.OutOfMemoryError("of one GPU"), KeyboardInterrupt()])
def test_an_error_in_one_thread_ends_all_and_the_next_run_works(failing, error):
    team = Team([CPU] * 4)

    def work(rank: Rank) -> int:
        if rank.number == failing:
            time.sleep(0.05)
            raise error
        while True:
            rank.get(failing)

    with pytest.raises(type(error)):
        team.run(work)
    assert team.run(lambda rank: rank.number) == [0, 1, 2, 3]


def test_an_error_within_the_network_ends_all(network):
    given, conditions = inputs()

    def failing(*inputs, **conditions):
        network(*inputs, **conditions)
        raise torch.OutOfMemoryError("of one GPU")

    with pytest.raises(torch.OutOfMemoryError), torch.no_grad():
        forward_together([CPU] * 2, [network, failing], *given, transformer_options={}, **conditions)
    together(network, 2, given, conditions)


def test_the_end_of_an_outer_team_ends_an_inner_one():
    def inner(rank: Rank) -> None:
        while True:
            rank.layer_queued()

    def outer(rank: Rank) -> None:
        if rank.number:
            Team([CPU] * 2, within=rank).run(inner)
        raise Cancelled

    with pytest.raises(Cancelled):
        Team([CPU] * 2).run(outer)


def test_two_hundred_starts_and_cancels_leave_nothing(monkeypatch):
    monkeypatch.setattr(workers, "IDLE_SECONDS", 0.2)
    for number in range(200):
        held = torch.zeros(1)

        def work(rank: Rank, failing: int = number % 4, held: torch.Tensor = held) -> None:
            if rank.number == failing:
                raise Cancelled
            rank.get(failing)

        with pytest.raises(Cancelled):
            Team([torch.device("cpu", 7)] * 4).run(work)
    assert len(waiting()) <= 3
    kept = weakref.ref(held)
    del held, work
    assert kept() is None
    until = time.monotonic() + 20
    while waiting() and time.monotonic() < until:
        time.sleep(0.1)
    assert not waiting()


def waiting() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name == "SCAIL-2 cpu:7"]


def test_every_rank_works_with_its_gpu_as_the_current_one(monkeypatch):
    """The caller's own too: a lane's thread may be the caller of all."""
    entered = []
    monkeypatch.setattr(_ThreadState, "entered", lambda state, device: nullcontext(entered.append(device)))
    devices = [torch.device("cpu", place) for place in range(3)]
    Team(devices).run(lambda rank: None)
    assert sorted(map(str, entered)) == ["cpu:0", "cpu:1", "cpu:2"]


def test_gathered_in_the_order_of_the_ranks():
    results = Team([CPU] * 4).run(lambda rank: torch.cat(rank.gather(torch.tensor([float(rank.number)]))).tolist())
    assert results == [[0, 1, 2, 3]] * 4
