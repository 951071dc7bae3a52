"""Sample SCAIL-2 Video with the SAMPLER and SIGMAS of other nodes, and with a shift on the MODEL."""

import time

import pytest
import torch
from graphs import Graph, add_inputs, add_sample_video, load
from sampling import sampled

LEVELS = [1.0, 0.7313, 0.2931, 0.0244, 0.0]  # of a distilled model
FRAMES = 13  # two segments of 9


@pytest.fixture(scope="module")
def run(comfy, tmp_path_factory):
    """Sample a video; `connect` adds nodes to the graph and returns what they give."""

    def run(connect=lambda graph, model: {}, **options):
        graph = add_inputs(Graph(comfy.images), frames=FRAMES)
        folder = tmp_path_factory.mktemp("calls")
        model = graph.add("recorded", "TestRecord", model=load(graph), folder=str(folder))
        usual = {"model": model, "solver": "euler", "steps": 3, "segment_length": 9}
        add_sample_video(graph, **usual | options | connect(graph, model))
        graph.add("report", "PreviewAny", source=["sampled", 1])
        return sampled(comfy.run(graph)["report"]["text"][0], folder)

    return run


@pytest.fixture(scope="module")
def plain(run):
    return run()


def core_sampler(name):
    return lambda graph, model: {"sampler": graph.add("sampler", "KSamplerSelect", sampler_name=name)}


def levels(*values):
    return lambda graph, model: {"sigmas": graph.add("sigmas", "ManualSigmas", sigmas=", ".join(map(str, values)))}


def test_cores_euler_gives_what_ours_gives(run, plain):
    found = run(core_sampler("euler"))
    assert len(found.calls) == len(plain.calls) == 6
    for segment in (1, 2):
        torch.testing.assert_close(found.latent(segment), plain.latent(segment), rtol=0, atol=2e-5)
    assert ", sampler euler" in found.report
    assert found.folder != plain.folder


def test_noise_levels_take_the_place_of_steps_and_shift(run):
    """Euler by hand: every call starts from the one before."""
    found = run(levels(*LEVELS))
    calls = found.calls[:4]
    assert [call["timestep"].item() for call in calls] == pytest.approx([1000 * level for level in LEVELS[:-1]])
    for call, following, level, lower in zip(calls, calls[1:], LEVELS, LEVELS[1:], strict=False):
        expected = call["x"][:, :16] + (lower - level) * call["velocity"]
        torch.testing.assert_close(following["x"][:, :16], expected, rtol=0, atol=2e-5)
    assert len(found.calls) == 8


def test_a_schedule_by_its_node_is_the_schedule_by_the_settings(run):
    def connect(graph, model):
        graph.add("schedule", "SCAIL2Schedule", solver="unipc", steps=3, shift=3.0)
        return {"sampler": ["schedule", 0], "sigmas": ["schedule", 1]}

    by_node, by_settings = run(connect), run(solver="unipc")
    for segment in (1, 2):
        assert torch.equal(by_node.latent(segment), by_settings.latent(segment))


def test_a_sampler_with_noise_of_its_own_draws_other_noise_in_each_segment(run):
    """LCM: x = (1 - level) * denoised + level * noise; the noise is what is left."""
    def connect(graph, model):
        return core_sampler("lcm")(graph, model) | levels(1, 0.7, 0.3, 0)(graph, model)

    def noise(call, following):
        denoised = call["x"][:, :16] - call["timestep"].item() / 1000 * call["velocity"]
        level = following["timestep"].item() / 1000
        return (following["x"][:, :16] - (1 - level) * denoised)[:, :, 2:] / level  # of the frames that are not history

    found = run(connect)
    first, second = noise(*found.calls[:2]), noise(*found.calls[3:5])
    assert abs(second.std() - 1) < 0.2
    assert torch.corrcoef(torch.stack([first.flatten(), second.flatten()]))[0, 1].abs() < 0.2


def test_a_video_by_a_sampler_of_core_is_found_again(comfy):
    def run(jobs_limit):
        graph = add_inputs(Graph(comfy.images), frames=FRAMES)
        add_sample_video(graph, load(graph), solver="euler", segment_length=9, jobs_limit=jobs_limit,
                         **core_sampler("lcm")(graph, None))
        graph.add("report", "PreviewAny", source=["sampled", 1])
        return sampled(comfy.run(graph)["report"]["text"][0])

    first = run(100.0)
    comfy.post("/free", {"free_memory": True})
    time.sleep(1)
    again = run(99.0)  # no part of a job's key, but else a server that is slow to forget answers without running
    assert (first.kept, again.kept) == (0, 2)
    assert again.folder == first.folder


def test_another_sampler_and_other_levels_are_another_job(run, plain):
    found = [run(core_sampler("heun")), run(core_sampler("euler")), run(levels(*LEVELS)), run(levels(1, 0.5, 0)), plain]
    assert len({one.folder for one in found}) == len(found)


def test_sigmas_of_the_models_own_schedule(run):
    """Core's way: a shift on the MODEL, and a scheduler that reads it."""
    def connect(graph, model):
        shifted = graph.add("shifted", "ModelSamplingSD3", model=model, shift=5.0)
        return {"model": shifted, "sigmas": graph.add("sigmas", "BasicScheduler", model=shifted, scheduler="simple",
                                                      steps=3, denoise=1.0)}

    found = run(connect)
    times = [5 * t / (1 + 4 * t) for t in (1, 2 / 3, 1 / 3)]
    assert [call["timestep"].item() / 1000 for call in found.calls[:3]] == pytest.approx(times, abs=1e-3)


def test_easy_cache_skips_calls_in_every_segment(comfy, tmp_path):
    graph = add_inputs(Graph(comfy.images), frames=FRAMES)
    cached = graph.add("cached", "EasyCache", model=load(graph), reuse_threshold=3.0, start_percent=0.0,
                       end_percent=1.0, verbose=False)
    model = graph.add("recorded", "TestRecord", model=cached, folder=str(tmp_path))
    add_sample_video(graph, model, steps=6, segment_length=9)
    graph.add("report", "PreviewAny", source=["sampled", 1])
    found = sampled(comfy.run(graph)["report"]["text"][0], tmp_path)
    timesteps = [call["timestep"].item() for call in found.calls]
    assert 2 <= len(timesteps) < 12
    assert len([step for step in timesteps if step == max(timesteps)]) == 2  # each segment begins without a cache
    assert found.latent(2).isfinite().all()


def shifted(graph, model):
    return {"model": graph.add("shifted", "ModelSamplingSD3", model=model, shift=5.0)}


def of_another_kind(graph, model):
    return {"model": graph.add("shifted", "ModelSamplingAuraFlow", model=model, shift=3.0)}


@pytest.mark.parametrize(("connect", "options", "message"), [
    (shifted, {}, "has set shift 5 on the MODEL, but the setting shift is 3: set it to 5, or remove that node"),
    (of_another_kind, {}, "Another node has given the MODEL noise levels of another kind of model"),
    (levels(0.6, 0.3, 0), {}, "sigmas begins at 0.6, but a video is made from noise"),
    (levels(14.6, 2, 0), {}, "sigmas begins at 14.6, but the noise levels of SCAIL-2 lie between 1 and 0"),
    (levels(1, 0.5, 0.1), {}, "sigmas ends at 0.1, so noise would be left in the video"),
    (levels(1, 0.5, 0.7, 0), {}, "sigmas is 1, 0.5, 0.7, 0, but noise levels must fall from step to step"),
    (levels(1), {}, "sigmas has 1 noise level(s), but a step needs two"),
    (levels(), {}, "sigmas has 0 noise level(s), but a step needs two"),
    (core_sampler("euler"), {"history_strength": 0.5}, "the SAMPLER euler can only hold the history with 1"),
    (core_sampler("dpm_adaptive"), {"history_strength": 0.5}, "the SAMPLER dpm_adaptive can only hold the history"),
    (core_sampler("euler"), {"plan": '[{"segments": 2, "history_strength": 0.5}]'}, "the SAMPLER euler can only hold"),
], ids=lambda value: None)
def test_what_would_be_ignored_is_refused(run, connect, options, message):
    with pytest.raises(RuntimeError) as refusal:
        run(connect, **options)
    assert message in str(refusal.value)


def test_the_shift_that_the_setting_has_too_is_welcome(run, plain):
    def connect(graph, model):
        return {"model": graph.add("shifted", "ModelSamplingSD3", model=model, shift=3.0)}

    assert torch.equal(run(connect).latent(2), plain.latent(2))
