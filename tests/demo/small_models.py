"""Real components in small: a SCAIL-2 transformer and the Wan 2.1 encoders with few, random, seeded weights.

Same classes, same file formats, same tensor names as the large ones. What they make is noise.
"""

from __future__ import annotations

import string
from pathlib import Path

import torch
import transformers
from diffusers import AutoencoderKLWan
from safetensors.torch import save_file

from scail_model.config import TransformerConfig
from scail_model.transformer import SCAIL2Transformer

transformers.utils.logging.disable_progress_bar()

TEXT_WIDTH = 4096  # the transformer's


def transformer(config: TransformerConfig | None = None, seed: int = 0) -> SCAIL2Transformer:
    """Random weights that let every input through to the result."""
    config = config or TransformerConfig(dim=128, ffn_dim=256, num_heads=1, num_layers=2)
    torch.manual_seed(seed)
    return SCAIL2Transformer(config).requires_grad_(False)


def write_transformer(path: Path) -> None:
    """A transformer as one .safetensors file with official names."""
    save_file({name: tensor.contiguous() for name, tensor in transformer().state_dict().items()}, path)


def vae() -> AutoencoderKLWan:
    torch.manual_seed(1)
    return AutoencoderKLWan(base_dim=8).eval()


def text_encoder() -> transformers.UMT5EncoderModel:
    torch.manual_seed(2)
    return transformers.UMT5EncoderModel(transformers.UMT5Config(
        vocab_size=128, d_model=TEXT_WIDTH, d_kv=16, num_heads=2, d_ff=32, num_layers=2, num_decoder_layers=0)).eval()


def clip() -> transformers.CLIPVisionModel:
    """257 tokens of width 1280, as the transformer reads them; the last of the two layers is not used."""
    torch.manual_seed(3)
    return transformers.CLIPVisionModel(transformers.CLIPVisionConfig(
        hidden_size=1280, intermediate_size=64, num_hidden_layers=2, num_attention_heads=16, image_size=224,
        patch_size=14, hidden_act="gelu")).eval()


def tokenizer() -> transformers.PreTrainedTokenizerBase:
    """One token per letter, built here."""
    letters = string.ascii_letters + string.digits + string.punctuation
    vocabulary = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", -9.0), ("▁", -2.0), *((letter, -3.0) for letter in letters)]
    return transformers.T5TokenizerFast(vocab=vocabulary, extra_ids=0)


def write_encoders(folder: Path, video_vae: AutoencoderKLWan | None = None) -> None:
    """All encoders as a Wan 2.1 folder in diffusers form."""
    (video_vae or vae()).save_pretrained(folder / "vae")
    text_encoder().save_pretrained(folder / "text_encoder")
    tokenizer().save_pretrained(folder / "tokenizer")
    clip().save_pretrained(folder / "image_encoder")
