"""The link between GPUs, on a machine that need not have any."""

import torch

from scail_model.gpus.probe import link_rate, why_apart

CPU, FIRST, SECOND = torch.device("cpu"), torch.device("cuda", 0), torch.device("cuda", 1)


def test_cpus_reach_each_other_and_everybody_themselves():
    assert why_apart(CPU, torch.device("cpu", 1)) is None
    assert why_apart(FIRST, FIRST) is None


def test_what_does_not_reach_the_other_is_told_why(monkeypatch):
    monkeypatch.setattr(torch.cuda, "can_device_access_peer", lambda source, target: False)
    why_apart.cache_clear()
    assert why_apart(CPU, FIRST) == "another kind of device"
    assert why_apart(FIRST, SECOND) == "no peer access"
    why_apart.cache_clear()


def test_there_is_no_link_between_fewer_than_two_gpus():
    assert link_rate((CPU, CPU)) is None
    assert link_rate((FIRST,)) is None
    assert link_rate((FIRST, CPU)) is None
