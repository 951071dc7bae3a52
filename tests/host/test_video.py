"""Whole videos: SCAIL2SampleVideo in both modes, one and more segments, and the same by hand with KSampler."""

import re

import assets
import av
import pytest
import torch
from graphs import add_inputs, add_ksampler, add_motion, add_sample_video, load
from recordings import recorded
from safetensors.torch import load_file
from sampling import sampled

WHITE, RED, BLUE = 0, 1, 3  # mask channels of the first frame in a group


@pytest.fixture
def frames(graph, tensors):
    """The frames that SampleVideo gives."""

    def run(model=None, **options):
        video = add_sample_video(graph, model or load(graph), **options)
        graph.add("components", "GetVideoComponents", video=video)
        return tensors(graph, image=["components", 0])["image"]

    return run


@pytest.fixture
def newest(comfy):
    """A file of the job that ran last, by its segment (from 1) and ending."""

    def path(segment, ending):
        folder = max((comfy.base / "output/scail2_jobs").glob("*/"), key=lambda job: job.stat().st_mtime)
        (found,) = folder.glob(f"{segment:04}-*.{ending}")
        return found

    return path


@pytest.fixture
def record(graph, tmp_path):
    def model(name="calls"):
        (tmp_path / name).mkdir()
        return graph.add("recorded", "TestRecord", model=load(graph), folder=str(tmp_path / name))

    return model


def save_video(graph, video):
    graph.add("file", "SaveVideo", video=video, filename_prefix="video", format="auto", codec="auto")
    return graph


def saved_file(comfy, outputs):
    (entry,) = outputs["file"]["images"]
    return comfy.base / "output" / entry["subfolder"] / entry["filename"]


# Files in, file out

@pytest.mark.node("SCAIL2SampleVideo")
def test_a_users_files_become_a_video_with_sound(comfy, graph):
    """mp4, png and an mp4 mask in; as many frames, the same rate, the sound and the asked size out."""
    add_inputs(graph)
    graph.add("reference_image", "LoadImage", image="reference1.png")
    graph.add("reference_mask", "LoadImage", image="reference_mask1.png")
    graph.add("driving", "LoadVideo", file="driving.mp4")
    graph.add("mask_video", "LoadVideo", file="driving_mask.mp4")
    graph.add("driving_mask", "GetVideoComponents", video=["mask_video", 0])
    video = add_sample_video(graph, load(graph), segment_length=13, steps=1)
    graph.add("report", "PreviewAny", source=["sampled", 1])
    outputs = comfy.run(save_video(graph, video))
    found = assets.probe(saved_file(comfy, outputs))
    assert found["frames"] == assets.FRAMES
    assert found["fps"] == assets.FPS
    assert found["size"] == (64, 64)
    assert found["sound"] == pytest.approx(float(assets.FRAMES / assets.FPS), abs=0.15)
    assert "21 frames of 64x64 in 2 segment" in outputs["report"]["text"][0]


@pytest.mark.parametrize("precision", ["exact", "8-bit", "fast"])
def test_report_and_file_say_how_it_was_computed(comfy, graph, precision):
    add_inputs(graph)
    video = add_sample_video(graph, load(graph, precision=precision), steps=1)
    graph.add("report", "PreviewAny", source=["sampled", 1])
    found = sampled(comfy.run(save_video(graph, video))["report"]["text"][0])
    weights = "float32" if precision == "exact" else "int8_tensorwise"
    attention = "sparse" if precision == "fast" else "(sub_quad|pytorch)"
    expected = f"precision {precision}, weights {weights}, attention {attention}"
    assert re.search(f"computed with {expected}", found.report)
    with av.open(str(found.video)) as container:
        assert re.fullmatch(f"SCAIL-2, {expected}", container.metadata["comment"])


def test_frames_become_a_video_at_the_given_rate(comfy, graph):
    add_inputs(graph, frames=5, width=96, height=32)
    video = add_sample_video(graph, load(graph), steps=1, fps=24.0)
    found = assets.probe(saved_file(comfy, comfy.run(save_video(graph, video))))
    assert found == {"frames": 5, "fps": 24, "size": (96, 32), "sound": 0.0}


# Frame counts and segments

QUICK = {1: 1, 6: 1, 9: 1, 10: 2, 18: 4}  # at the edges of 4n+1 frames and of segments
SLOW = {2: 1, 4: 1, 5: 1, 11: 2, 13: 2, 17: 3, 21: 4}


@pytest.mark.parametrize(("count", "segments"), [
    *QUICK.items(), *(pytest.param(*case, marks=pytest.mark.slow) for case in SLOW.items())])
def test_every_frame_in_gives_a_frame_out(graph, frames, record, tmp_path, count, segments):
    add_inputs(graph, frames=count)
    found = frames(record(), segment_length=9, steps=1)
    assert found.shape == (count, 64, 64, 3)
    assert found.isfinite().all()
    assert len(recorded(tmp_path / "calls")) == segments


@pytest.mark.parametrize(("lengths", "latent_frames"), [
    ("short last", [5, 3]), ("even", [4, 4]), ("full last", [5, 5])])
def test_segments_of_other_lengths(graph, frames, record, tmp_path, lengths, latent_frames):
    """20 frames in segments of at most 17; frames that are only made up are cut off again."""
    add_inputs(graph, frames=20)
    found = frames(record(), segment_length=17, steps=1, lengths=lengths)
    assert found.shape == (20, 64, 64, 3)
    calls = recorded(tmp_path / "calls")
    assert [call["x"].shape[2] for call in calls] == latent_frames
    if lengths == "full last":  # its frames are 12 to 28, and 19 is the last one that there is
        masks = calls[1]["sam_latents"].unflatten(1, (4, 7))
        assert torch.equal(masks[:, :, :, 3:], masks[:, -1:, :, 2:3].expand(-1, 4, -1, 2, -1, -1))


@pytest.mark.node("SCAIL2SampleVideo")
def test_a_segment_starts_from_the_end_of_the_one_before(graph, tensors, frames, record, newest, tmp_path):
    """Clean frames and their mask in every call, and the noise that follows on the first segment's."""
    add_inputs(graph, frames=13)
    video = frames(record(), segment_length=9, steps=2)
    first, _, second, last = recorded(tmp_path / "calls")
    graph.add("end", "TestImages", path=str(newest(1, "end.safetensors")), name="frames")
    graph.add("encoded", "VAEEncode", pixels=["end", 0], vae=["vae", 0])
    history = tensors(graph, latent=["encoded", 0], model=["model", 0])["samples"]
    for call in (second, last):
        torch.testing.assert_close(call["x"][:, :16, :2], history, rtol=0, atol=2e-5)
        assert torch.equal(call["x"][:, 16:, :2], torch.ones(1, 4, 2, 8, 8))
        assert not call["x"][:, 16:, 2:].any()
    assert not first["x"][:, 16:].any()

    generator = torch.Generator().manual_seed(3)
    noise = [torch.randn(1, 16, 3, 8, 8, generator=generator) for _ in range(2)]
    torch.testing.assert_close(first["x"][:, :16], noise[0], rtol=0, atol=1e-6)
    torch.testing.assert_close(second["x"][:, :16, 2:], noise[1][:, :, 2:], rtol=0, atol=1e-6)
    assert len(video) == 13


@pytest.mark.node("SCAIL2MotionTransfer")
def test_driving_frames_of_a_segment_are_its_own(graph, frames, record, tmp_path, tensors):
    """The second segment's driving frames and masks are 4..12; repeated ones fill it up where the video ends."""
    add_inputs(graph, frames=13)
    frames(record("whole"), segment_length=9, steps=1)
    add_inputs(graph, frames=11)
    frames(record("cut"), segment_length=9, steps=1)
    whole, cut = recorded(tmp_path / "whole")[1], recorded(tmp_path / "cut")[1]
    assert torch.equal(whole["sam_latents"][:, :, :2], cut["sam_latents"][:, :, :2])
    assert not torch.equal(whole["sam_latents"], cut["sam_latents"])
    last = cut["sam_latents"].unflatten(1, (4, 7))[:, 1:, :, 2]  # driving frames 10, 10, 10 of the last group
    assert torch.equal(last, last[:, :1].expand_as(last))

    add_inputs(graph, frames=13)
    add_motion(graph, start_frame=4, name="alone")
    found = tensors(graph, conditioning=["alone", 0])
    assert torch.equal(found["driving_mask_28ch"].movedim(1, 2), whole["sam_latents"])


@pytest.mark.node("SCAIL2MotionTransfer")
def test_a_video_drives_like_its_frames(graph, tensors):
    add_inputs(graph, frames=assets.FRAMES)
    add_motion(graph)
    graph.add("driving", "LoadVideo", file="driving.mp4")
    video = tensors(graph, conditioning=["motion", 0])["pose_video_latent"]
    graph.add("components", "GetVideoComponents", video=["driving", 0])
    graph.set("motion", driving=["components", 0])
    assert torch.equal(tensors(graph, conditioning=["motion", 0])["pose_video_latent"], video)


# Seeds

def test_a_seed_gives_one_video(graph, frames):
    add_inputs(graph, frames=11)
    options = {"segment_length": 9, "steps": 1}
    first = frames(name="first", **options)
    assert torch.equal(first, frames(name="again", **options))
    assert (first - frames(name="other", seed=4, **options)).abs().mean() > 0.01


# Modes, people, references

def test_animation_of_two_people(graph, frames, record, tmp_path):
    add_inputs(graph, people=2, frames=5)
    assert len(frames(record(), steps=1)) == 5
    (call,) = recorded(tmp_path / "calls")
    assert call["ref_mask_flag"]
    for stream in ("sam_latents", "ref_mask_latents"):
        left, right = (call[stream][0, colour, 0].sum(dim=0) for colour in (BLUE, RED))  # by column
        assert left.amax() > 0.3
        assert right.amax() > 0.3
        assert left.argmax() < right.argmax()
    assert not call["sam_latents"][0, WHITE, 0].any()
    assert call["ref_mask_latents"][0, WHITE, 0].amax() == 1


@pytest.mark.node("SCAIL2SampleVideo")
def test_replacement_turns_the_backgrounds_round(graph, frames, record, tmp_path):
    add_inputs(graph, mode="replacement", frames=5)
    assert len(frames(record(), steps=1)) == 5
    (call,) = recorded(tmp_path / "calls")
    assert not call["ref_mask_flag"]
    assert call["sam_latents"][0, WHITE, 0].amax() == 1
    assert not call["ref_mask_latents"][0, WHITE, 0].any()


@pytest.mark.node("SCAIL2EncodeReference")
def test_replacement_keeps_the_reference_background_if_asked(graph, tensors):
    latents = []
    for background in ("cut out", "keep"):
        add_inputs(graph, mode="replacement", frames=5)
        graph.set("reference", replacement_background=background)
        add_motion(graph, length=5)
        latents.append(tensors(graph, latent=add_ksampler(graph, load(graph)))["samples"])
    assert not torch.equal(*latents)


@pytest.mark.node("SCAIL2EncodeReference")
def test_additional_references_come_first(graph, frames, record, tmp_path):
    add_inputs(graph, additional=True, frames=5)
    assert len(frames(record(), steps=1)) == 5
    (call,) = recorded(tmp_path / "calls")
    assert call["reference_latent"].shape[2] == 2
    assert call["ref_mask_latents"].shape[2] == 2 + 2  # and the two latent frames of the video
    assert call["ref_mask_latents"][0, WHITE, 1].amax() == 1  # the primary has the white background
    assert not call["ref_mask_latents"][0, WHITE, 0].any()
    assert not call["ref_mask_latents"][0, :, 2:].any()


def test_a_plain_mask_is_the_first_person(graph, tensors):
    add_inputs(graph, frames=5)
    add_motion(graph, length=5)
    painted = tensors(graph, conditioning=["motion", 0])
    graph.set("identities", driving_masks=["driving_mask", 1])
    graph.pictures("reference_mask", "reference_mask1_black")
    graph.set("identities", reference_masks=["reference_mask", 1])
    plain = tensors(graph, conditioning=["motion", 0])
    for stream in ("driving_mask_28ch", "ref_mask_28ch"):
        assert torch.equal(painted[stream], plain[stream])


@pytest.mark.node("SCAIL2MotionTransfer")
def test_black_background_hides_the_scene_from_the_model(graph, tensors):
    add_inputs(graph, frames=5)
    add_motion(graph, length=5)
    keep = tensors(graph, conditioning=["motion", 0])["pose_video_latent"]
    graph.set("motion", driving_background="black")
    black = tensors(graph, conditioning=["motion", 0])["pose_video_latent"]
    assert not torch.equal(keep, black)


@pytest.mark.node("SCAIL2Schedule")
@pytest.mark.parametrize("solver", ["unipc", "dpm++", "euler"])
def test_every_solver_makes_a_video(graph, frames, solver):
    add_inputs(graph, frames=5)
    found = frames(solver=solver, guidance=5.0, steps=2)
    assert found.isfinite().all()
    assert found.std() > 0.01


@pytest.mark.node("SCAIL2SampleVideo", "SCAIL2Schedule")
def test_sample_video_is_what_its_parts_make(graph, tensors, frames, newest):
    """One segment by hand, with the pack's own schedule under SamplerCustom, gives the same latent to the bit; the
    frames differ by what 12 bits and FFmpeg's conversion to float leave."""
    add_inputs(graph)
    video = frames(steps=2, guidance=5.0, segment_length=9)
    add_motion(graph)
    graph.add("schedule", "SCAIL2Schedule", solver="unipc", steps=2, shift=3.0)
    latent = graph.add("by_hand", "SamplerCustom", model=["model", 0], add_noise=True, noise_seed=3, cfg=5.0,
                       positive=["motion", 0], negative=["motion", 1], sampler=["schedule", 0],
                       sigmas=["schedule", 1], latent_image=["motion", 2])
    graph.add("decoded", "VAEDecode", samples=latent, vae=["vae", 0])
    by_hand = tensors(graph, latent=latent, image=["decoded", 0])
    assert torch.equal(load_file(newest(1, "latent.safetensors"))["samples"], by_hand["samples"])
    torch.testing.assert_close(video, by_hand["image"], rtol=0, atol=4 / 4095)


# By hand with core's sampler

def test_extension_with_ksampler_begins_with_the_end_of_the_segment_before(graph, tensors):
    add_inputs(graph, frames=13)
    add_motion(graph, "first")
    model = load(graph)
    add_ksampler(graph, model, motion="first", name="first_latent")
    graph.add("first_frames", "VAEDecode", samples=["first_latent", 0], vae=["vae", 0])
    add_motion(graph, "second", start_frame=9, previous_frames=["first_frames", 0])
    add_ksampler(graph, model, motion="second", name="second_latent")
    graph.add("second_frames", "VAEDecode", samples=["second_latent", 0], vae=["vae", 0])
    # what the VAE makes of the frames taken over
    graph.add("end", "ImageFromBatch", image=["first_frames", 0], batch_index=4, length=5)
    graph.add("encoded", "VAEEncode", pixels=["end", 0], vae=["vae", 0])
    graph.add("taken_over", "VAEDecode", samples=["encoded", 0], vae=["vae", 0])

    first = tensors(graph, image=["first_frames", 0])["image"]
    second = tensors(graph, image=["second_frames", 0])["image"]
    taken_over = tensors(graph, image=["taken_over", 0])["image"]
    assert first.shape == second.shape == (9, 64, 64, 3)
    torch.testing.assert_close(second[:5], taken_over, rtol=0, atol=1e-4)
    assert (second[5:] - first[4:][:4]).abs().mean() > 0.01


@pytest.mark.node("SCAIL2MotionTransfer")
def test_motion_says_how_many_frames_are_real(comfy, graph):
    add_inputs(graph, frames=11)
    add_motion(graph, start_frame=5)
    graph.add("real", "PreviewAny", source=["motion", 3])
    assert comfy.run(graph)["real"]["text"] == ["6"]
