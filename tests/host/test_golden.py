"""The official numbers inside ComfyUI: golden cases D and E through SCAIL2Schedule and core's sampling nodes."""

import golden
import pytest
import torch
from graphs import load
from safetensors.torch import load_file, save_file

SOLVERS = ("unipc", "dpm++", "euler")
TRAJECTORIES = golden.GOLDEN / "D2_trajectories.safetensors"
LOOPS = ("E1_sampling_anim_2seg", "E2_sampling_repl_add2_2seg")


def loop_runs():
    """(file, run, segment) of every sampling loop in case E."""
    return [pytest.param(name, run, segment, id=f"{name[:2]}-{run['name']}-{segment}")
            for name in LOOPS for run in golden.load(name)[1]["runs"] for segment in ("seg0", "seg1")]


def add_sampling(graph, model, solver, steps, shift, guidance, conditioning, noise, latent):
    """SCAIL2Schedule under SamplerCustomAdvanced, which takes noise from outside."""
    graph.add("schedule", "SCAIL2Schedule", solver=solver, steps=steps, shift=shift)
    graph.add("guider", "CFGGuider", model=model, positive=conditioning[0], negative=conditioning[1], cfg=guidance)
    return graph.add("sampled", "SamplerCustomAdvanced", noise=noise, guider=["guider", 0], sampler=["schedule", 0],
                     sigmas=["schedule", 1], latent_image=latent)


def write_case(path, name, segment):
    """The inputs of one segment in the layout of TestConditioning."""
    tensors, info = golden.load(name)
    batched = {key: value[None] for key, value in tensors.items()}
    references, masks = [batched["ref_latent"]], [batched["ref_masks"]]
    if info["additional_refs"]:
        references += list(batched["additional_ref_latents"].split(1, dim=2))
        masks = [batched["additional_ref_masks"], *masks]
    inputs = {
        "positive": batched["context"], "negative": batched["context_null"], "clip": golden.clip_features(1)[None],
        "references": torch.cat(references), "reference_masks": torch.cat(masks, dim=2),
        "pose": batched[f"{segment}.pose_latent"], "driving_masks": batched[f"{segment}.driving_masks"],
        "noise": batched[f"{segment}.noise"], "animation": torch.tensor(not info["replace_flag"]),
    }
    if segment == "seg1":
        inputs["history"] = batched["seg1.history_latent"]
    save_file({key: value.contiguous() for key, value in inputs.items()}, path)


@pytest.mark.parametrize(("name", "run", "segment"), loop_runs())
def test_sampling_loop_is_the_official_one(graph, tensors, tmp_path, name, run, segment):
    write_case(tmp_path / "case.safetensors", name, segment)
    model = load(graph)
    graph.add("case", "TestConditioning", model=model, path=str(tmp_path / "case.safetensors"))
    latent = add_sampling(graph, model, run["solver"], run["steps"], run["shift"], run["guide_scale"],
                          (["case", 0], ["case", 1]), ["case", 2], ["case", 3])
    found = tensors(graph, latent=latent, model=model)["samples"]
    expected = golden.load(name)[0][f"{run['name']}.{segment}.final"]
    torch.testing.assert_close(found[0], expected, rtol=0, atol=1e-4)


def test_noise_of_a_seed_is_the_official_noise(graph, tensors, tmp_path):
    """SamplerCustom draws the noise itself; the golden run's seed gives the golden result."""
    name = LOOPS[0]
    run = golden.load(name)[1]["runs"][0]
    write_case(tmp_path / "case.safetensors", name, "seg0")
    model = load(graph)
    graph.add("case", "TestConditioning", model=model, path=str(tmp_path / "case.safetensors"))
    graph.add("schedule", "SCAIL2Schedule", solver=run["solver"], steps=run["steps"], shift=run["shift"])
    latent = graph.add("sampled", "SamplerCustom", model=model, add_noise=True, noise_seed=run["seed"],
                       cfg=run["guide_scale"], positive=["case", 0], negative=["case", 1], sampler=["schedule", 0],
                       sigmas=["schedule", 1], latent_image=["case", 3])
    found = tensors(graph, latent=latent, model=model)["samples"]
    expected = golden.load(name)[0][f"{run['name']}.seg0.final"]
    torch.testing.assert_close(found[0], expected, rtol=0, atol=1e-4)


def test_model_sees_the_official_latents(comfy, graph, tmp_path):
    """What the diffusion model is given at each step of the second segment, history in place."""
    write_case(tmp_path / "case.safetensors", LOOPS[0], "seg1")
    tensors, info = golden.load(LOOPS[0])
    run = info["runs"][0]
    model = graph.add("recorded", "TestRecord", model=load(graph), folder=str(tmp_path))
    graph.add("case", "TestConditioning", model=["model", 0], path=str(tmp_path / "case.safetensors"))
    latent = add_sampling(graph, model, run["solver"], run["steps"], run["shift"], run["guide_scale"],
                          (["case", 0], ["case", 1]), ["case", 2], ["case", 3])
    comfy.run(graph.save(tmp_path / "out.safetensors", latent=latent))
    calls = [load_file(path) for path in sorted(tmp_path.glob("0*.safetensors"))]
    assert len(calls) == 2 * run["steps"]  # the prompts differ in length, so they are asked one by one
    for step, expected in enumerate(tensors[f"{run['name']}.seg1.x_at_step"]):
        for call in calls[2 * step : 2 * step + 2]:
            assert call["timestep"].item() == run["model_timesteps"][step]
            torch.testing.assert_close(call["x"][0, :16], expected, rtol=0, atol=1e-4)
            torch.testing.assert_close(call["x"][0, 16:], tensors["seg1.history_mask"], rtol=0, atol=0)


@pytest.mark.parametrize("steps", [4, 20])
@pytest.mark.parametrize("shift", [1.0, 5.0])
@pytest.mark.parametrize("solver", SOLVERS)
def test_toy_trajectory_is_the_official_one(graph, tensors, solver, steps, shift):
    graph.add("toy", "TestToyModel", model=load(graph), path=str(TRAJECTORIES))
    graph.add("text", "TestText", seed=1)
    latent = add_sampling(graph, ["toy", 0], solver, steps, shift, 1.0, (["text", 0], ["text", 0]), ["toy", 1],
                          ["toy", 2])
    found = tensors(graph, latent=latent, model=["model", 0])["samples"]
    expected = golden.load("D2_trajectories")[0][f"{solver}.steps{steps}.shift{shift:g}.f32.final"]
    torch.testing.assert_close(found.reshape(2, 8), expected, rtol=0, atol=5e-6)


@pytest.mark.parametrize("solver", SOLVERS)
def test_schedule_is_the_official_one(graph, tensors, solver):
    graph.add("schedule", "SCAIL2Schedule", solver=solver, steps=40, shift=3.0)
    expected = golden.load("D1_schedules")[0][f"{solver}.steps40.shift3.sigmas"]
    torch.testing.assert_close(tensors(graph, sigmas=["schedule", 1])["sigmas"], expected, rtol=0, atol=1e-7)
