"""Text generation models of core's own classes, tiny, whose weights are set so that each token leads to the next one of
a given sentence; and others that lack something."""

import json
from pathlib import Path

import comfy.sd
import comfy.supported_models_base
import torch
from comfy import sd1_clip
from comfy.text_encoders import qwen3vl
from comfy_api.latest import io

_NAME = "qwen3vl_8b"
_WIDTH = 64  # one direction for each token of the sentence
_TEXT = {"vocab_size": 151936, "hidden_size": _WIDTH, "intermediate_size": 64, "num_hidden_layers": 2,
         "num_attention_heads": 1, "num_key_value_heads": 1}
_VISION = {"hidden_size": 64, "intermediate_size": 64, "depth": 2, "deepstack_visual_indexes": [1], "num_heads": 2}
_END = 151645  # of a turn


class TestTextModel(io.ComfyNode):
    """answer: what it writes; one that ends with "..." goes on for ever. kind: "sees"; "sees one" takes one picture as
    Gemma 3 does; "blind" takes none; "encoder" writes nothing."""

    @classmethod
    def define_schema(cls):
        return io.Schema(node_id="TestTextModel", category="test", inputs=[
            io.String.Input("answer"), io.Combo.Input("kind", options=["sees", "sees one", "blind", "encoder"]),
            io.String.Input("seen", tooltip="File that the sizes of pictures and the text are written to.")],
            outputs=[io.Clip.Output()])

    @classmethod
    def execute(cls, answer, kind, seen):
        if kind == "encoder":
            return io.NodeOutput(_clip(sd1_clip.SD1ClipModel, sd1_clip.SD1Tokenizer,
                                       {"clip_l_model_config": {"num_hidden_layers": 1}}))
        tokenizer = {"sees": qwen3vl.tokenizer(_NAME), "sees one": _OnePicture, "blind": _Blind}[kind]
        before = dict(qwen3vl.QWEN3VL_VISION[_NAME])
        qwen3vl.QWEN3VL_VISION[_NAME] |= _VISION
        try:
            clip = _clip(qwen3vl.te(dtype_llama=torch.float32, model_type=_NAME), tokenizer,
                         {f"{_NAME}_model_config": _TEXT})
        finally:
            qwen3vl.QWEN3VL_VISION[_NAME] = before
        _set(clip, answer)
        _note(clip, Path(seen))
        return io.NodeOutput(clip)


class _OnePicture(qwen3vl.tokenizer(_NAME)):
    def tokenize_with_weights(self, text, return_word_ids=False, image=None, images=None, **kwargs):
        given = [] if image is None else [image]
        return super().tokenize_with_weights(text, return_word_ids, images=given, **kwargs)


class _Blind(qwen3vl.tokenizer(_NAME)):
    def tokenize_with_weights(self, text, return_word_ids=False, image=None, images=None, **kwargs):
        return super().tokenize_with_weights(text, return_word_ids, **kwargs)


def _clip(model, tokenizer, options):
    target = comfy.supported_models_base.ClipTarget(tokenizer, model)
    return comfy.sd.CLIP(target, model_options={"dtype": torch.float32, **options})


def _set(clip, answer):
    """A network whose layers add nothing, so that what is read decides alone what is written next."""
    network = clip.cond_stage_model.qwen3vl_8b.transformer
    inner = clip.tokenizer.qwen3vl_8b.tokenizer
    chain = [*inner("<think>\n\n</think>\n\n")["input_ids"][-1:], *inner(answer)["input_ids"]]
    chain += [] if answer.endswith("...") else [_END]
    assert len(set(chain)) == len(chain) <= _WIDTH, "no token may come twice"
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.normal_(std=0.02)
        for layer in network.model.layers:
            layer.self_attn.o_proj.weight.zero_()
            layer.mlp.down_proj.weight.zero_()
        network.model.norm.weight.fill_(1)
        for table in (network.model.embed_tokens.weight, network.model.lm_head.weight):
            table.zero_()
        for place, (read, write) in enumerate(zip(chain, chain[1:], strict=False)):
            network.model.embed_tokens.weight[read, place] = 1
            network.model.lm_head.weight[write, place] = 20


def _note(clip, path):
    network, told = clip.cond_stage_model.qwen3vl_8b.transformer, []
    plain, tokenize = network.preprocess_embed, clip.tokenizer.tokenize_with_weights

    def preprocess_embed(embed, device):
        told[-1]["pictures"].append(list(embed["data"].shape))
        path.write_text(json.dumps(told))
        return plain(embed, device)

    def tokenize_with_weights(text, *given, **kwargs):
        told[:] = [entry for entry in told if entry["pictures"]]  # ways of asking that were given up
        told.append({"text": text, "pictures": []})
        return tokenize(text, *given, **kwargs)

    network.preprocess_embed, clip.tokenizer.tokenize_with_weights = preprocess_embed, tokenize_with_weights
