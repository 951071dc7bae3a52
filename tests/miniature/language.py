"""The miniature's six words as files: a text encoder of umT5's architecture without blocks, and its tokenizer.

What remains of umT5 without blocks is an embedding and a norm. With rows of root mean square 1 the norm changes
nothing, so a text gives the rows of `words.context`. Every word that means nothing, and the end of the text, is a zero
row, which is what the transformer pads with.
"""

from __future__ import annotations

from pathlib import Path

import torch
import transformers
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors
from words import WIDTH, embedding
from world import WORDS

_PAD, _END, _UNKNOWN = "<pad>", "</s>", "<unk>"
_VOCABULARY = (_PAD, _END, _UNKNOWN, *WORDS)


def write_text_encoder(folder: Path) -> None:
    """Write `text_encoder/` and `tokenizer/` of a Wan 2.1 folder in diffusers form."""
    text_encoder().save_pretrained(folder / "text_encoder")
    tokenizer().save_pretrained(folder / "tokenizer")


def text_encoder() -> transformers.UMT5EncoderModel:
    """Token numbers [n, L] -> rows [n, L, 4096]."""
    model = transformers.UMT5EncoderModel(transformers.UMT5Config(
        vocab_size=len(_VOCABULARY), d_model=WIDTH, d_kv=1, num_heads=1, d_ff=1, num_layers=0, num_decoder_layers=0,
        pad_token_id=_VOCABULARY.index(_PAD), eos_token_id=_VOCABULARY.index(_END)))
    with torch.no_grad():
        model.shared.weight.copy_(torch.stack([embedding(word) for word in _VOCABULARY]))
        model.encoder.final_layer_norm.weight.fill_(1)
    return model.eval()


def tokenizer() -> transformers.PreTrainedTokenizerBase:
    """One token per word and per run of punctuation, whatever the capitals; the end token comes last, as umT5's."""
    words = Tokenizer(models.WordLevel({word: number for number, word in enumerate(_VOCABULARY)}, unk_token=_UNKNOWN))
    words.normalizer = normalizers.Lowercase()
    words.pre_tokenizer = pre_tokenizers.Split(Regex(r"\w+|[^\w\s]+"), behavior="removed", invert=True)
    words.post_processor = processors.TemplateProcessing(
        single=f"$A {_END}", special_tokens=[(_END, _VOCABULARY.index(_END))])
    return transformers.PreTrainedTokenizerFast(tokenizer_object=words, pad_token=_PAD, eos_token=_END,
                                                unk_token=_UNKNOWN)
