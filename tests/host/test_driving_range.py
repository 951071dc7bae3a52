"""driving_start and driving_end are core's pose_start and pose_end: in the steps outside of them the network gets no
driving video.

The loops of core's node, of Build SCAIL-2 Motion Latent and of Sample SCAIL-2 Video are compared call by call.
"""

import golden
import pytest
import torch
from graphs import add_inputs, add_ksampler, add_motion, add_sample_video, load
from recordings import forward, recorded
from safetensors.torch import load_file
from sampling import sample
from test_compatibility import add_core_motion, core_network, load_by_core, relative

STEPS = 4
# of a linear schedule, whose four calls are at 1, 0.75, 0.5 and 0.25; both ends belong to the range
RANGES = {(0.0, 0.5): [True, True, True, False], (0.3, 1.0): [False, False, True, True],
          (0.2, 0.4): [False, True, False, False], (0.25, 0.75): [False, True, True, True]}


def driven(calls):
    return ["pose_latents" in call for call in calls]


@pytest.mark.parametrize("loader", [load, load_by_core])
def test_motion_node_follows_as_long_as_cores_does(comfy, graph, tmp_path, loader):
    """KSampler on both conditionings, with the model's shift at 1, which makes the schedule linear."""
    add_inputs(graph)
    add_core_motion(graph)
    for number, (start, end) in enumerate(RANGES):
        graph["core_motion" + str(number)] = {"class_type": "WanSCAILToVideo", "inputs": dict(
            graph["core_motion"]["inputs"], pose_start=start, pose_end=end)}
        add_motion(graph, f"motion{number}", driving_start=start, driving_end=end)
        for motion in (f"core_motion{number}", f"motion{number}"):
            folder = tmp_path / motion
            folder.mkdir()
            shifted = graph.add(f"shifted_{motion}", "ModelSamplingSD3", model=loader(graph), shift=1.0)
            model = graph.add(f"recorded_{motion}", "TestRecord", model=shifted, folder=str(folder))
            graph.save(tmp_path / f"{motion}.safetensors", f"saved_{motion}", latent=add_ksampler(
                graph, model, motion=motion, steps=STEPS, name=f"sampled_{motion}"))
    del graph["core_motion"]
    comfy.run(graph)
    network = golden.tiny_transformer() if loader is load else core_network()
    for number, expected in enumerate(RANGES.values()):
        for motion in (f"core_motion{number}", f"motion{number}"):
            calls = recorded(tmp_path / motion)
            assert driven(calls) == expected, motion
            for call in calls:
                assert relative(call["velocity"], forward(network, call)) < 2e-5


def test_both_networks_agree_without_a_driving_video(comfy, graph, tmp_path):
    add_inputs(graph, additional=True, mode="replacement")
    add_motion(graph, driving_start=0.999)
    add_core_motion(graph, "replacement")
    velocities = []
    for loader in (load, load_by_core):
        folder = tmp_path / loader.__name__
        folder.mkdir()
        model = graph.add("recorded", "TestRecord", model=loader(graph), folder=str(folder))
        comfy.run(graph.save(tmp_path / "latent.safetensors", latent=add_ksampler(graph, model, steps=1)))
        (call,) = recorded(folder)
        assert driven([call]) == [False]
        velocities.append(call["velocity"])
    assert relative(*velocities) < 1e-3
    assert velocities[0].std() > 0.1


def test_the_video_node_samples_what_a_chain_of_cores_nodes_samples(comfy, graph, tmp_path):
    """A model with a shift of 3, as the schedule's, makes core's parts the node's parts."""
    add_inputs(graph)
    made = sample(comfy, graph, tmp_path, solver="euler", steps=5, driving_start=0.3, driving_end=0.75)
    # 3 s / (1 + 2 s) of s = 1, 0.8 ... 0.2, of which those between s = 0.7 and 0.25
    assert driven(made.calls) == [False, False, True, True, False]
    add_motion(graph, driving_start=0.3, driving_end=0.75)
    graph.add("schedule", "SCAIL2Schedule", solver="euler", steps=5, shift=3.0)
    graph.add("shifted", "ModelSamplingSD3", model=load(graph), shift=3.0)
    graph.add("chain", "SamplerCustom", model=["shifted", 0], add_noise=True, noise_seed=3, cfg=1.0,
              positive=["motion", 0], negative=["motion", 1], sampler=["schedule", 0], sigmas=["schedule", 1],
              latent_image=["motion", 2])
    comfy.run(graph.save(tmp_path / "chain.st", latent=["chain", 0]))
    assert torch.equal(made.latent(1), load_file(tmp_path / "chain.st")["samples"])


def test_the_key_of_a_job_has_the_range(comfy, graph):
    """A range of its own folder; the whole range is the folder that there was before ranges."""
    add_inputs(graph)
    usual = sample(comfy, graph)
    assert sample(comfy, graph, driving_start=0.0, driving_end=1.0).folder == usual.folder
    assert sample(comfy, graph, driving_end=0.5).folder != usual.folder


@pytest.mark.parametrize(("start", "end"), [(0.5, 0.5), (0.6, 0.2)])
@pytest.mark.parametrize("node", ["motion", "sampled"])
def test_a_range_without_a_step_is_refused(comfy, graph, node, start, end):
    add_inputs(graph)
    graph.save("/dev/null", conditioning=add_motion(graph))
    add_sample_video(graph, load(graph))
    graph.add("report", "PreviewAny", source=["sampled", 1])
    graph.set(node, driving_start=start, driving_end=end)
    del graph["saved" if node == "sampled" else "report"]
    with pytest.raises(RuntimeError, match=f"driving_start is {start:g} and driving_end {end:g}, but"):
        comfy.run(graph)
