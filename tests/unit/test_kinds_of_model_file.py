"""The files that people give for a SCAIL-2 model: each opens as the same network, or gets its sentence.

Tried with `scail2 convert`, and with what `scail2 generate` opens files by; Load SCAIL-2 Model asks the same functions.
"""

from __future__ import annotations

import io
import json
import math
import os
import re
import zipfile

import golden
import pytest
import torch
from assets import to_sat
from safetensors.torch import load_file, save, save_file

from scail_model.checkpoint import load_checkpoint
from scail_model.config import TransformerConfig
from scail_model.headless.cli import main
from scail_model.headless.weights import open_weights

GIVEN = "model.safetensors"


def weights():
    return {name: tensor.bfloat16() for name, tensor in golden.tiny_weights().items()}


def saved(tensors, name=GIVEN):
    def write(folder):
        save_file({key: tensor.contiguous() for key, tensor in tensors.items()}, folder / name)
        return folder / name

    return write


def written(content, name=GIVEN):
    def write(folder):
        (folder / name).write_bytes(content)
        return folder / name

    return write


def torch_file(tensors, name="model.pt"):
    def write(folder):
        torch.save(tensors, folder / name)
        return folder / name

    return write


def prefixed(prefix):
    return saved({prefix + name: tensor for name, tensor in weights().items()})


def official_folder(folder):
    (folder / "SCAIL-2/model/1").mkdir(parents=True)
    (folder / "SCAIL-2/model/latest").write_text("1")
    torch_file({"module": to_sat(weights())}, "SCAIL-2/model/1/fsdp2_rank_0000_checkpoint.pt")(folder)
    return folder / "SCAIL-2"


# What is opened

OPENED = {
    "official names": saved(weights()),
    "ComfyUI's prefix": prefixed("model.diffusion_model."),
    "ComfyUI's prefix, as ModelSave writes it": prefixed("diffusion_model."),
    "float16": saved({name: tensor.half() for name, tensor in weights().items()}),
    "a torch file": torch_file(weights()),
    "a torch file that is called safetensors": torch_file(weights(), GIVEN),
    "a safetensors file that is called pt": saved(weights(), "model.pt"),
    "a torch file with the weights under state_dict": torch_file({"state_dict": weights(), "step": 3}),
    "part 1 of 1": saved(weights(), "model-00001-of-00001.safetensors"),
    "a name with spaces and umlauts": saved(weights(), "scail2 größe (1).safetensors"),
    "the official folder": official_folder,
}


@pytest.mark.parametrize("kind", OPENED)
def test_opens(kind, tmp_path):
    path = OPENED[kind](tmp_path)
    opened = open_weights(path)
    assert opened.config.dim == golden.TINY.dim
    (tmp_path / "out").mkdir()
    assert main(["convert", str(path), str(tmp_path / "out" / "converted.safetensors")]) == 0
    converted = load_file(tmp_path / "out" / "converted.safetensors")
    assert TransformerConfig.from_state_dict(converted) == opened.config
    for name, tensor in opened.tensors.items():
        assert torch.equal(converted[name], tensor), name


# What is refused

def without(*parts):
    return {name: tensor for name, tensor in weights().items() if not any(part in name for part in parts)}


def wan(channels, **others):
    """Wan's own transformer: neither pose nor mask embedding."""
    return saved(without("_mask", "_pose") | {"patch_embedding.weight": torch.zeros(256, channels, 1, 2, 2)} | others)


def named(*names):
    return saved({name: torch.zeros(4, 4) for name in names})


def diffusers_shard(folder):
    return named("blocks.0.attn1.to_q.weight", "condition_embedder.time_proj.weight")(folder).rename(
        folder / "diffusion_pytorch_model-00001-of-00007.safetensors")


def whole_file():
    stream = io.BytesIO()
    torch.save(weights(), stream)
    return stream.getvalue()


def diffusers_folder(folder):
    (folder / "wan" / "transformer").mkdir(parents=True)
    (folder / "wan" / "model_index.json").write_text("{}")
    return folder / "wan"


def folder_of_files(folder):
    saved(weights())(folder)
    return folder


def a_zip(folder):
    with zipfile.ZipFile(folder / "model.zip", "w") as archive:
        archive.writestr("readme.txt", "hello")
    return folder / "model.zip"


def truncated(content, name=GIVEN):
    return written(content[: len(content) // 2], name)


REFUSED = {
    # Other models
    "Wan 2.1 text-to-video": (wan(16), "is not a SCAIL-2 transformer but Wan 2.1 text-to-video: give a SCAIL-2 file"),
    "Wan 2.1 image-to-video": (wan(36), "but Wan 2.1 image-to-video"),
    "Wan 2.2 5B": (wan(48), "but Wan 2.2 5B"),
    "Wan of 64 channels": (wan(64), "but a Wan transformer of 64 input channels"),
    "Wan 2.1 VACE": (wan(16, **{"vace_blocks.0.modulation": torch.zeros(1)}), "but Wan 2.1 VACE"),
    "Wan 2.2 Animate": (wan(36, **{"motion_encoder.enc.weight": torch.zeros(1)}), "but Wan 2.2 Animate"),
    "Wan 2.2 S2V": (wan(16, **{"casual_audio_encoder.weights": torch.zeros(1)}), "but Wan 2.2 S2V"),
    "SCAIL-1": (saved(without("_mask")), "but SCAIL-1"),
    "Wan in diffusers form": (named("condition_embedder.time_proj.weight"), "a Wan transformer in diffusers form"),
    "Flux": (named("double_blocks.0.img_attn.qkv.weight"), "a Flux or Hunyuan transformer"),
    "Qwen-Image in diffusers form": (named("transformer_blocks.0.attn.to_q.weight"), "a diffusers transformer"),
    "Stable Diffusion": (named("model.diffusion_model.input_blocks.0.0.weight"), "a Stable Diffusion network"),
    "a Wan VAE": (named("decoder.middle.0.residual.0.gamma"), "a Wan VAE"),
    "a VAE in diffusers form": (named("decoder.mid_block.resnets.0.conv1.weight"), "a VAE in diffusers form"),
    "umT5": (named("shared.weight", "encoder.block.0.layer.0.SelfAttention.q.weight"), "a T5 text encoder"),
    "the official umT5": (torch_file({"token_embedding.weight": torch.zeros(4, 4)}), "a T5 text encoder"),
    "CLIP vision": (named("vision_model.encoder.layers.0.mlp.fc1.weight"), "a CLIP vision model"),
    "a language model": (named("model.layers.0.mlp.up_proj.weight"), "a language model"),
    "a LoRA": (named("diffusion_model.blocks.0.ffn.0.lora_down.weight"), "a LoRA"),
    "a LoKr": (named("lora_unet_blocks_0_ffn_0.lokr_w1"), "a LoRA"),
    # Quantised in ways that nothing here reads
    "nunchaku": (saved(weights() | {"blocks.0.ffn.0.qweight": torch.zeros(4)}), "one that nunchaku has quantised"),
    "bitsandbytes": (saved(weights() | {"blocks.0.ffn.0.weight.absmax": torch.zeros(4)}), "bitsandbytes has quantised"),
    "MLX": (saved(weights() | {"blocks.0.ffn.0.scales": torch.zeros(4)}), "MLX has quantised"),
    # Parts and wrong places
    "one part of several": (diffusers_shard, "is part 1 of 7 of a model: give the model as one file"),
    "an index of parts": (written(json.dumps({"weight_map": {}}).encode()), "is a JSON text, not a model"),
    "a folder in diffusers form": (diffusers_folder, "without model/latest, a model in diffusers form"),
    "a folder of files": (folder_of_files, r"without model/latest, which holds model.safetensors: give .* or one file"),
    "nothing": (lambda folder: folder / "none.safetensors", "does not exist: check the path"),
    # Other formats
    "GGUF": (written(b"GGUF\3\0\0\0" + bytes(64)), r"is a GGUF file: .* Unet Loader \(GGUF\) of ComfyUI-GGUF"),
    "a web page": (written(b"<!DOCTYPE html><html></html>"), "is a web page, not a model: download the file again"),
    "a Git LFS pointer": (written(b"version https://git-lfs.github.com/spec/v1\n"), "run `git lfs pull`"),
    "a picture": (written(b"\x89PNG\r\n\x1a\n" + bytes(64)), "is a picture: give the model's file"),
    "a video": (written(b"\0\0\0\x20ftypisom" + bytes(64)), "is a video: give the model's file"),
    "an archive": (written(b"7z\xbc\xaf\x27\x1c" + bytes(64)), "is an archive: unpack it first"),
    "a zip archive": (a_zip, "is a zip archive but not a torch file"),
    "an old torch file": (written(b"\x80\x02cposix\nsystem\n."), "is a torch file of the old format"),
    "a text": (written(b"hello, this is no model"), "is neither a safetensors nor a torch file"),
    # Damage
    "empty": (written(b""), "is empty: download it again"),
    "a download that was never filled": (written(bytes(4096)), "begins with zeros, so its download was not finished"),
    "half a safetensors file": (truncated(save(weights())), "is damaged or was cut short"),
    "half a torch file": (truncated(whole_file(), "model.pt"), "is damaged or was cut short"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_is_refused_in_one_sentence(kind, tmp_path, capsys):
    make, sentence = REFUSED[kind]
    path = make(tmp_path)
    with pytest.raises((RuntimeError, ValueError), match=sentence) as caught:
        open_weights(path)
    assert str(path) in str(caught.value)
    assert str(caught.value).endswith(".")
    (tmp_path / "out").mkdir()
    assert main(["convert", str(path), str(tmp_path / "out" / "x.safetensors")]) == 1
    message = capsys.readouterr().err.removeprefix("scail2: ").strip()
    assert re.search(sentence.replace("is not a SCAIL-2 transformer but ", ""), message) or "is a LoRA" in message
    assert os.listdir(tmp_path / "out") == []


@pytest.mark.parametrize(("tensors", "sentence"), [
    (without("blocks.1.ffn"), r"model.safetensors lacks 4 tensors of SCAIL-2, first blocks.1.ffn.0.weight"),
    (weights() | {"head.head.weight": torch.zeros(64, 128)},
     r"model.safetensors has 1 tensors that do not have the shape .* first head.head.weight with \[64, 128\]"),
    ({name: tensor.to(torch.float8_e4m3fn) if tensor.ndim == 2 else tensor for name, tensor in weights().items()},
     "model.safetensors is quantised, which only the ComfyUI nodes run: take the bf16 or fp16 file"),
], ids=["with missing tensors", "with a tensor of another shape", "in fp8"])
def test_is_refused_by_generate(tensors, sentence, tmp_path):
    with pytest.raises(ValueError, match=sentence):
        open_weights(saved(tensors)(tmp_path))


# What convert finds while it reads and writes

@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float8_e4m3fn])
def test_nan_is_found_and_named(dtype, tmp_path, capsys):
    spoilt = weights() | {"blocks.1.ffn.2.bias": torch.tensor([1.0, math.nan] * 128).to(dtype)}
    path = saved(spoilt)(tmp_path)
    (tmp_path / "out").mkdir()
    assert main(["convert", str(path), str(tmp_path / "out" / "x.safetensors")]) == 1
    assert f"{path} holds NaN in blocks.1.ffn.2.bias, so it is damaged" in capsys.readouterr().err
    assert os.listdir(tmp_path / "out") == []


@pytest.mark.parametrize(("make", "sentence"), [
    (saved(weights()), "is a model, not a LoRA: use `scail2 convert`"),
    (named("decoder.middle.0.residual.0.gamma"), "is a Wan VAE, not a LoRA: give a LoRA file"),
    (named("lora_unet_double_blocks_0_img_attn_qkv.lora_down.weight"), "is a LoRA for Flux or HunyuanVideo"),
    (named("diffusion_model.blocks.0.ffn.0.oft_blocks"), "holds OFT .*, which is not supported"),
], ids=["a model", "a VAE", "a LoRA for Flux", "OFT"])
def test_is_refused_by_convert_lora(make, sentence, tmp_path, capsys):
    assert main(["convert-lora", str(make(tmp_path)), str(tmp_path / "x.safetensors")]) == 1
    assert re.search(sentence, capsys.readouterr().err)


def test_a_folder_in_the_place_of_the_output(tmp_path, capsys):
    path = saved(weights())(tmp_path)
    (tmp_path / "x.safetensors").mkdir()
    assert main(["convert", str(path), str(tmp_path / "x.safetensors"), "--overwrite"]) == 1
    assert "x.safetensors is a folder: choose another output name." in capsys.readouterr().err


def test_what_a_lora_has_beside_is_told(tmp_path, caplog):
    path = named("diffusion_model.blocks.0.ffn.0.lora_down.weight", "diffusion_model.blocks.0.ffn.0.lora_up.weight",
                 "lora_te_encoder_0.lora_up.weight")(tmp_path)
    assert main(["convert-lora", str(path), str(tmp_path / "x.safetensors")]) == 0
    assert "1 of 3 tensors are not for SCAIL-2's network and are left out, first lora_te_encoder_0" in caplog.text
    assert len(load_checkpoint(tmp_path / "x.safetensors")[0]) == 2
