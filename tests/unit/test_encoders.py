"""The Wan 2.1 encoders outside ComfyUI: official files give what diffusers' folders give, and gaps are named."""

from __future__ import annotations

import re
import threading
from collections import Counter
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from scail_model.headless import encoders, official_names
from tests.demo import drawing, small_models

TRAINED_VAE = Path(__file__).parents[1] / "miniature/nano_vae.safetensors"
CPU = torch.device("cpu")

# diffusers' or transformers' name -> the name in the official file, written from the official modules
VAE_BLOCK = {"norm1": "residual.0", "conv1": "residual.2", "norm2": "residual.3", "conv2": "residual.6",
             "conv_shortcut": "shortcut", "resample": "resample", "time_conv": "time_conv"}
T5_BLOCK = {
    "layer.0.layer_norm": "norm1", "layer.1.layer_norm": "norm2",
    "layer.0.SelfAttention.relative_attention_bias": "pos_embedding.embedding",
    **{f"layer.0.SelfAttention.{letter}": f"attn.{letter}" for letter in "qkvo"},
    "layer.1.DenseReluDense.wi_0": "ffn.gate.0", "layer.1.DenseReluDense.wi_1": "ffn.fc1",
    "layer.1.DenseReluDense.wo": "ffn.fc2",
}
CLIP_BLOCK = {"layer_norm1": "norm1", "layer_norm2": "norm2", "self_attn.out_proj": "attn.proj", "mlp.fc1": "mlp.0",
              "mlp.fc2": "mlp.2"}


def official_vae(state):
    return {_official_vae_name(name): tensor for name, tensor in state.items()}


def _official_vae_name(name):
    fixed = {"quant_conv": "conv1", "post_quant_conv": "conv2"}
    module, leaf = name.rsplit(".", 1)
    if module in fixed:
        return f"{fixed[module]}.{leaf}"
    side, rest = module.split(".", 1)
    ends = {"conv_in": "conv1", "norm_out": "head.0", "conv_out": "head.2"}
    if rest in ends:
        return f"{side}.{ends[rest]}.{leaf}"
    if match := re.fullmatch(r"mid_block\.attentions\.0\.(\w+)", rest):
        return f"{side}.middle.1.{match[1]}.{leaf}"
    if match := re.fullmatch(r"mid_block\.resnets\.([01])\.(\w+)", rest):
        return f"{side}.middle.{2 * int(match[1])}.{VAE_BLOCK[match[2]]}.{leaf}"
    if match := re.fullmatch(r"down_blocks\.(\d+)\.(\w+)(\.1)?", rest):
        return f"{side}.downsamples.{match[1]}.{VAE_BLOCK[match[2]]}{match[3] or ''}.{leaf}"
    stage, kind, number, part, tail = re.fullmatch(r"up_blocks\.(\d)\.(\w+)\.(\d)\.(\w+)(\.1)?", rest).groups()
    place = 4 * int(stage) + (3 if kind == "upsamplers" else int(number))
    return f"{side}.upsamples.{place}.{VAE_BLOCK[part]}{tail or ''}.{leaf}"


def official_t5(state):
    named = {"token_embedding.weight": state["shared.weight"], "norm.weight": state["encoder.final_layer_norm.weight"]}
    for name, tensor in state.items():
        if match := re.fullmatch(r"encoder\.block\.(\d+)\.(.+)\.weight", name):
            named[f"blocks.{match[1]}.{T5_BLOCK[match[2]]}.weight"] = tensor
    return named


def official_clip(state):
    """With a projection and a temperature, as in the official file."""
    named = {
        "log_scale": torch.tensor(2.66), "visual.head": torch.zeros(1280, 1024),
        "visual.cls_embedding": state["embeddings.class_embedding"][None, None],
        "visual.pos_embedding": state["embeddings.position_embedding.weight"][None],
        "visual.patch_embedding.weight": state["embeddings.patch_embedding.weight"],
    }
    for leaf in ("weight", "bias"):
        named[f"visual.pre_norm.{leaf}"] = state[f"pre_layrnorm.{leaf}"]
        named[f"visual.post_norm.{leaf}"] = state[f"post_layernorm.{leaf}"]
        for layer in range(2):
            theirs, ours = f"encoder.layers.{layer}", f"visual.transformer.{layer}"
            for part, official in CLIP_BLOCK.items():
                named[f"{ours}.{official}.{leaf}"] = state[f"{theirs}.{part}.{leaf}"]
            named[f"{ours}.attn.to_qkv.{leaf}"] = torch.cat(
                [state[f"{theirs}.self_attn.{letter}_proj.{leaf}"] for letter in "qkv"])
    return named


MODELS = {
    "vae": (small_models.vae, official_vae, official_names.vae),
    "t5": (small_models.text_encoder, official_t5, official_names.t5),
    "clip": (small_models.clip, official_clip, official_names.clip),
}


@pytest.fixture(scope="module")
def diffusers_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("diffusers")
    small_models.write_encoders(folder)
    return folder


@pytest.fixture(scope="module")
def official_folder(tmp_path_factory):
    """The same weights in the official files."""
    folder = tmp_path_factory.mktemp("official")
    small_models.tokenizer().save_pretrained(folder / "umt5-xxl")
    files = {"vae": "Wan2.1_VAE.pth", "t5": "umt5-xxl/models_t5_umt5-xxl-enc-bf16.pth",
             "clip": "models_clip_open-clip-xlm-roberta-large-vit-huge-14-onlyvisual.pth"}
    for part, name in files.items():
        build, official, _ = MODELS[part]
        torch.save({key: tensor.clone() for key, tensor in official(build().state_dict()).items()}, folder / name)
    return folder


@pytest.fixture(params=["diffusers", "official"])
def files(request):
    return encoders.find_encoders(request.getfixturevalue(f"{request.param}_folder"))


@pytest.mark.parametrize("part", MODELS)
def test_official_names_are_translated_back_exactly(part):
    build, official, translate = MODELS[part]
    state = build().state_dict()
    _, found = translate(official(state))
    assert found.keys() == state.keys()
    for name, tensor in state.items():
        assert torch.equal(found[name], tensor), name


@pytest.mark.parametrize("part", MODELS)
def test_sizes_are_read_off_the_shapes(part):
    build, official, translate = MODELS[part]
    model = build()
    sizes, _ = translate(official(model.state_dict()))
    for name, value in sizes.items():
        expected = getattr(model.config, name)
        assert value == expected or (name, expected) == ("decoder_base_dim", None), name


def test_text_embeddings_are_those_of_the_official_procedure(files):
    """Padded to 512 tokens with a mask, then cut back to the text, as the official code does."""
    prompt = "  a  figure &amp; its\n hat “waves” "
    clean = 'a figure & its hat "waves"'
    ids = small_models.tokenizer()(clean, padding="max_length", max_length=512, return_tensors="pt")
    with torch.inference_mode():
        expected = small_models.text_encoder()(**ids).last_hidden_state[:, : int(ids.attention_mask.sum())]
        tokens = [encoders.tokenize(files, text, 512, "") for text in (prompt, "")]
        found, empty = encoders.encode_texts(files, tokens, CPU, torch.float32)
    assert found.shape == expected.shape
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
    assert empty.shape == (1, 1, 4096)  # the end token alone


def test_clip_features_are_those_before_the_last_layer(files):
    pixels = torch.randn(1, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    model = small_models.clip()
    with torch.inference_mode():
        found = encoders.encode_clip(files, pixels, CPU)
        hidden = model.pre_layrnorm(model.embeddings(pixels))
        expected = model.encoder.layers[0](hidden, None)
    expected = expected[0] if isinstance(expected, tuple) else expected
    assert found.shape == (1, 257, 1280)
    torch.testing.assert_close(found, expected.reshape(found.shape), rtol=0, atol=1e-5)


def test_vae_latents_are_normalised_with_wans_numbers(files):
    vae = encoders.VAE(files, CPU)
    pixels = torch.rand(5, 3, 32, 64, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        encoded = vae.encode(pixels)
        latent = vae.normalised(encoded)
        raw = small_models.vae().encode(pixels.movedim(0, 1)[None] * 2 - 1).latent_dist.mode()
        frames = vae.decode(vae.denormalised(latent))
        expected = small_models.vae().decode(raw).sample
    torch.testing.assert_close(encoded, raw)
    assert latent.shape == (1, 16, 2, 4, 8)
    # first and last channel of Wan 2.1's table
    torch.testing.assert_close(latent[:, 0], (raw[:, 0] + 0.7571) / 2.8184)
    torch.testing.assert_close(latent[:, 15], (raw[:, 15] + 0.2921) / 1.9160)
    torch.testing.assert_close(frames, expected[0].movedim(0, 1) / 2 + 0.5, rtol=0, atol=1e-5)


@pytest.mark.parametrize(("gpus", "length"), [(1, 1), (1, 9), (2, 1), (2, 13), (3, 5), (4, 9), (40, 9)])
def test_any_number_of_gpus_encodes_and_decodes_as_diffusers_does_to_the_bit(diffusers_folder, gpus, length):
    vae, plain = encoders.VAE(encoders.find_encoders(diffusers_folder), CPU, [CPU] * gpus), small_models.vae()
    pixels = torch.rand(length, 3, 32, 64, generator=torch.Generator().manual_seed(length))
    with torch.inference_mode():
        latent = plain.encode((pixels * 2 - 1).movedim(0, 1)[None]).latent_dist.mean
        frames = plain.decode(latent).sample[0].movedim(1, 0) / 2 + 0.5
        for _ in range(2):  # nothing of a clip is left for the next one
            for found, expected in ((vae.encode(pixels), latent), (vae.decode(latent), frames)):
                assert torch.equal(found, expected)
                assert found.stride() == expected.stride()


@pytest.mark.parametrize("gpus", [1, 2, 4])
@pytest.mark.parametrize("way", ["encode", "decode"])
def test_a_cancel_ends_every_stage_before_its_next_piece(diffusers_folder, gpus, way):
    vae = encoders.VAE(encoders.find_encoders(diffusers_folder), CPU, [CPU] * gpus)
    cancelled, begun, after = threading.Event(), Counter(), Counter()
    stages = {"encode": vae._encoders, "decode": vae._decoders}[way][0]._stages

    def begins(stage):
        begun[stage] += 1
        after[stage] += cancelled.is_set()
        if stage == len(stages) - 1 and begun[stage] == 2:
            cancelled.set()

    def check():
        if cancelled.is_set():
            raise KeyboardInterrupt

    generator = torch.Generator().manual_seed(0)
    given = torch.rand(*{"encode": (49, 3, 32, 64), "decode": (1, 16, 13, 4, 8)}[way], generator=generator)
    with torch.inference_mode():
        expected = getattr(vae, way)(given)
        hooks = [stage[0].register_forward_pre_hook(lambda *_, number=number: begins(number))
                 for number, stage in enumerate(stages)]
        with pytest.raises(KeyboardInterrupt):
            getattr(vae, way)(given, check)
        assert max(begun.values()) < 13
        assert max(after.values()) <= 1  # which had asked before
        for hook in hooks:
            hook.remove()
        assert torch.equal(getattr(vae, way)(given, check=lambda: None), expected)


def test_where_memory_runs_out_on_several_gpus_one_works_alone(diffusers_folder, monkeypatch, caplog):
    def no_room(*_, **__):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.")

    vae = encoders.VAE(encoders.find_encoders(diffusers_folder), CPU, [CPU] * 3)
    pixels = torch.rand(9, 3, 32, 64, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        latent = vae.encode(pixels)
        expected = latent, vae.decode(latent)
        for stages in (vae._encoders[0], vae._decoders[0]):
            monkeypatch.setattr(stages._stages[1][0], "forward", no_room)
        found = vae.encode(pixels), vae.decode(latent)
    assert all(map(torch.equal, found, expected))
    assert caplog.text.count("the VAE works on one GPU, because memory ran out on several (CUDA out of memory.") == 2


def test_folders_saved_by_older_transformers_load(diffusers_folder, tmp_path):
    """Wan's own image_encoder has its names under `vision_model.`, as transformers before 5 wrote them."""
    for path in diffusers_folder.iterdir():
        (tmp_path / path.name).symlink_to(path)
    (tmp_path / "image_encoder").unlink()
    (tmp_path / "image_encoder").mkdir()
    state = load_file(diffusers_folder / "image_encoder" / "model.safetensors")
    save_file({f"vision_model.{name}": tensor for name, tensor in state.items()},
              tmp_path / "image_encoder" / "model.safetensors", {"format": "pt"})
    (tmp_path / "image_encoder" / "config.json").symlink_to(diffusers_folder / "image_encoder" / "config.json")
    pixels = torch.randn(1, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        found, expected = (encoders.encode_clip(encoders.find_encoders(folder), pixels, CPU)
                           for folder in (tmp_path, diffusers_folder))
    assert torch.equal(found, expected)


@pytest.mark.parametrize(("name", "damage", "text"), [
    ("vae/diffusion_pytorch_model.safetensors", lambda data: data[: len(data) // 2], "cut short"),
    ("text_encoder/config.json", None, "lacks config.json or .safetensors"),
    ("image_encoder/model.safetensors", None, "lacks config.json or .safetensors"),
])
def test_damaged_folders_are_refused(diffusers_folder, tmp_path, name, damage, text):
    folder = _copy_with(diffusers_folder, tmp_path, name, damage)
    with pytest.raises(RuntimeError, match=text):
        encoders.find_encoders(folder)


@pytest.mark.parametrize(("name", "damage", "text"), [
    ("Wan2.1_VAE.pth", lambda data: data[: len(data) // 2], "not a torch file or was cut short"),
    ("Wan2.1_VAE.pth", None, "has no VAE"),
    ("umt5-xxl/models_t5_umt5-xxl-enc-bf16.pth", lambda data: b"<html>", "not a torch file"),
])
def test_damaged_official_files_are_refused(official_folder, tmp_path, name, damage, text):
    folder = _copy_with(official_folder, tmp_path, name, damage)
    with pytest.raises(RuntimeError, match=text):
        encoders.find_encoders(folder)


def test_an_official_file_of_another_model_is_refused(official_folder, tmp_path):
    folder = _copy_with(official_folder, tmp_path, "Wan2.1_VAE.pth", None)
    torch.save({"weight": torch.zeros(1)}, folder / "Wan2.1_VAE.pth")
    with pytest.raises(RuntimeError, match=r"lacks 'encoder.conv1.weight', so it is another model"):
        encoders.find_encoders(folder)


DROPPED = ("layer.1.layer_norm.weight", "blocks.1.norm2.weight", "layers.1.mlp.fc1.weight",
           "transformer.1.mlp.0.weight", "mid_block.resnets.1.conv1.weight", "middle.2.residual.2.weight")


@pytest.mark.parametrize("part", ["text", "clip", "vae"])
def test_missing_tensors_are_not_made_up(diffusers_folder, official_folder, tmp_path, part):
    for number, folder in enumerate((diffusers_folder, official_folder)):
        path = getattr(encoders.find_encoders(folder), part)
        source = next(path.glob("*.safetensors")) if path.is_dir() else path
        copy = _copy_with(folder, tmp_path / str(number), str(source.relative_to(folder)), None)
        state = load_file(source) if path.is_dir() else torch.load(source)
        del state[next(name for name in state if name.endswith(DROPPED))]
        target = copy / source.relative_to(folder)
        if path.is_dir():
            save_file(state, target, {"format": "pt"})
        else:
            torch.save(state, target)
        files = encoders.find_encoders(copy)
        load = {"text": lambda files: encoders.encode_texts(files, [], CPU, torch.float32),
                "clip": lambda files: encoders.encode_clip(files, None, CPU),
                "vae": lambda files: encoders.VAE(files, CPU)}[part]
        with pytest.raises(RuntimeError, match="lacks 1 tensors, first "):
            load(files)


def _copy_with(folder, target, name, damage):
    """A copy by links, with one file cut, changed or (None) left out."""
    for source in folder.rglob("*"):
        path = target / source.relative_to(folder)
        path.parent.mkdir(parents=True, exist_ok=True)
        if source.is_file() and source != folder / name:
            path.symlink_to(source)
    if damage:
        (target / name).write_bytes(damage((folder / name).read_bytes()))
    return target


@pytest.mark.skipif(not TRAINED_VAE.is_file(), reason="the miniature's trained VAE is not at hand")
def test_a_trained_vae_of_official_form_reconstructs():
    """Names in the wrong place would still load where the shapes agree; a picture shows it."""
    sizes, state = official_names.vae(load_file(TRAINED_VAE))
    model = encoders.AutoencoderKLWan(**sizes)
    model.load_state_dict(state)
    video = drawing.draw((96, 96), 5).driving.movedim(2, 1) * 2 - 1  # [1, 3, T, H, W]
    with torch.inference_mode():
        error = (model.decode(model.encode(video).latent_dist.mode()).sample - video).square().mean() / 4
    assert -10 * torch.log10(error) > 20
