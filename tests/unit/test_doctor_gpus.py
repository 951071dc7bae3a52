"""What the doctor tells of several GPUs, with CPUs in their place."""

from pathlib import Path

import pytest
import torch

from scail_model.config import TransformerConfig
from scail_model.doctor import page
from scail_model.doctor.gpus import several
from scail_model.doctor.report import Host, Report
from scail_model.gpus.gain import Together
from scail_model.preflight.budget import Machine, token_count, token_seconds

CPU = torch.device("cpu")


def report(devices, machine):
    found = Report(Host("a test", {}, {}, {"here": Path.cwd()}, CPU, lambda: machine, lambda at: [],
                        lambda at, room: None, gpus=devices))
    found.examine(lambda text: None)
    return found


def test_one_gpu_is_not_several():
    assert several([CPU], 798.0) is None
    assert report([CPU], Machine(0, 0, 2**34, 798.0)).values()["gpus"] is None


def test_gain_is_told_for_every_number_that_shares_the_heads():
    found = several([CPU] * 9, 400.0)
    assert found is not None
    assert found["together"] == 8
    assert found["fewer"].endswith("heads cannot be shared equally by 9: 8 GPUs are used.")
    assert list(found["gain"]) == ["2", "4", "5", "8"]
    config, tokens = TransformerConfig(), token_count(896, 512, 81, 0)
    expected = token_seconds(config, tokens, 400.0) / token_seconds(config, tokens, 400.0, together=Together(5))
    assert found["gain"]["5"] == pytest.approx(expected, abs=0.005)
    assert len(found["pairs"]) == 9 * 8 / 2


def test_gain_is_not_known_without_a_gpus_speed():
    text = report([CPU] * 2, Machine(0, 0, 2**34, None)).as_text()
    assert "both can make one video" in text
    assert "times as fast" not in text


def test_page_of_a_machine_with_a_switch():
    lines = list(page._gpus(machine([], [180e9, 190e9, 181e9], together=4, link=175e9, gain={"2": 1.95})))
    assert lines == [
        "  GPUs           3 x NVIDIA H200",
        "                 180 to 190 GB/s between two of them, each way; 175 from each while 4 send",
        "                 all 4 can make one video",
        "                 times as fast as one, reckoned for 896x512, 81 frames, exact: 1.95 with 2"]


def test_page_of_a_machine_with_two():
    found = machine([None], [180.2e9], together=2, link=179.9e9, gain={})
    assert list(page._gpus(found))[1:] == ["                 180 GB/s between two of them, each way",
                                           "                 both can make one video"]


def test_page_of_two_kinds_that_reach_each_other():
    found = machine([None], [50e9], together=1, link=None, gain={}) | {"fewer": "gpus is ...: 1 GPU is used."}
    assert list(page._gpus(found))[1:] == ["                 50 GB/s between two of them, each way",
                                           "                 gpus is ...: 1 GPU is used."]


def test_page_of_a_machine_without_peer_access():
    found = machine(["no peer access"] * 3, [None] * 3, together=1, link=None, gain={})
    lines = list(page._gpus(found | {"fewer": "gpus is ...: 1 GPU is used."}))
    assert lines[1:] == ["                 no peer access between cuda:0 and cuda:1, and in 2 more pairs",
                         "                 gpus is ...: 1 GPU is used."]


def machine(apart, rates, **values):
    pairs = [["cuda:0", "cuda:1"], ["cuda:0", "cuda:2"], ["cuda:1", "cuda:2"]][: len(rates)]
    return {"cards": [{"name": "NVIDIA H200"}] * 3, "fewer": None, "size": "896x512, 81 frames, exact", **values,
            "pairs": [{"devices": devices, "apart": reason, "rate": rate}
                      for devices, reason, rate in zip(pairs, apart or [None] * 3, rates, strict=True)]}
