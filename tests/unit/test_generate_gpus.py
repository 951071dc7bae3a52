"""`scail2 generate --gpus`: a network on each of several GPUs gives the file of one GPU, byte for byte. The GPUs are
CPUs here, which share the weights."""

from __future__ import annotations

import gc
import json
import re
import threading
import time
import weakref
from fractions import Fraction
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from test_generate import SIZE, command
from torch.nn.modules.module import register_module_forward_pre_hook

from scail_model.config import TransformerConfig
from scail_model.gpus import choice
from scail_model.gpus.choice import Gpu, GpuChoice
from scail_model.headless import checks
from scail_model.headless.cli import main
from scail_model.headless.encoders import find_encoders
from scail_model.headless.host import HeadlessHost
from scail_model.headless.kept_models import KeptModels
from scail_model.headless.terminal import Terminal
from scail_model.headless.vae_stages import _Convolution
from scail_model.headless.weights import open_weights
from tests.demo import drawing, small_models

CPU = torch.device("cpu")
HEADS = 4
FRAMES = 12  # segments of 9 and, with 5 shared frames, 9
# what sampling does is tested in test_several_gpus.py
CASES = {
    "animation": {"lora": True},
    "replacement": {"replace_flag": True, "back": True, "precision": "8-bit", "offload_model": "false"},
}


@pytest.fixture(scope="module", autouse=True)
def four_gpus():
    """The machine has four."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checks, "all_gpus", lambda first: [first] * 4)
        yield


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    small_models.write_encoders(folder / "encoders")
    config = TransformerConfig(dim=128 * HEADS, ffn_dim=256, num_heads=HEADS, num_layers=2)
    save_file({name: tensor.contiguous() for name, tensor in small_models.transformer(config).state_dict().items()},
              folder / "transformer.safetensors")
    generator = torch.Generator().manual_seed(5)
    layer = "diffusion_model.blocks.1.self_attn.k"
    save_file({f"{layer}.lora_down.weight": torch.randn(4, config.dim, generator=generator),
               f"{layer}.lora_up.weight": torch.randn(config.dim, 4, generator=generator)}, folder / "lora.safetensors")
    return folder


@pytest.fixture(scope="module")
def make(models, tmp_path_factory):
    """Make a video; its file."""
    jobs = tmp_path_factory.mktemp("jobs")

    def make(out, gpus, *, replace_flag=False, back=False, lora=False, ends=0, **changes):
        folder = jobs / f"{replace_flag} {back}"
        if not folder.exists():
            drawing.write_job(folder, SIZE, FRAMES, replace_flag, fps=Fraction(16), back=back)
        names = {"image": "reference.png", "mask_image": "reference_mask.png", "pose": "driving.mp4",
                 "mask_video": "driving_mask.mp4"}
        if back:
            names |= {"additional_ref_image": "back.png", "additional_ref_mask_image": "back_mask.png"}
        if lora:
            changes["lora_path"] = models / "lora.safetensors"
        out.parent.mkdir(exist_ok=True)
        argv = command(models, {name: folder / file for name, file in names.items()}, out, gpus=gpus,
                       replace_flag=replace_flag, overwrite=True, **changes)
        assert main(argv) == ends
        return out

    return make


@pytest.mark.parametrize("changes", CASES.values(), ids=CASES)
def test_the_file_is_that_of_one_gpu(make, tmp_path, changes):
    expected = make(tmp_path / "one" / "out.mp4", 1, **changes).read_bytes()
    for gpus in (2, "all"):
        assert make(tmp_path / str(gpus) / "out.mp4", gpus, **changes).read_bytes() == expected


def test_what_one_gpu_began_several_go_on_with(make, tmp_path, capsys):
    out = tmp_path / "out.mp4"
    expected = make(out, 1).read_bytes()
    folder = Path(json.loads((tmp_path / "out.mp4.json").read_text())["job_folder"])
    for gpus in (4, 2):
        removed = list(folder.glob("0001-*"))
        assert len(removed) > 1
        for path in removed:
            path.unlink()
        capsys.readouterr()
        assert make(out, gpus).read_bytes() == expected
        assert "1 of 2 segments were already finished" in capsys.readouterr().out


def test_the_report_names_the_gpus_and_the_file_does_not(make, tmp_path, capsys):
    make(tmp_path / "out.mp4", 4, sample_steps=1)
    record = json.loads((tmp_path / "out.mp4.json").read_text())
    assert ("computed with precision exact, weights float32, attention pytorch, on 4 GPUs (cpu, cpu, cpu, cpu)"
            in record["report"])
    assert b"GPUs" not in (tmp_path / "out.mp4").read_bytes()


@pytest.mark.parametrize(("asked", "used", "why"), [
    (3, 2, "the model's 4 attention heads cannot be shared equally by 3"), (8, 4, "there are 4 here")])
def test_a_number_that_cannot_be_had_is_said(make, tmp_path, capsys, asked, used, why):
    make(tmp_path / "out.mp4", asked, sample_steps=1)
    said = capsys.readouterr().out
    assert f"warning: gpus is {asked}, but {why}: {used} GPUs are used." in said
    assert f"on {used} GPUs" in said


def test_gpus_without_room_are_left_out(make, tmp_path, capsys, monkeypatch):
    """Two of the four have a megabyte."""
    kinds = [Gpu(CPU, "card", (9, 0), 1 << 40, 1 << 39 if place < 2 else 1 << 20, {})
             for place in range(4)]
    monkeypatch.setattr(choice, "gpu_facts", lambda devices, free: kinds[: len(devices)])
    make(tmp_path / "out.mp4", "all", sample_steps=1)
    said = capsys.readouterr().out
    assert re.search(r'gpus is "all", but about \d.\d GiB are needed on each GPU and 0.0 GiB are free on cpu: '
                     "2 GPUs are used", said)
    assert "on 2 GPUs" in said


@pytest.mark.parametrize("text", ["0", "two", "-1", "1.5"])
def test_what_is_no_number_is_refused(models, tmp_path, capsys, text):
    with pytest.raises(SystemExit) as left:
        main(["generate", "--ckpt_dir", str(models), "--image", "a", "--pose", "b", f"--gpus={text}"])
    assert left.value.code == 2
    assert f'gpus is "{text}": use a number of GPUs from 1, or "all"' in capsys.readouterr().err


def test_scenes_are_made_on_different_gpus_at_once(make, tmp_path, capsys):
    """Three of them, on two: the one that is left has both."""
    changes = {"scene_cuts": "4, 8", "sample_steps": 1, "codec": "lossless"}
    expected = make(tmp_path / "one" / "out.mp4", 1, **changes).read_bytes()
    for gpus in (2, 3):
        out = make(tmp_path / str(gpus) / "out.mp4", gpus, **changes)
        assert out.read_bytes() == expected
        assert "GPU 2" in capsys.readouterr().err


@pytest.mark.parametrize(("gpus", "more"), [(1, {}), (4, {}), (2, {"scene_cuts": "4"})], ids=["1", "4", "two lanes"])
@pytest.mark.parametrize("at", ["encoding", "decoding"])
def test_a_cancel_in_the_midst_of_the_vaes_work_leaves_nothing_half_done(make, tmp_path, at, gpus, more):
    """Of a clip, and then the same command goes on."""
    changes = {"sample_steps": 1, **more}
    expected, out = make(tmp_path / "one" / "out.mp4", 1, **changes), tmp_path / "out.mp4"
    cancelled, tell, now, seen = threading.Event(), Terminal.stage, {}, []

    def stage(terminal, segment, text):
        now[segment] = text
        tell(terminal, segment, text)

    def begins(module, _):
        if isinstance(module, _Convolution) and (cancelled.is_set() or now.get(1) == at):
            seen.append(threading.current_thread())
            if not cancelled.is_set():
                cancelled.set()
                time.sleep(0.5)  # the thread that lanes are heard in looks ten times a second

    def tick(terminal):
        if cancelled.is_set():
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch, register_module_forward_pre_hook(begins):
        patch.setattr(Terminal, "stage", stage)
        patch.setattr(Terminal, "tick", tick)
        make(out, gpus, ends=130, **changes)
    assert 1 <= seen.count(seen[0]) <= 2  # of the first piece
    assert not out.exists()
    whole, begun = ({path.name for path in folder.glob("scail2_jobs/*/*")} for folder in (tmp_path / "one", tmp_path))
    assert begun < whole | {"so-far.mp4"}
    assert make(out, gpus, **changes).read_bytes() == expected.read_bytes()


# The host

def host(models, gpus, kept=None, **how) -> HeadlessHost:
    return HeadlessHost(find_encoders(models / "encoders"), open_weights(models / "transformer.safetensors"), CPU,
                        torch.float32, stage=lambda text: None, models=kept, choice=GpuChoice((CPU,) * gpus),
                        **{"offload": True, **how})


def test_the_key_of_work_does_not_depend_on_the_gpus(models):
    assert host(models, 1).key == host(models, 2).key == host(models, 4).key


def test_further_gpus_hold_weights_only_while_they_sample(models):
    kept = KeptModels()
    with torch.inference_mode():
        several = host(models, 4, kept)
        first, *others = several._placed(print).networks
        assert not any(value.is_meta for network in others for value in network.parameters())
        copies = [dict(network.named_parameters()) for network in others]
        for name, value in first.named_parameters():
            assert all(torch.equal(value, copy[name]) for copy in copies)
        several._leave()
        assert all(value.is_meta for network in others for value in network.parameters())
        assert not any(value.is_meta for value in first.parameters())


def test_models_are_kept_for_the_next_run_with_as_many_gpus(models):
    kept = KeptModels()
    with torch.inference_mode():
        first, second = (host(models, 2, kept, offload=False)._placed(print) for _ in range(2))
        assert all(one is other for one, other in zip(first.networks, second.networks, strict=True))
        gone = weakref.ref(first.networks[1])
        alone = host(models, 1, kept, offload=False)._placed(print)
        assert alone is first.networks[0]
        del first, second
        gc.collect()
        assert gone() is None
