"""Every kind of file that the doctor finds: what it is, and whether it is whole."""

from __future__ import annotations

import json
import re

import golden
import pytest
import torch
from safetensors.torch import save, save_file

from scail_model.doctor.model_files import (
    CLIPS,
    ROLES,
    TEXT_ENCODERS,
    TRANSFORMERS,
    VAES,
    best_transformer,
    in_folders,
    look,
)
from scail_model.preflight.model_files import SAM3, TRANSFORMER_FP16, VAE

SAM = next(role for role in ROLES if role.name == "SAM3")
LORA = next(role for role in ROLES if role.name == "distilled LoRA")


def weights(dtype=torch.bfloat16, **changes):
    return {name: tensor.to(dtype) for name, tensor in golden.tiny_weights().items()} | changes


def without(*names):
    return {name: tensor for name, tensor in weights().items() if name not in names}


def named(*names, shape=(4, 4)):
    return {name: torch.zeros(shape) for name in names}


WHOLE_BYTES = save(weights())
FP8 = weights() | {name: tensor.to(torch.float8_e4m3fn) for name, tensor in weights().items()
                   if "blocks" in name and tensor.ndim == 2} | {"blocks.0.ffn.0.weight_scale": torch.ones(1)}
SCAIL1 = without("patch_embedding_mask.weight", "patch_embedding_mask.bias")

# role, what is in the file, state, what is said
KINDS = {
    "a transformer": (TRANSFORMERS, weights(), "whole", "SCAIL-2, 2 layers of width 256, bfloat16"),
    "one in float32": (TRANSFORMERS, weights(torch.float32), "whole", "SCAIL-2, 2 layers of width 256, float32"),
    "one in fp8 with scales": (TRANSFORMERS, FP8, "whole", "SCAIL-2, 2 layers of width 256, float8_e4m3fn, quantised"),
    "one that was cut short": (TRANSFORMERS, WHOLE_BYTES[: len(WHOLE_BYTES) // 2], "damaged",
                               r"is damaged or was cut short \(.*\): download or copy it again\."),
    "one that lacks its last byte": (TRANSFORMERS, WHOLE_BYTES[:-1], "damaged", "is damaged or was cut short .*"),
    "one that was cut in its header": (TRANSFORMERS, WHOLE_BYTES[:5000], "damaged", "is damaged or was cut short .*"),
    "an empty file": (TRANSFORMERS, b"", "damaged", r"is empty: download it again\."),
    "a web page": (TRANSFORMERS, b"<html>", "damaged", "is a web page, not a model: .*"),
    "a Git LFS pointer": (TRANSFORMERS, b"version https://git-lfs.github.com/spec/v1", "damaged", "is a Git LFS .*"),
    "zeros": (TRANSFORMERS, bytes(4096), "damaged", "begins with zeros, so its download was not finished: .*"),
    "a GGUF file": (TRANSFORMERS, b"GGUF" + bytes(100), "damaged", "is a GGUF file: load it in ComfyUI with .*"),
    "one without two tensors": (TRANSFORMERS, without("blocks.1.ffn.0.weight", "head.head.bias"), "damaged",
                                "It lacks 1 tensors of SCAIL-2, first head.head.bias: it is incomplete .*"),
    "SCAIL-1": (TRANSFORMERS, SCAIL1, "another model", r"It is not a SCAIL-2 transformer but SCAIL-1 .*"),
    "Wan 2.1 in its place": (TRANSFORMERS, named("patch_embedding.weight", shape=(256, 36, 1, 2, 2)), "another model",
                             "It is not a SCAIL-2 transformer but Wan 2.1 image-to-video: .*"),
    "a VAE in its place": (TRANSFORMERS, named("decoder.middle.0.weight"), "another model", ".* but a Wan VAE: .*"),
    "a LoRA in its place": (TRANSFORMERS, named("blocks.0.ffn.0.lora_up.weight"), "another model", ".* but a LoRA: .*"),
    "Flux in its place": (TRANSFORMERS, named("double_blocks.0.img_attn.weight"), "another model", ".* Flux .*"),
    "a VAE": (VAES, named("decoder.middle.0.weight"), "whole", "Wan VAE, float32"),
    "the VAE of Stable Diffusion": (VAES, named("decoder.mid.0.weight"), "another model",
                                    r"is not a Wan VAE but a VAE: put wan_2.1_vae.safetensors in its place"),
    "a transformer as VAE": (VAES, weights(), "another model", "is not a Wan VAE but SCAIL-2: .*"),
    "anything as VAE": (VAES, named("x"), "another model", "is not a Wan VAE but unknown: .*"),
    "umT5": (TEXT_ENCODERS, named("shared.weight", shape=(256384, 1)), "whole",
             "T5 text encoder, 256384 words, float32"),
    "CLIP": (CLIPS, named("vision_model.a"), "whole", "CLIP vision model, float32"),
    "CLIP of texts": (CLIPS, named("text_model.a"), "another model", "is not a CLIP vision model but a CLIP text .*"),
    "a LoRA": (LORA, named("blocks.0.ffn.0.lora_up.weight"), "whole", "LoRA, float32"),
    "SAM3, which names do not tell": (SAM, named("detector.a", "tracker.b"), "whole", "2 tensors, float32"),
}


def write(path, content):
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        save_file({name: tensor.contiguous() for name, tensor in content.items()}, path)
    return path


def quiet(text):
    pass


@pytest.mark.parametrize(("role", "content", "state", "text"), KINDS.values(), ids=KINDS)
def test_kind_of_file(tmp_path, role, content, state, text):
    fact = look(role, write(tmp_path / "file.safetensors", content), quiet)
    assert [fact.role, fact.name, fact.state] == [role.name, "file.safetensors", state]
    assert re.fullmatch(text, fact.text)
    assert fact.bytes == (tmp_path / "file.safetensors").stat().st_size
    assert str(tmp_path) not in json.dumps(fact.values())


@pytest.mark.parametrize("name", [VAE.name, f"{VAE.name}"])
def test_a_file_of_readme_that_is_too_small_is_incomplete(tmp_path, name):
    fact = look(VAES, write(tmp_path / name, named("decoder.middle.0.weight")), quiet)
    assert [fact.state, fact.text] == ["incomplete", "has only 0.00 GB of 0.25 GB: download it again"]


def test_a_file_that_does_not_exist_is_missing(tmp_path):
    fact = look(TRANSFORMERS, tmp_path / "none.safetensors", quiet)
    assert [fact.state, fact.text, fact.bytes] == ["missing", "does not exist: check the path", None]


# Folders in diffusers form

def folder(path, config, *files):
    path.mkdir()
    if config is not None:
        (path / "config.json").write_text(config if isinstance(config, str) else json.dumps(config))
    for number, content in enumerate(files):
        write(path / f"model-{number}.safetensors", content)
    return path


FOLDERS = {
    "a VAE": (VAES, ({"_class_name": "AutoencoderKLWan"}, named("a")), "whole", "AutoencoderKLWan, float32"),
    "a text encoder in parts": (TEXT_ENCODERS, ({"architectures": ["UMT5EncoderModel"]}, named("a"), named("b")),
                                "whole", "UMT5EncoderModel, float32"),
    "one of which a part is cut short": (TEXT_ENCODERS, ({"architectures": ["UMT5EncoderModel"]}, named("a"),
                                                         save(named("b"))[:-1]), "damaged",
                                         r"model-1.safetensors is damaged or was cut short .*"),
    "CLIP": (CLIPS, ({"architectures": ["CLIPVisionModelWithProjection"]}, named("a")), "whole", "CLIPVision.*"),
    "another VAE": (VAES, ({"_class_name": "AutoencoderKL"}, named("a")), "another model",
                    "is AutoencoderKL, not AutoencoderKLWan: give a Wan 2.1 folder"),
    "without weights": (VAES, ({"_class_name": "AutoencoderKLWan"},), "damaged", "holds no .safetensors files: .*"),
    "without config.json": (VAES, (None, named("a")), "damaged", "No such file or directory"),
    "config.json is no JSON": (VAES, ("<html>", named("a")), "damaged", "Expecting value: .*"),
    "config.json is a list": (VAES, ([], named("a")), "damaged", ".*"),
}


@pytest.mark.parametrize(("role", "parts", "state", "text"), FOLDERS.values(), ids=FOLDERS)
def test_kind_of_folder(tmp_path, role, parts, state, text):
    fact = look(role, folder(tmp_path / "part", *parts), quiet)
    assert [fact.name, fact.state] == ["part", state]
    assert re.fullmatch(text, fact.text)


# Which files of a folder are told

def names(facts):
    return [(fact.name, fact.state) for fact in facts]


def test_of_transformers_all_are_told_and_other_models_are_not(tmp_path):
    files = [write(tmp_path / name, content) for name, content in {
        "mine.safetensors": weights(), "flux.safetensors": named("double_blocks.0.a"), "scail_old.safetensors": SCAIL1,
        "cut.safetensors": WHOLE_BYTES[:-1], "other_cut.safetensors": save(named("double_blocks.0.a"))[:-1],
        "notes.txt": b"", "model.gguf": b"GGUF", "SCAIL-2-Q4_K_M.gguf": b"GGUF" + bytes(9),
        "scail-2-Q8_0.gguf": b"<html>"}.items()]
    assert names(in_folders(TRANSFORMERS, files, quiet)) == [
        ("mine.safetensors", "whole"), ("scail_old.safetensors", "another model"),
        ("cut.safetensors", "damaged"), ("SCAIL-2-Q4_K_M.gguf", "whole"), ("scail-2-Q8_0.gguf", "damaged")]


def test_files_of_readme_come_before_others(tmp_path):
    other, known = (write(tmp_path / name, named("decoder.middle.0.weight")) for name in ("a.safetensors", VAE.name))
    assert names(in_folders(VAES, [other, known], quiet)) == [(VAE.name, "incomplete")]
    assert names(in_folders(VAES, [other], quiet)) == [("a.safetensors", "whole")]


def test_missing_files_are_told_with_their_address(tmp_path):
    for role in ROLES:
        fact, = in_folders(role, [], quiet)
        assert fact.state == "missing"
        assert role.known[0].url in fact.text
        assert f"into {role.known[0].folder}" in fact.text
    assert SAM3.folder == "checkpoints"


def test_the_transformer_to_measure_is_a_whole_one_in_full_precision(tmp_path):
    files = [write(tmp_path / name, content) for name, content in {
        "a_cut.safetensors": WHOLE_BYTES[:-1], "b_fp8.safetensors": FP8, "c.safetensors": weights()}.items()]
    facts = in_folders(TRANSFORMERS, files, quiet)
    assert best_transformer(facts).path == files[2]
    assert best_transformer(facts[:-1]).path == files[1]
    assert best_transformer(facts[:1]) is None
    assert TRANSFORMER_FP16 in TRANSFORMERS.known
