"""The miniature's training on the CPU, small: it learns, goes on where it stopped, and its shortcuts are exact."""

import itertools
import os
import subprocess
import sys
import textwrap
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import optimise
import pytest
import torch
import train_long
import train_lora
import train_transformer
import train_vae
import vae
import words
import world
from inputs import encode
from safetensors.torch import load_file

from scail_model.config import TransformerConfig
from scail_model.lora import merge_lora
from scail_model.masks import pack_driving_mask, pack_mask
from scail_model.transformer import SCAIL2Transformer

MINIATURE = Path(vae.__file__).parent
CPU, LONG, STEPS = torch.device("cpu"), float("inf"), 8
RUNS = {"vae": (train_vae, "nano_vae"), "transformer": (train_transformer, "nano_scail2"),
        "lora": (train_lora, "nano_lora"), "long": (train_long, "nano_long")}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with files of all runs, each a few steps long, and the figures that the runs printed."""
    folder = tmp_path_factory.mktemp("trained")
    for module, _ in RUNS.values():
        assert module.train(module.SMALL, folder, STEPS, LONG, 1, CPU)
    return folder


# the last two runs stand on the files of the first two
@pytest.mark.parametrize("name", [pytest.param("vae", marks=pytest.mark.slow),
                                  pytest.param("transformer", marks=pytest.mark.slow), "lora", "long"])
def test_stopped_and_gone_on_is_the_same(trained, tmp_path, monkeypatch, name):
    module, file = RUNS[name]
    for earlier in ("nano_vae", "nano_scail2")[: list(RUNS).index(name)]:
        (tmp_path / f"{earlier}.safetensors").symlink_to(trained / f"{earlier}.safetensors")
    with monkeypatch.context() as patch:
        ticks = itertools.count()
        patch.setattr(optimise, "time", SimpleNamespace(monotonic=lambda: next(ticks)))
        assert not module.train(module.SMALL, tmp_path, STEPS, 7, 1, CPU)  # a step takes two ticks or more
    state = torch.load(tmp_path / f"{name}.pt")
    assert 0 < state["step"] < STEPS
    assert module.train(module.SMALL, tmp_path, STEPS, LONG, 1, CPU)
    whole, pieces = (load_file(folder / f"{file}.safetensors") for folder in (trained, tmp_path))
    assert all(torch.equal(whole[tensor], pieces[tensor]) for tensor in whole)


@pytest.mark.slow
def test_as_many_steps_as_fit(tmp_path, monkeypatch):
    ticks = itertools.count()
    monkeypatch.setattr(optimise, "time", SimpleNamespace(monotonic=lambda: next(ticks)))
    monkeypatch.setattr(optimise, "_PACE_FROM", 2)
    monkeypatch.setattr(optimise, "_PACE_TO", 4)
    assert train_vae.train(train_vae.SMALL, tmp_path, optimise.FIT, 40, 1, CPU)
    assert 10 < torch.load(tmp_path / "vae.pt")["step"] < 40


def test_the_vae_learns():
    network, plan = vae.VideoVAE(4), train_vae.SMALL
    vae.initialise(network, 1)
    clips = train_vae.Clips(plan, 1, CPU, 0)
    optimiser = optimise.Optimiser(dict(network.named_parameters()), train_vae._is_matrix, 1e-2, 40)
    errors = []
    for step in range(40):
        optimiser.clear()
        total, figures = train_vae.loss(network, clips.batch(plan.crops[0], step))
        total.backward()
        optimiser.step()
        errors.append(figures[0].item())
    assert sum(errors[-5:]) < 0.6 * sum(errors[:5]), errors


@pytest.mark.slow
def test_the_transformer_learns(trained):
    network = train_transformer.Network(train_transformer.SMALL.config)
    train_transformer.initialise(network, 1)
    scenes = train_transformer.Scenes(train_transformer.SMALL, vae.VideoVAE.load(trained / "nano_vae.safetensors"), 1,
                                      CPU, 0)
    learning = {name: value for name, value in network.named_parameters() if train_transformer.learns(name)}
    optimiser = optimise.Optimiser(learning, train_transformer.is_matrix, 3e-3, 60)
    batch, losses = scenes.batch(0, world.Random(1)), []
    for _ in range(60):
        optimiser.clear()
        total, _ = train_transformer.loss(network, batch, replacement=False)
        total.backward()
        optimiser.step()
        losses.append(total.item())
    assert losses[-1] < 0.85 * losses[0], losses  # of 60 steps that are all warm-up


def test_the_lora_file_fits_the_blocks(trained):
    state = {name: value.float() for name, value in load_file(trained / "nano_scail2.safetensors").items()}
    report = merge_lora(state, load_file(trained / "nano_lora.safetensors"), 1.0)
    assert not report.unused
    matrices = {name.removesuffix(".weight") for name in state if train_transformer.is_matrix(name)}
    assert {name.removeprefix("diffusion_model.").split(".lora_")[0] for name in report.applied} == {
        name for name in matrices if "_img" not in name}


def test_two_text_rows_stand_for_all():
    """The network that learns against the one that users run, with a word and without."""
    config = train_transformer.SMALL.config
    learner, user = (train_transformer.Network(config), SCAIL2Transformer(
        replace(config, text_len=TransformerConfig.text_len)))
    torch.manual_seed(0)
    user.load_state_dict(learner.state_dict())
    x, noise = torch.randn(2, 16, 2, 4, 4), torch.randn
    conditions = {"reference_latents": noise(2, 16, 1, 4, 4), "reference_masks": noise(2, 28, 1, 4, 4),
                  "driving_latents": noise(2, 16, 2, 2, 2), "driving_masks": noise(2, 28, 2, 2, 2), "replacement": True}
    time, text = torch.tensor([500.0, 200.0]), words.context(["red", ""])
    with torch.no_grad():
        found, expected = (network(x, time, text, None, **conditions) for network in (learner, user))
        other = learner(x, time, text.flip(0), None, **conditions)
    torch.testing.assert_close(found, expected)
    assert not torch.allclose(found, other, atol=1e-3)


def test_latents_get_the_mean_and_spread_of_wan(trained):
    network = vae.VideoVAE.load(trained / "nano_vae.safetensors")
    pictures = world.draw(world.make_scenes(world.Random(1), 4, 1, 1.0), 32, 32, 5)
    video = (pictures.truth * 2 - 1).transpose(1, 2)
    with torch.no_grad():
        before = network.decode(network.encode(pictures.truth))
        raw = network.distribution(video)[0].transpose(0, 1).flatten(1)
        network.fit_latents(raw.mean(1), raw.std(1))
        latents = network.encode(pictures.truth)
        after = network.decode(latents)
    torch.testing.assert_close(before, after, atol=1e-4, rtol=0)
    rows = latents.transpose(0, 1).flatten(1)
    torch.testing.assert_close(rows.mean(1), torch.zeros(16), atol=1e-4, rtol=0)
    torch.testing.assert_close(rows.std(1), torch.ones(16), atol=1e-4, rtol=0)


def test_masks_of_a_batch_pack_as_each_alone(trained):
    network = vae.VideoVAE.load(trained / "nano_vae.safetensors")
    pictures = world.draw(world.make_scenes(world.Random(2), 3, 2, 1.0), 32, 32, 5)
    with torch.no_grad():
        inputs = encode(network, pictures, additional=True)
    for name, pack, masks in (("reference_masks", pack_mask, pictures.reference_mask),
                              ("driving_masks", pack_driving_mask, pictures.driving_mask),
                              ("additional_masks", pack_mask, pictures.additional_mask)):
        torch.testing.assert_close(inputs[name], torch.stack([pack(mask) for mask in masks]), rtol=0, atol=0)


def test_muon_makes_updates_orthogonal():
    torch.manual_seed(0)
    weights = [torch.nn.Parameter(torch.randn(shape)) for shape in ((8, 8), (8, 4, 3, 1, 1), (16, 4))]
    before = [weight.detach().clone() for weight in weights]
    for weight in weights:
        weight.grad = torch.randn_like(weight)
    optimise.Muon(weights, weight_decay=0.0).step(torch.tensor(1.0))
    for weight, old in zip(weights, before, strict=True):
        change = (old - weight.detach()).flatten(1)
        values = torch.linalg.svdvals(change) / (0.2 * max(change.shape) ** 0.5)
        assert values.min() > 0.6  # as near as five steps come
        assert values.max() < 1.3
        assert (change * weight.grad.flatten(1)).sum() > 0


def test_gpu_kernels_in_the_interpreter():
    """The kernels against the PyTorch functions that define them."""
    pytest.importorskip("triton", reason="the GPU kernels are not tested: Triton is not installed (Linux only)")
    script = textwrap.dedent("""
        import os
        os.environ["TRITON_INTERPRET"] = "1"
        import gpu, render, torch, vae

        torch.manual_seed(0)
        gamma = torch.randn(16, 1, 1, 1, requires_grad=True)
        x, arriving = torch.randn(2, 16, 3, 5, 7, requires_grad=True), torch.randn(2, 16, 5, 5, 7)
        results = []
        for function in (gpu.NormSiLU.apply, vae.norm_silu):
            y = function(x, gamma, 2)
            results.append((y.detach(), *torch.autograd.grad(y, (x, gamma), arriving)))
        torch.testing.assert_close(*results)
        background, numbers = torch.rand(2, 3, 20, 30), torch.rand(2, 3, 2, 4, 10)
        torch.testing.assert_close(gpu.paint(background, numbers, 14.0), render.paint(background, numbers, 14.0))
    """)
    # a process of its own, because Triton reads the variable when it is imported
    process = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env={
        **os.environ, "PYTHONPATH": os.pathsep.join(map(str, (MINIATURE, MINIATURE.parents[1])))})
    assert process.returncode == 0, process.stderr


def test_the_files_are_small_enough_and_in_half_precision():
    files = sorted(MINIATURE.glob("*.safetensors"))
    assert [file.stem for file in files] == ["nano_long", "nano_lora", "nano_scail2", "nano_vae"]
    assert sum(file.stat().st_size for file in files) < 40e6
    assert {tensor.dtype for file in files for tensor in load_file(file).values()} == {torch.float16}


def test_the_weights_for_long_sequences_take_the_place_of_others():
    whole, changed = (load_file(MINIATURE / f"{name}.safetensors") for name in ("nano_scail2", "nano_long"))
    assert {name: tensor.shape for name, tensor in changed.items()}.items() <= {
        name: tensor.shape for name, tensor in whole.items()}.items()
    assert not any(torch.equal(tensor, whole[name]) for name, tensor in changed.items())
