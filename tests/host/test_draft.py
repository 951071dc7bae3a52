"""A draft in ComfyUI: what its network is given, what is kept of it, and the full video beside it."""

import json
from dataclasses import replace

import assets
import pytest
import torch
from graphs import Graph, add_inputs, load
from sampling import sample

FULL, HALF = (128, 64), (64, 32)  # width, height
FRAMES, STEPS = 13, 8  # two segments of 9 frames; a draft has 4 steps
PLAN = '[{"segments": 2, "reference": 2, "seed": 9}]'


@pytest.fixture(scope="module")
def made(comfy, tmp_path_factory):
    """Runs by name, in the order of a user: the draft, the draft again, the full video; and a video of the draft's
    size, made without `draft`. All have one record, because it is a part of their MODEL."""
    record, runs, known = tmp_path_factory.mktemp("calls"), {}, 0
    for name, size, options in (("draft", FULL, {"draft": True}), ("again", FULL, {"draft": True, "jobs_limit": 90.0}),
                                ("full", FULL, {}), ("small", HALF, {})):
        found = run(comfy, record, size, **options)
        runs[name], known = replace(found, calls=found.calls[known:]), len(found.calls)
    return runs


def run(comfy, record, size, **changes):
    graph = add_inputs(Graph(comfy.images), people=1, frames=FRAMES, additional=True, width=size[0], height=size[1])
    graph.pictures("second_image", "references")
    graph.add("second", "SCAIL2EncodeReference", **graph["reference"]["inputs"] | {
        "image": ["second_image", 0], "additional_pictures": "still video"})
    options = {"segment_length": 9, "plan": PLAN, "more_references.reference_2": ["second", 0], "guidance": 1.0}
    steps = {"steps": STEPS if size == FULL else 4}
    return sample(comfy, graph, record, **options, **steps, **changes)


def test_a_draft_is_given_what_a_small_video_is_given(made):
    """References are fitted to the small size from the pictures; only CLIP sees what it will see in the full video."""
    draft, small, full = made["draft"].calls, made["small"].calls, made["full"].calls
    assert (len(draft), len(small), len(full)) == (8, 8, 16)
    for ours, theirs in zip(draft, small, strict=True):
        for name in ("reference_latent", "ref_mask_latents", "pose_latents", "sam_latents", "timestep", "context"):
            assert torch.equal(ours[name], theirs[name]), name
        assert ours["x"].shape == theirs["x"].shape
    assert torch.equal(draft[0]["clip"], full[0]["clip"])
    # the full video's noise, four numbers at a time
    summed = full[0]["x"][:, :16].unflatten(-1, (8, 2)).unflatten(-3, (4, 2)).sum((-1, -3)) / 2
    torch.testing.assert_close(draft[0]["x"][:, :16], summed, rtol=0, atol=1e-5)


def test_a_draft_is_a_job_of_its_own_and_kept(made):
    draft, again, full = made["draft"], made["again"], made["full"]
    assert draft.folder.name.startswith("13f_64x32_draft_")
    assert len({draft.folder, full.folder, made["small"].folder}) == 3
    assert (again.folder, again.kept, again.calls) == (draft.folder, 2, [])
    assert "draft: 64x32 in 4 steps, for a video of 128x64 in 8" in draft.report
    assert assets.probe(draft.video)["fps"] == assets.probe(full.video)["fps"]
    assert assets.probe(draft.video)["frames"] == assets.probe(full.video)["frames"] == FRAMES


def test_the_full_video_is_shown_beside_its_draft(made):
    full = made["full"]
    (both,) = full.folder.glob("compare-*.mp4")
    assert f"draft and video side by side: {both}" in full.report
    assert f"compared with the draft in {made['draft'].folder}: size 64x32 -> 128x64; steps 4 -> 8" in full.report
    assert assets.probe(both)["frames"] == FRAMES
    record = json.loads(full.video.with_name(f"{full.video.name}.json").read_text())
    assert record["comparison"]["video"] == str(both)
    assert "side by side" not in made["draft"].report


def test_the_switch_is_seen_without_unfolding_the_node(comfy):
    for node in ("SCAIL2SampleVideo", "SCAIL2Preflight"):
        (found,) = comfy.get(f"/object_info/{node}").values()
        kind, how = found["input"]["optional"]["draft"]
        assert (kind, how["default"], bool(how.get("advanced"))) == ("BOOLEAN", False, False)
        assert found["input"]["optional"]["driving_margin"][1]["advanced"]


def test_the_check_of_a_draft(comfy):
    graph = add_inputs(Graph(comfy.images), frames=FRAMES, width=FULL[0], height=FULL[1])
    graph.add("check", "SCAIL2Preflight", model=load(graph), **{
        name: [name, 0] for name in ("positive", "negative", "vae", "reference", "driving", "identities")},
        solver="unipc", steps=STEPS, shift=3.0, guidance=1.0, segment_length=9, draft=True,
        sigmas=graph.add("sigmas", "ManualSigmas", sigmas="1, 0.9, 0.8, 0.7, 0.6, 0.5, 0.3, 0.1, 0"))
    graph.add("report", "PreviewAny", source=["check", 0])
    graph.add("json", "PreviewAny", source=["check", 1])
    outputs = comfy.run(graph)
    report, found = outputs["report"]["text"][0], json.loads(outputs["json"]["text"][0])
    assert "draft: 64x32 in 4 steps, for a video of 128x64 in 8" in report
    assert "result: 13 frames of 64x32" in report
    assert "4 steps at noise levels 1, 0.8, 0.6, 0.3, 0" in report
    assert not {"reference_masks", "reference_mode"} & {finding["code"] for finding in found["warnings"]}
