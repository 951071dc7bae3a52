"""Threads that launch kernels take turns, never wait in their own, and never wait long for another's."""

from __future__ import annotations

import threading

import pytest
import torch
from test_forward_together import inputs, together

from scail_model.attention import sdpa
from scail_model.config import TransformerConfig
from scail_model.gpus import turns
from scail_model.gpus.team import Rank, Team
from scail_model.gpus.turns import Turn
from scail_model.kernels import attention_choice, sparse_attention
from scail_model.kernels.attention_choice import HostAttention
from scail_model.kernels.precision import FAST
from scail_model.kernels.ranks import RANK, numbers
from scail_model.kernels.sparse_attention import RUN
from scail_model.sparse.run import SparseRun
from scail_model.sparse.settings import SparseSettings
from scail_model.transformer import SCAIL2Transformer

CPU, HEADS = torch.device("cpu"), 4


class Watched:
    """A lock that remembers who got it in time."""

    def __init__(self) -> None:
        self.lock, self.got = threading.Lock(), []

    def acquire(self, timeout: float) -> bool:
        self.got.append(self.lock.acquire(timeout=timeout))
        return self.got[-1]

    def release(self) -> None:
        self.lock.release()


@pytest.fixture
def lock(monkeypatch) -> Watched:
    watched = Watched()
    monkeypatch.setattr(turns, "_LOCK", watched)
    monkeypatch.setattr(turns, "_PATIENCE", 20)
    monkeypatch.setattr(Rank, "launching", lambda rank: rank._turn.launching())  # as on GPUs
    return watched


def test_one_thread_launches_at_a_time_and_others_while_it_waits(lock):
    inside, most, waited = [0], [0], threading.Barrier(3)

    def work(rank):
        with rank.launching():
            for _ in range(20):
                inside[0] += 1
                most[0] = max(most[0], inside[0])
                threading.Event().wait(0.001)
                inside[0] -= 1
                with rank.waiting():
                    waited.wait(10)  # for all others, who get here in their turns

    Team([CPU] * 3).run(work)
    assert most == [1]
    assert all(lock.got)


def test_nobody_waits_long_for_a_thread_that_does_not_say_that_it_waits(lock, monkeypatch):
    monkeypatch.setattr(turns, "_PATIENCE", 0.01)
    holding, done = threading.Event(), threading.Event()

    def work(rank):
        with rank.launching():
            if rank.number == 0:
                holding.set()
                assert done.wait(10)
                return
            assert holding.wait(10)
            for _ in range(5):
                with rank.waiting():
                    pass
            done.set()

    def started(rank):
        if rank.number:
            assert holding.wait(10)
        work(rank)

    Team([CPU] * 2).run(started)
    assert lock.got == [True, False], "and it is not asked for again in this forward"
    assert not lock.lock.locked()


def test_an_error_ends_a_turn(lock):
    turn = Turn()
    with pytest.raises(KeyboardInterrupt), turn.launching(), turn.waiting():
        raise KeyboardInterrupt
    assert not lock.lock.locked()
    with turn.waiting():
        assert not lock.lock.locked(), "outside of launching there are no turns"


def test_numbers_are_waited_for_out_of_turn(lock):
    def work(rank):
        with rank.launching():
            held = []

            class Late(torch.Tensor):
                def tolist(self):
                    held.append(rank._turn._held)
                    return super().tolist()

            found = numbers(torch.tensor([1.5, 2.0]).as_subclass(Late), {RANK: rank})
            return found, held, rank._turn._held

    assert Team([CPU] * 2).run(work) == [([1.5, 2.0], [False], True)] * 2
    assert numbers(torch.tensor(2.0), None) == numbers(torch.tensor(2.0), {}) == 2.0


@pytest.mark.parametrize("count", [2, 4])
@pytest.mark.parametrize("precision", ["exact", FAST])
def test_a_whole_forward_never_waits_in_its_own_turn(lock, monkeypatch, precision, count):
    monkeypatch.setattr(sparse_attention, "FEWEST_KEYS", 0)
    torch.manual_seed(0)
    attention = sdpa if precision == "exact" else attention_choice.choose(
        "automatic", CPU, FAST, HostAttention("pytorch", "pytorch", sdpa))
    network = SCAIL2Transformer(TransformerConfig(dim=HEADS * 128, num_heads=HEADS, ffn_dim=256, num_layers=2,
                                                  text_dim=256), attention=attention)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.02 if parameter.ndim > 1 else 0.3)
    given, conditions = inputs(additional=1)

    def options() -> dict:
        return {RUN: SparseRun(SparseSettings(0.25, 0.2))} if precision == FAST else {}

    with torch.no_grad():
        expected = network(*given, **conditions, transformer_options=options())
    assert torch.equal(together(network, count, given, conditions, options()), expected)
    assert len(lock.got) > 2 * count
    assert all(lock.got)
    assert not lock.lock.locked()
