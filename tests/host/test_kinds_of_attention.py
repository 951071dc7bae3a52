"""Attention that other nodes set on a MODEL: ours makes of it what core's SCAIL-2 does with the same weights, with all
rows at once and in chunks, also in the last block; and it asks for as few rows at once as the node allows.

The nodes are in testpack/attention_overrides.py; all of them run in one graph.
"""

import json

import pytest
from graphs import Graph

# tokens of its clip: reference, video and driving video; rows of a chunk; keys of image and text
REFERENCE, VIDEO, DRIVING, ROWS, IMAGE, TEXT = 24, 72, 18, 32, 257, 512
ALL = REFERENCE + VIDEO + DRIVING

CHUNKS = {32, ALL % ROWS, VIDEO % ROWS}
# how many queries each may be asked for in self-attention, with all rows at once and in chunks
SELF_ATTENTION = {
    "sparse": ({ALL}, {ALL}),
    "sparse_of_everything": ({ALL}, {ALL}),
    "sage": ({ALL, VIDEO}, CHUNKS),
    "sparse_over_sage": ({ALL}, {ALL}),
    "sparse_over_unknown": ({ALL}, {ALL}),
    "attention_of_a_strangers_node": ({ALL}, {ALL}),
    "unknown": ({ALL}, {ALL}),
    "attn1_patch": ({ALL}, {ALL}),
}
# the same in cross-attention
CROSS_ATTENTION = {
    "sparse": ({ALL, VIDEO}, CHUNKS),
    "sparse_of_everything": ({ALL, VIDEO}, CHUNKS),
    "sage": ({ALL, VIDEO}, CHUNKS),
    "sparse_over_sage": ({ALL, VIDEO}, CHUNKS),
    "sparse_over_unknown": ({ALL}, {ALL}),
    "attention_of_a_strangers_node": ({ALL}, {ALL}),
    "unknown": ({ALL}, {ALL}),
}
WAYS = ("whole", "chunks")


@pytest.fixture(scope="module")
def everything(comfy):
    graph = Graph(comfy.images)
    path = comfy.base / "models/diffusion_models/fp32.safetensors"
    graph.add("overrides", "TestOverrides", path=str(path), rows=ROWS)
    graph.add("text", "PreviewAny", source=["overrides", 0])
    return json.loads(comfy.run(graph)["text"]["text"][0])


@pytest.fixture
def found(everything, kind):
    """What was found of one kind, by way; skipped where this ComfyUI does not have its node."""
    if "missing" in everything[kind]:
        pytest.skip(everything[kind]["missing"])
    return everything[kind]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", [*SELF_ATTENTION, "model_attention_backend"])
def test_the_result_is_that_of_core(found, way):
    assert found[way]["from core"] < 1e-5


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", ["model_attention_backend"])
def test_cores_own_choice_of_attention_changes_nothing(found, way):
    assert found[way]["effect"] < 1e-5


@pytest.mark.parametrize("way", WAYS)
def test_sparse_attention_is_exact_where_it_leaves_nothing_out(everything, way):
    assert everything["sparse_of_everything"][way]["effect"] < 1e-5
    assert everything["sparse"][way]["effect"] > 1e-3


@pytest.mark.parametrize("kind", SELF_ATTENTION)
@pytest.mark.parametrize("way", WAYS)
def test_rows_at_once_in_self_attention(found, kind, way):
    asked = {queries for queries, keys in found[way]["calls"] if keys == ALL}
    assert asked == SELF_ATTENTION[kind][WAYS.index(way)]


@pytest.mark.parametrize("kind", CROSS_ATTENTION)
@pytest.mark.parametrize("way", WAYS)
def test_rows_at_once_in_cross_attention(found, kind, way):
    asked = {keys: {queries for queries, others in found[way]["calls"] if others == keys}
             for keys in (IMAGE, TEXT)}
    assert asked == dict.fromkeys((IMAGE, TEXT), CROSS_ATTENTION[kind][WAYS.index(way)])


def test_sparse_attention_is_not_asked_for_cross_attention_that_looks_like_self_attention(everything):
    calls, distance = everything["as long as text"]
    assert calls == 0
    assert distance < 1e-5


def test_attention_of_other_nodes_comes_before_sparse_attention_of_ours(everything):
    """One line of the log for each of them says so, and the check of inputs whenever it is asked."""
    found = everything["before sparse"]
    nodes = ["PathchSageAttentionKJ (testpack.model_optimization_nodes)", "attn1_patch (testpack.attention_overrides)"]
    assert found["computed"] == found["sparse"] == {"None": True, "sage": False, "attn1_patch": False}
    assert found["log"] == [
        f"SCAIL-2: {node} is on the model and comes before attention sparse, which is not used." for node in nodes]
    assert found["warned"] == [
        f"attention is sparse, but {node} is on the model and comes before it: remove that node from the model's line, "
        "or choose another attention." for node in (*nodes, nodes[0])]
