"""`scail2 generate --precision --attention`: the modes of Load SCAIL-2 Model on the command line."""

from __future__ import annotations

import json

import av
import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from test_generate import FRAMES, SIZE, command, frames_of

from scail_model.files.content_keys import digest
from scail_model.headless import attention
from scail_model.headless import host as host_module
from scail_model.headless.cli import main
from scail_model.headless.encoders import find_encoders
from scail_model.headless.file_keys import file_key
from scail_model.headless.host import HeadlessHost
from scail_model.headless.weights import open_weights
from scail_model.kernels.attention_backends import HELP
from scail_model.kernels.linears import QuantizingInt8
from scail_model.kernels.precision import EIGHT_BIT, EXACT, int8_linears
from scail_model.preflight.budget import stored_bytes
from scail_model.transformer import SCAIL2Transformer
from tests.demo import drawing, small_models

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def job(tmp_path_factory):
    return drawing.write_job(tmp_path_factory.mktemp("job"), SIZE, FRAMES)


@pytest.fixture(scope="module")
def made(models, job, tmp_path_factory):
    """The video of each mode."""
    folder = tmp_path_factory.mktemp("made")
    for precision in (EXACT, EIGHT_BIT):
        assert main(command(models, job, folder / f"{precision}.mp4", precision=precision, codec="lossless")) == 0
    return folder


def host(models, **how) -> HeadlessHost:
    return HeadlessHost(find_encoders(models / "encoders"), open_weights(models / "transformer.safetensors"), CPU,
                        torch.float32, offload=True, stage=lambda text: None, **how)


def test_8_bit_is_near_to_exact_and_named_in_report_record_and_file(made):
    exact, fast = (frames_of(made / f"{precision}.mp4").astype(int) for precision in (EXACT, EIGHT_BIT))
    assert np.abs(exact - fast).max() > 0
    assert np.abs(exact - fast).mean() < 2
    path = made / f"{EIGHT_BIT}.mp4"
    said = "precision 8-bit, weights int8, attention pytorch"
    assert f"computed with {said}" in json.loads(path.with_name(f"{path.name}.json").read_text())["report"]
    with av.open(str(path)) as container:
        assert f"SCAIL-2, {said}" in container.metadata.values()


def test_each_mode_has_a_job_of_its_own(made):
    folders = [json.loads((made / f"{precision}.mp4.json").read_text())["job_folder"]
               for precision in (EXACT, EIGHT_BIT)]
    assert len(set(folders)) == 2


def test_work_from_before_there_were_modes_is_found(models):
    usual = host(models)
    assert usual.key == digest(usual.weights.key, "torch.float32", file_key(usual.encoders.vae))
    others = [host(models, precision=EIGHT_BIT), host(models, attention="pytorch"),
              host(models, precision=EIGHT_BIT, attention="pytorch")]
    assert usual.key not in [other.key for other in others]
    assert others[0].key == others[2].key  # it is what automatic chooses here


def test_the_8_bit_network_computes_as_the_kernels_define_it(models):
    """Against a network that keeps the file's weights and int8 copies beside them."""
    linears, tensors = QuantizingInt8(), small_models.transformer().state_dict()
    beside = SCAIL2Transformer(open_weights(models / "transformer.safetensors").config, linears=linears, device="meta")
    beside.load_state_dict(tensors, assign=True)
    with torch.inference_mode():
        linears.quantize(beside, int8_linears(2))
        network = open_weights(models / "transformer.safetensors").build(CPU, torch.float32, precision=EIGHT_BIT)
        x = torch.randn(1, 9, 128, generator=torch.Generator().manual_seed(0))
        around = (torch.ones(1, 6, 128), (torch.ones(9, 64), torch.zeros(9, 64)), torch.ones(1, 769, 128))
        assert torch.equal(network.blocks[1](x.clone(), *around), beside.blocks[1](x.clone(), *around))
    assert network.dtype == torch.float32
    stored = {name for name, value in network.state_dict().items() if value.dtype == torch.int8}
    assert stored == {f"{name}.weight" for name in int8_linears(2)}


def test_without_the_kernels_the_weights_are_read_back(models):
    """With gradients on, as on a GPU where the kernels do not work, the layers compute themselves."""
    network, exact = (open_weights(models / "transformer.safetensors").build(CPU, torch.float32, precision=precision)
                      for precision in (EIGHT_BIT, EXACT))
    x = torch.randn(1, 9, 128, generator=torch.Generator().manual_seed(0))
    around = (torch.ones(1, 6, 128), (torch.ones(9, 64), torch.zeros(9, 64)), torch.ones(1, 769, 128))
    change, error = exact.blocks[0](x, *around) - x, network.blocks[0](x, *around) - exact.blocks[0](x, *around)
    assert 0 < error.norm() / change.norm() < 0.02


@pytest.mark.parametrize(("changes", "text"), [
    ({"attention": "flash_attn_4"}, "attention is flash_attn_4, but it needs an NVIDIA GPU: choose automatic or"),
    ({"attention": "cudnn"}, "attention is cudnn, but it needs an NVIDIA GPU: choose automatic or pytorch.\n"),
    ({"attention": "sol"}, "attention is sol, but it needs a GPU: choose automatic or pytorch.\n"),
    ({"attention": "cudnn_fp8", "precision": EIGHT_BIT}, "attention is cudnn_fp8, but it needs an NVIDIA GPU"),
])
def test_an_attention_that_does_not_run_here_is_refused(models, job, tmp_path, capsys, monkeypatch, changes, text):
    for name in ("VAE", "encode_texts", "encode_clip"):  # what loads a model
        monkeypatch.delattr(host_module, name)
    for word in ("generate", "check"):
        assert main([word, *command(models, job, tmp_path / "out.mp4", **changes)[1:]]) == 1
        message = capsys.readouterr().err
        assert text in message
        assert message.count("\n") == 1


@pytest.mark.parametrize(("changes", "text"), [
    ({"precision": "int4"}, "argument --precision: invalid choice: 'int4'"),
    ({"attention": "core"}, "argument --attention: invalid choice: 'core'"),
])
def test_names_that_there_are_not(models, job, tmp_path, capsys, changes, text):
    with pytest.raises(SystemExit):
        main(command(models, job, tmp_path / "out.mp4", **changes))
    assert text in capsys.readouterr().err


def test_every_attention_of_the_pack_can_be_asked_for():
    assert list(attention.CHOICES) == ["pytorch" if name == "core" else name for name in HELP]


def test_the_check_counts_what_is_stored(models):
    for precision in (EXACT, EIGHT_BIT):
        weights = open_weights(models / "transformer.safetensors")
        network = weights.build(CPU, torch.float32, precision=precision)
        stored = sum(parameter.numel() * parameter.element_size() for parameter in network.parameters())
        assert stored_bytes(weights.config, torch.float32, precision) == stored


def test_nan_in_a_weight_that_is_stored_in_8_bits_is_named(models, job, tmp_path, capsys):
    state = {name: tensor.clone() for name, tensor in small_models.transformer().state_dict().items()}
    state["blocks.1.ffn.0.weight"][3, 5] = float("nan")
    save_file(state, tmp_path / "broken.safetensors")
    assert main(command(models, job, tmp_path / "out.mp4", scail_path=tmp_path / "broken.safetensors",
                        precision=EIGHT_BIT)) == 1
    assert "use another file of the model, because blocks.1.ffn.0.weight in this one holds" in capsys.readouterr().err
