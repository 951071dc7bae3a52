"""Each finding appears for a drawn case that has it, with the values of the drawing, and for no other."""

import json
import re
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
import torch
from preflight_jobs import GIB, MODEL, REAL, WHOLE, bound, clip, encoded, job, texts

from scail_model.gpus.gain import Together
from scail_model.media.clips import TensorClip
from scail_model.plate.choice import Choice
from scail_model.preflight import findings
from scail_model.preflight.budget import OFFLOADED, Machine, estimate
from scail_model.preflight.checks import check
from scail_model.preflight.job import Full, work_of
from scail_model.preflight.memory_checks import needed_on_each
from scail_model.segments import Segment, plan_segments
from scail_model.video.options import option_fields

ROOT = Path(__file__).parents[2]
def facts(job):
    return texts(job, "fact")


def test_a_good_job_has_facts_only():
    assert texts(job()) == {}
    assert facts(job()) == {
        "mode": "mode: animation; 17 driving frames, 1 reference(s)",
        "people": "blue: 25.0% of the reference; in 17 driving frames, 25.0% of the picture there",
        "driving": "driving video: 17 frames of 96x128, 1.1 s at 16 fps",
        "assumed": "frame rate: 16 per second, as fps says, because the driving frames have none of their own",
        "sampling": "sampling: unipc, 40 steps, shift 3, guidance 5",
        "prompts": "prompts: 80 tokens in the positive, 2 tokens in the negative",
        "model": "model: 0.0 GiB of weights, no LoRA",
        "segments": "result: 17 frames of 96x128, in 1 segment(s) of 17 frames (1.06 s at the most)",
        "ram": "main memory: about 0.0 GiB for the frames of a segment; 64.0 GiB are free",
        "disk": "job folder: about 0.0 GiB",
        "vram": "GPU memory and time are not estimated, because the model does not run on a CUDA or ROCm GPU",
    }


def test_notes_on_the_masks_are_facts():
    identities = replace(bound([WHOLE] * 17), notes=("driving mask: 2.00% of the pixels were snapped",))
    found = [finding.text for finding in check(job(identities)) if finding.code == "people"]
    assert found[1] == "driving mask: 2.00% of the pixels were snapped"


# Errors

def test_masks_of_another_video():
    other = clip(16, 96, 128)
    assert texts(job(driving=other)) == {
        "driving_mask_frames": "The driving video has 16 frames, but its mask has 17: use a mask made from the same "
                               "video, or set length_mismatch to trim, which leaves out the last frame of the mask.",
        "driving_mask_shape": "The driving mask (96x128 pixels) and the driving video (128x96) have different "
                              "shapes: make the mask from the picture that it belongs to."}
    half = clip(17, 64, 48)
    assert texts(job(driving=half)) == {}


def test_masks_of_another_video_are_not_judged():
    speck = bound([(40, 60, 44, 65)] * 17, references=[[WHOLE]])
    assert "tiny" in texts(job(speck))
    assert set(texts(job(speck, driving=clip(16, 128, 96)))) == {"driving_mask_frames"}


@pytest.mark.parametrize(("change", "text"), [
    ({"segment_length": 10}, "segment_length is 10, but it must be 4n+1"),
    ({"segment_length": 9, "overlap": 9}, "overlap is 9, but it must be 4n+1 and at most 5"),
    ({"overlap": 4}, "overlap is 4, but it must be 4n+1"),
])
def test_segments_that_cannot_be(change, text):
    found = texts(job(**change))
    assert list(found) == ["segments"]
    assert found["segments"].startswith(text)


def test_references_encoded_with_other_identities():
    animation, replacement = bound([WHOLE] * 17), bound([WHOLE] * 17, mode="replacement")
    found = texts(job(replacement, reference_masks=encoded(animation, 128, 96)))
    assert found == {"reference_mode": "The reference was encoded for animation, but the identities are for "
                                       "replacement: connect the same identities to Encode SCAIL-2 Reference."}
    found = texts(job(animation, reference_masks=encoded(replacement, 128, 96)))
    assert found["reference_mode"].startswith("The reference was encoded for replacement, but the identities are")
    two = bound([WHOLE] * 17, references=[[WHOLE], [WHOLE]])
    assert texts(job(two)) == {}
    found = texts(job(two, reference_masks=encoded(animation, 128, 96)))
    assert found["reference_count"].startswith("1 reference(s) were encoded, but the identities have masks for 2")
    moved = bound([WHOLE] * 17, references=[[(40, 16, 72, 112)]])
    found = check(job(animation, reference_masks=encoded(moved, 128, 96)))
    assert [(finding.level, finding.code) for finding in found if finding.level != "fact"] == [
        ("warning", "reference_masks")]
    rounding = encoded(animation, 128, 96) + 1e-6
    assert texts(job(animation, reference_masks=rounding)) == {}


def test_every_error_is_listed():
    wrong = job(segment_length=10, driving=clip(16, 96, 128),
                reference_masks=torch.zeros(2, 28, 16, 12))
    assert set(texts(wrong, "error")) == {"driving_mask_frames", "driving_mask_shape", "segments", "reference_count"}


# Memory and time

@cache
def portrait():
    """Somebody in the middle of 81 frames, and the masks of the reference at 512x896."""
    box = (24, 16, 48, 112)
    identities = bound([box] * 81, size=(126, 72), references=[[box]], reference_size=(126, 72))
    return identities, encoded(identities, 896, 512)


def large(free_vram=138, free_ram=64, tflops=None, **changes):
    """512x896 with the real model; the frames of the driving video are all one pixel."""
    identities, reference = portrait()
    driving = TensorClip(torch.zeros(1, 1, 1, 3, dtype=torch.uint8).expand(81, 896, 512, 3))
    machine = Machine(139 * GIB, round(free_vram * GIB), round(free_ram * GIB), tflops)
    return replace(job(), identities=identities, width=512, height=896, driving=driving, reference_masks=reference,
                   machine=machine, **{"transformer": REAL, **changes})


def least(frames):
    """GiB: 3.271 were measured for the activations of 81 frames; of the weights, the 40 blocks have 98 %."""
    latent_frames = (frames + 3) // 4
    tokens = 1792 * (1 + latent_frames) + 448 * latent_frames
    return 3.271 * tokens / 48832 + 2 * 0.98 * 33 / 40


@pytest.mark.parametrize(("free", "advice"), [
    (least(81) + 0.02, None), (least(77) + 0.02, "segments of 77 frames, the longest that fit at this size"),
    (least(69) + 0.02, "segments of 69 frames, the longest that fit at this size"),
    (0.5, "a much smaller size, or another GPU")])
def test_too_little_gpu_memory(free, advice):
    found = texts(large(free))
    if advice is None:
        assert found == {}
        return
    assert found == {"vram": f"512x896 in segments of 81 frames needs at least about {least(81):.1f} GiB of GPU "
                             f"memory, but {free:.1f} GiB can be free: use {advice}."}


def test_a_vae_that_does_not_fit_is_a_doubt():
    """ComfyUI decodes in tiles then. With small weights the VAE needs the most."""
    small = replace(large(3.0), transformer=MODEL)
    found = check(small)
    assert [finding.level for finding in found if finding.code == "vae_vram"] == ["warning"]
    assert "The VAE needs about 3.6 GiB of GPU memory in one piece, but 3.0 GiB can be free" in texts(small)["vae_vram"]
    assert texts(replace(large(3.7), transformer=MODEL)) == {}


def test_too_little_main_memory():
    # per pixel: the result twice in float32; driving frames as read, as cropped, and at half size in float32
    frames = 81 * 512 * 896 * (24 + 3 + 3 + 3) / GIB
    assert texts(large(free_ram=frames + 0.01)) == {}
    found = texts(large(free_ram=frames - 0.1))
    assert found == {"ram": f"The frames of a segment need {frames:.1f} GiB of main memory, but {frames - 0.1:.1f} GiB "
                            "are free: lower segment_length, or make the video smaller."}


def test_too_little_disk():
    kept = (16 * 21 * 64 * 112 * 4 + 5 * 512 * 896 * 12 + 0.3 * 81 * 512 * 896) / GIB
    assert texts(large(free_disk=round((kept + 0.01) * GIB))) == {}
    found = texts(large(free_disk=round((kept - 0.01) * GIB)))["disk"]
    assert found.startswith(f"The job folder will grow to about {kept:.1f} GiB, but {kept - 0.01:.1f} GiB")
    assert texts(large(free_disk=None)) == {}


def test_estimates_are_told():
    """At guidance 1 a step is one forward, for which 5.25 s were measured: 5.3 minutes, 2.3 s for the VAE."""
    found = facts(large(tflops=798.0, steps=60, guidance=1.0, transformer=replace(REAL, patched=400, lora=True)))
    assert found["time"].startswith("time: about 5 min, from measurements on an NVIDIA H200")
    assert found["vram"] == (f"GPU memory: about {33 + 3.271:.1f} GiB if all weights stay there, {least(81):.1f} GiB "
                             "if they are streamed; 138.0 GiB of 139.0 GiB can be free")
    assert found["model"] == "model: 33.0 GiB of weights, 400 tensors patched (LoRA)"
    assert found["longest"] == "longest segment: 161 frames or more of 512x896 fit on this GPU"
    assert found["weights"] == "weights: all can stay on the GPU"
    twice = facts(large(tflops=798.0 / 20))
    assert twice["time"].startswith("time: about 2 h 1")
    assert f"stay there ({6.91 - 3.271:.1f} GiB more with both prompts in one batch)" in twice["vram"]
    assert "time" not in facts(large())


TWO = (torch.device("cuda", 0), torch.device("cuda", 1))


def test_what_several_gpus_bring():
    """At guidance 1 a segment of 60 steps takes 5.25 s a step and 2.3 s for the VAE, which is not shared."""
    two = large(tflops=798.0, steps=60, guidance=1.0, transformer=replace(REAL, lora=True, gpus=TWO))
    told = facts(replace(two, machine=replace(two.machine, link=2.0e11)))
    seconds, gain = re.fullmatch(r"GPUs: 2 make one video \(cuda:0, cuda:1\): about 2 min (.*) s instead of 5 min a "
                                 r"segment \((.*) times as fast\), with 200 GB/s measured between them",
                                 told["gpus"]).groups()
    assert int(seconds) == pytest.approx(60 * 5.25 / 2 + 2.3 - 120, abs=6)
    assert gain in ("1.9", "2")
    assert told["time"].startswith(f"time: about 2 min {seconds} s, ")
    assert told["time"].endswith("the speed of these GPUs")
    assert told["vram"].startswith("GPU memory on each of 2 GPUs: about ")
    assert "gpus" not in facts(large())
    assert facts(large(transformer=replace(REAL, gpus=TWO)))["gpus"] == (
        "GPUs: 2 make one video (cuda:0, cuda:1), each prompt on half of them")


def test_fewer_gpus_than_asked_for_are_a_doubt():
    sentence = "gpus is 4, but there is one here: 1 GPU is used."
    assert texts(large(transformer=replace(REAL, fewer=sentence))) == {"fewer_gpus": sentence}


def test_more_gpus_than_help_are_a_doubt():
    """Exact at 512x896 on eight: they launch a layer in 48 ms, and one computes it in 131, four in 34."""
    several = [torch.device("cuda", place) for place in range(8)]

    def found(count, **changes):
        transformer = replace(REAL, lora=True, gpus=tuple(several[:count]))
        return texts(large(tflops=798.0, steps=60, guidance=1.0, transformer=transformer, **changes)).get("many_gpus")

    took, best, least = re.fullmatch(
        r"8 GPUs are reckoned to take about 1 min (\d+) s a segment and (\d) about 1 min (\d+) s, because .*: set gpus "
        r"to 5, and use the others for another video\.", found(8)).groups()
    assert int(best) == 5
    assert int(took) == pytest.approx(60 * 40 * 8 * 6e-3 + 2.3 - 60, abs=6)
    assert int(least) == pytest.approx(60 * 40 * 5 * 6e-3 + 2.3 - 60, abs=6)
    assert found(4) is found(2) is found(1) is None
    assert "set gpus to 4" in found(8, cuts=(40,)), "all GPUs make one of two scenes after the other"
    assert found(8, cuts=(10, 20, 30, 40, 50, 60, 70)) is None, "scenes may be made at the same time"
    assert texts(large(guidance=1.0, transformer=replace(REAL, gpus=tuple(several)))).get("many_gpus") is None


def test_fewer_gpus_are_advised_for_what_is_slow():
    """A link of 5 GB/s, not launching; of a draft, what is set for the video too."""
    two = large(tflops=798.0, guidance=1.0, transformer=replace(REAL, lora=True, gpus=TWO, int8=True))
    slow = replace(two, machine=replace(two.machine, link=5e9))
    assert re.search("1 about .*, because too much travels between them for 5 GB/s: set gpus to 1, and use the others",
                     texts(slow)["many_gpus"])
    assert "many_gpus" not in texts(two)
    eight = large(tflops=798.0, steps=8, guidance=1.0, transformer=replace(
        REAL, lora=True, gpus=tuple(torch.device("cuda", place) for place in range(8))))
    for size, rest in (((1280, 704), "back to 8 for the video"), ((896, 512), "use the others for another video")):
        draft = texts(replace(eight, full=Full(*size, 40)))["many_gpus"]
        assert draft.endswith(f"than to do it: set gpus to 5 for the draft, and {rest}.")


def test_gpus_without_room_for_a_larger_part_are_not_advised():
    eight = tuple(torch.device("cuda", place) for place in range(8))
    resident = large(tflops=798.0, guidance=1.0, transformer=replace(REAL, lora=True, gpus=eight, weights=OFFLOADED))
    of_five = needed_on_each(work_of(resident, resident.transformer, plan_segments(81, 81, 5)))(5) / GIB
    for room, advised in ((of_five + 0.01, True), (of_five - 0.01, False)):
        machine = replace(resident.machine, free_vram=round(room * GIB))
        assert ("many_gpus" in texts(replace(resident, machine=machine))) is advised


def test_too_little_memory_on_each_of_several_gpus():
    two = large(guidance=1.0, transformer=replace(REAL, lora=True, gpus=TWO))
    found = texts(replace(two, machine=Machine(139 * GIB, 2 * GIB, 64 * GIB, None)))["vram"]
    assert "of GPU memory on each of 2 GPUs, but 2.0 GiB can be free" in found


def test_memory_that_each_of_several_gpus_needs():
    work = work_of(large(guidance=1.0), replace(REAL, weights=OFFLOADED), [Segment(0, 81, 81, 0)])
    needed = needed_on_each(work)
    assert needed(1) == estimate(work).least
    assert needed(2) < needed(1)
    assert needed(2) == estimate(replace(work, together=Together(2))).least


def test_a_small_card():
    """12 GiB, 11 of them free: most of the weights are streamed, at 1/8 of the H200's speed."""
    small = replace(large(), machine=Machine(12 * GIB, 11 * GIB, 64 * GIB, 100.0))
    assert texts(small) == {}
    found = facts(small)
    tokens, block = 48832, 0.985 * 33 / 40
    activations = 14.05 * tokens * 5120 / GIB
    stay = 11 - 0.25 - activations - 2 * block
    said = re.fullmatch(r"weights: about (.*) GiB can stay on the GPU and (.*) GiB are streamed in every forward, "
                        r"which costs no time if main memory delivers (.*) GB/s", found["weights"]).groups()
    assert float(said[0]) == pytest.approx(stay, abs=0.3)
    assert float(said[0]) + float(said[1]) == pytest.approx(33, abs=0.11)
    # a block in 40 of 5.25 s on the H200
    assert float(said[2]) == pytest.approx(block * GIB / 1e9 / (5.25 / 40 * 798 / 100), rel=0.1)
    assert found["longest"].startswith("longest segment: 161 frames or more")
    whole = facts(replace(small, transformer=replace(REAL, in_chunks=False)))
    assert f"{least(81):.1f} GiB if they are streamed" in whole["vram"]
    assert f"{activations + 2 * block:.1f} GiB if they are streamed" in found["vram"]


def test_the_longest_segment_that_fits():
    tight = replace(large(), machine=Machine(139 * GIB, round((least(85) + 0.02) * GIB), 64 * GIB, None))
    assert texts(tight) == {}
    assert facts(tight)["longest"] == "longest segment: 85 frames of 512x896 fit on this GPU"
    hopeless = replace(tight, machine=Machine(139 * GIB, GIB // 4, 64 * GIB, None))
    assert facts(hopeless)["longest"] == "longest segment: no frame of 512x896 fits on this GPU"


def test_another_model_has_no_estimates():
    assert facts(job(transformer=None)).keys() == facts(job()).keys() - {"model", "ram", "disk", "vram"}
    assert texts(job(transformer=None, steps=4, guidance=1.0)) == {}


# Settings

LORA = replace(MODEL, patched=3, lora=True)


@pytest.mark.parametrize(("steps", "guidance", "transformer", "expected"), [
    (40, 5.0, MODEL, {}),
    (8, 1.0, LORA, {}),
    (8, 5.0, LORA, {"guidance": "guidance is 5 with 8 steps and a LoRA, but distilled LoRAs are made for guidance 1"}),
    (11, 5.0, LORA, {}),
    (40, 1.0, MODEL, {"guidance": "guidance is 1 and there is no LoRA, but the model itself is not distilled: set"}),
    (19, 5.0, MODEL, {"steps": "There are 19 steps and no LoRA, but the model itself is not distilled: take 40 steps"}),
    (20, 5.0, MODEL, {}),
    (8, 5.0, MODEL, {"steps": "There are 8 steps and no LoRA"}),
    (8, 1.0, MODEL, {"guidance": "guidance is 1 and there is no LoRA", "steps": "There are 8 steps and no LoRA"}),
])
def test_steps_and_guidance(steps, guidance, transformer, expected):
    found = texts(job(steps=steps, guidance=guidance, transformer=transformer))
    assert found.keys() == expected.keys()
    assert all(found[code].startswith(text) for code, text in expected.items())
    assert "steps" not in facts(job(steps=steps, guidance=guidance, transformer=transformer))


def test_many_steps_of_a_distilled_lora_are_a_fact():
    found = job(steps=20, guidance=1.0, transformer=LORA)
    assert texts(found) == {}
    assert facts(found)["steps"] == "There are 20 steps at guidance 1 with a LoRA; distilled LoRAs need 4 to 8."
    beside = replace(found, transformer=replace(LORA, patched=0))
    assert facts(beside)["model"] == "model: 0.0 GiB of weights, a LoRA that leaves them unchanged"


def test_long_segments_and_other_overlaps():
    people = [WHOLE] * 100
    assert texts(job(bound(people))) == {}
    assert texts(job(bound(people), segment_length=101))["segment_length"].startswith(
        "The longest segment has 101 frames, but the model was trained with at most 81")
    assert texts(job(bound(people[:60]), segment_length=101)) == {}  # no segment is as long as that
    assert "overlap" not in facts(job(bound(people)))
    assert facts(job(bound(people), overlap=9))["overlap"] == "The overlap is 9; the model was trained with 5."
    assert "overlap" not in facts(job(bound(people[:81]), overlap=9))
    assert facts(job(bound(people)))["segments"] == ("result: 100 frames of 96x128, in 2 segment(s) of 81, 25 frames "
                                                     "(5.06 s at the most)")


def test_sizes_that_lose_quality():
    driving = clip(17, 64, 48)
    assert texts(job(driving=driving)) == {}  # half the result is what the model sees
    driving = clip(17, 60, 45)
    assert texts(job(driving=driving))["driving_size"].startswith(
        "The driving video has 45x60 pixels and is enlarged 2.1 times to cover 96x128: use a larger one")
    driving = clip(17, 80, 60)
    assert "enlarged 2.1 times to cover 128x64" in texts(job(width=128, height=64, driving=driving))["driving_size"]
    small = replace(bound([WHOLE]), driving=bound([WHOLE] * 17).driving)
    assert "result_size" not in texts(job(small, 704, 1280))
    found = texts(job(small, 1088, 1920))
    assert found["result_size"].startswith("The result is 1088x1920, but the model is made for 512x896 to 704x1280")


def test_a_model_on_the_cpu_needs_main_memory():
    """81 frames of 704x1280: 33 bytes a pixel for the frames, 2.24 GiB, and 7923 + 81 * 6.15 a pixel for the VAE,
    7.07 GiB, which is more than the 6.43 GiB of a block at the 14B size."""
    people = [(0, 0, 704, 1280)] * 81
    large = bound(people, references=[[people[0]]], size=(1280, 704), reference_size=(1280, 704))
    big = job(large, 704, 1280, driving=clip(81, 1280, 704), transformer=REAL, machine=Machine(0, 0, 9 * GIB, None))
    found = [finding for finding in check(big) if finding.code == "ram" and finding.level == "error"]
    assert len(found) == 1
    assert found[0].text.startswith("704x1280 in segments of 81 frames needs at least about 9.3 GiB")
    assert "of main memory, because the model runs on the CPU, but 9.0 GiB are free: lower" in found[0].text
    enough = replace(big, machine=Machine(0, 0, 24 * GIB, None))
    assert not [finding for finding in check(enough) if finding.code == "ram" and finding.level == "error"]
    alone = replace(enough, transformer=replace(REAL, weights=OFFLOADED))  # the command line has yet to load the model
    assert "ram" in {finding.code for finding in check(alone) if finding.level == "error"}


# People

def test_somebody_who_is_missing_for_a_segment():
    """Segments of 9 frames with 5 new ones at least: 0-8, 4-12, 8-16."""
    def seen(*missing):
        return bound([None if index in missing else WHOLE for index in range(17)], references=[[WHOLE]])

    options = {"segment_length": 9}
    found = texts(job(seen(*range(3, 14)), **options))
    assert found == {"nobody": "The driving mask shows nobody in frames 3-13 (0.19 s), which cover a whole segment: "
                               "check the mask there, unless everybody has left the picture."}
    assert texts(job(seen(*range(5, 14)), **options)) == {}  # as long, but in two segments
    assert texts(job(seen(*range(3, 14)))) == {}  # one segment of 17
    two = bound([WHOLE] * 17, [(0, 16, 30, 112)] * 9 + [None] * 8, names="Anna, Ben",
                references=[[WHOLE, (0, 16, 30, 112)]])
    assert texts(job(two, segment_length=9)) == {}
    two = bound([WHOLE] * 17, [(0, 16, 30, 112)] * 8 + [None] * 9, names="Anna, Ben",
                references=[[WHOLE, (0, 16, 30, 112)]])
    assert texts(job(two, **options))["unseen"].startswith("Ben (red) is missing in frames 8-16 of 17")


def test_tiny_and_huge_people():
    speck, wall = (40, 60, 44, 65), (0, 0, 96, 108)  # 20 of 12288 pixels, 84 %
    reference = [[WHOLE]]
    tiny = bound([WHOLE] * 9 + [speck] * 8, references=reference)
    assert texts(job(tiny)) == {"tiny": "blue covers 0.16% of the driving video in frames 9-16 of 17: use Crop "
                                        "SCAIL-2 Person (--crop_to_person), which makes the person large and puts it "
                                        "back."}
    assert texts(job(bound([WHOLE] * 10 + [speck] * 7, references=reference))) == {}  # somebody who walks out
    huge = bound([WHOLE] * 4 + [wall] * 4 + [WHOLE] + [wall] * 8, references=reference)
    assert texts(job(huge)) == {"huge": "blue covers 84.38% of the driving video in frames 4-7, 9-16 of 17: check "
                                        "whether the driving mask includes the background."}
    short = bound([speck] * 3, references=[[WHOLE]])  # all there is of the person
    assert "frames 0-2 of 3" in texts(job(short))["tiny"]


@pytest.mark.parametrize(("kind", "box", "share"), [
    ("a person of a fifth", (40, 50, 52, 76), "20%"),
    ("just large enough", (40, 50, 52, 82), None),
    ("a child that lies is as tall as long", (20, 100, 56, 112), None),
    ("whom the lower edge cuts off is larger", (40, 108, 60, 128), None),
    ("whom the upper edge cuts off is larger", (40, 0, 60, 20), None),
    ("at a side edge", (0, 50, 12, 76), "20%"),
])
def test_people_who_are_small_in_the_picture(kind, box, share):
    identities = bound([WHOLE] * 4 + [box] * 13, references=[[WHOLE]])
    found = {code: text for code, text in texts(job(identities)).items() if code != "jump"}
    assert found == ({} if share is None else {
        "small": f"blue has only {share} of the picture's height in frames 4-16 of 17, where few details can be made: "
                 "use Crop SCAIL-2 Person (--crop_to_person), which makes the person large and puts it back."}), kind


def test_small_is_who_is_small_in_what_the_model_makes():
    """26 of 128 rows are a third of the height where the result shows only the middle 80 rows."""
    identities = bound([(32, 50, 60, 76)] * 17, references=[[(32, 50, 60, 76)]])
    assert set(texts(job(identities))) == {"small"}
    assert texts(job(identities, 96, 64)) == {}
    walks_away = bound([WHOLE] * 10 + [(40, 50, 52, 76)] * 7, references=[[WHOLE]])
    assert texts(job(walks_away)) == {}
    both_modes = bound([(32, 50, 60, 76)] * 17, references=[[(32, 50, 60, 76)]], mode="replacement")
    assert set(texts(job(both_modes))) == {"small"}
    rendered = replace(identities, notes=("driving mask: of rendered poses",))
    assert "small" not in texts(job(rendered))


def test_people_too_thin_for_a_mask_at_half_size():
    line, even, odd = (40, 20, 41, 70), (40, 20, 42, 22), (41, 21, 43, 23)  # four pixels count where they make one
    reference = [[WHOLE]]
    assert texts(job(bound([WHOLE] * 9 + [line] * 8, references=reference)))["thin"] == (
        "blue is too thin to be seen in frames 9-16 of 17: the model sees masks at half size, where nothing is left of "
        "50 pixels. Crop the driving video closer to the person, or choose a larger width and height.")
    assert "thin" in texts(job(bound([WHOLE] * 9 + [odd] * 8, references=reference)))
    assert "thin" not in texts(job(bound([WHOLE] * 9 + [even] * 8, references=reference)))
    assert texts(job(bound([WHOLE] * 10 + [line] * 7, references=reference))) == {}


def test_two_people_in_one_place():
    near, beside = (34, 17, 66, 113), (50, 16, 82, 112)  # IoU 30 * 95 / (2 * 32 * 96 - 30 * 95) = 0.87, and a third
    reference = [[WHOLE, WHOLE]]
    found = texts(job(bound([WHOLE] * 17, [beside] * 5 + [near] * 12, references=reference)))
    assert found["coincide"] == ("blue and red are in nearly the same place in frames 5-16 of 17: check whether the "
                                 "driving mask has one person twice.")
    assert texts(job(bound([WHOLE] * 17, [beside] * 10 + [near] * 7, references=reference))) == {}
    assert texts(job(bound([WHOLE] * 17, [beside] * 17, references=reference))) == {}


def test_somebody_behind_another_all_the_time():
    inside = (WHOLE[0] + 6, WHOLE[1] + 20, WHOLE[2] - 6, WHOLE[3] - 20)
    reference = [[WHOLE, inside]]
    identities = bound([WHOLE] * 17, [inside] * 17, references=reference)
    assert texts(job(identities))["hidden"] == (
        "red is hidden behind others in all 17 driving frames that contain red: change front, or check whether the "
        "driving mask has one person twice.")
    assert "hidden" not in texts(job(replace(identities, front=(1, 0))))
    steps_aside = bound([WHOLE] * 17, [inside] * 16 + [(0, 0, 20, 60)], references=reference)
    assert "hidden" not in texts(job(steps_aside))


@pytest.mark.parametrize(("box", "side"), [
    ((20, 0, 60, 100), "head"), ((20, 60, 60, 160), "feet"), ((20, 10, 60, 150), "head, feet")])
def test_a_reference_that_loses_somebody_above_or_below(box, side):
    """The first and the last 16 of 160 rows go."""
    lost = max(16 - box[1], 0) + max(box[3] - 144, 0)
    share = lost / (box[3] - box[1])
    identities = bound([WHOLE] * 17, references=[[box]], reference_size=(160, 96))
    found = texts(job(identities))
    assert found["reference_crop"] == (
        f"Cropped to 96x128, reference 1 loses {share:.1%} of blue ({side}): choose a width and height with the "
        "picture's shape, or use Reframe SCAIL-2 Reference.")


def test_a_reference_that_loses_somebody_at_a_side():
    """160x64 is enlarged twice and loses 56 columns on each side."""
    lost = bound([WHOLE] * 17, references=[[(40, 8, 72, 56)]], reference_size=(64, 160))
    assert "reference 1 loses 50.0% of blue (left side)" in texts(job(lost))["reference_crop"]
    lost = bound([WHOLE] * 17, references=[[(72, 8, 88, 56)], [(96, 8, 112, 56)]], reference_size=(64, 160))
    assert "reference 2 loses 50.0% of blue (right side)" in texts(job(lost))["reference_crop"]
    kept = bound([WHOLE] * 17, references=[[(72, 8, 88, 56)]], reference_size=(64, 160))
    assert texts(job(kept)) == {}


def test_a_driving_video_that_loses_somebody():
    """96x128 to 128x64: enlarged by 4/3, of which the middle 48 rows are left, 40 to 87."""
    inside, low, lower = (32, 44, 64, 84), (32, 44, 64, 94), (32, 44, 64, 104)
    reference = {"references": [[(32, 4, 64, 44)]], "reference_size": (48, 96)}
    found = texts(job(bound([inside] * 9 + [low] * 7 + [lower], **reference), 128, 64))
    assert found == {"driving_crop": f"Cropped to 128x64, the driving video loses up to {16 / 60:.1%} of blue in 8 "
                                     "of 17 frames (most in frame 16: feet): choose a width and height with the "
                                     "video's shape."}
    assert texts(job(bound([inside] * 10 + [low] * 7, **reference), 128, 64)) == {}
    high = texts(job(bound([(32, 30, 64, 84)] * 17, **reference), 128, 64))
    assert f"{10 / 54:.1%} of blue in 17 of 17 frames (most in frame 0: head)" in high["driving_crop"]


def figure(height, top=10):
    """A box of the height; the width follows it, and nobody is cut off."""
    return (48 - height // 6, top, 48 + height // 6, top + height)


@pytest.mark.parametrize(("reference", "ratio"), [(48, None), (62, None), (72, "1.50"), (30, "0.62"), (37, None)])
def test_somebody_of_another_size(reference, ratio):
    """48 of 128 rows in the first driving frame that shows the person."""
    identities = bound([None] + [figure(48)] * 16, references=[[figure(reference)]])
    found = texts(job(identities))
    if ratio is None:
        assert found == {}
        return
    assert found == {"scale": f"blue is {ratio} times as large in the reference as in driving frame 1, and the result "
                              "follows the reference: use Reframe SCAIL-2 Reference."}


def test_size_is_compared_in_the_result():
    """A reference of twice the pixels, whose person has 96 of 256 rows, is as large as one of 48 in 128."""
    same = bound([figure(48)] * 17, references=[[(80, 20, 112, 116)]], reference_size=(256, 192))
    assert texts(job(same)) == {}
    wide = bound([figure(48)] * 17, references=[[(112, 4, 144, 28)]], reference_size=(64, 256))  # enlarged twice
    assert texts(job(wide)) == {}


def test_a_busy_background():
    identities = bound([WHOLE] * 17)
    grey = torch.zeros(17, 128, 96, 3, dtype=torch.uint8)
    grey[:, ::2] = 70  # a spread of 35
    stripes = TensorClip(grey)
    found = facts(job(identities, driving=stripes))
    assert "(its grey levels spread by 35 of 255): if it shows in the result, set driving_background to black" in (
        found["busy_background"])
    person_only = torch.zeros_like(grey)
    person_only[:, 16:112:2, 32:64] = 255
    for quiet in (job(identities, driving=TensorClip(grey // 2)), job(identities, driving=TensorClip(person_only)),
                  job(identities, driving=stripes, black_background=True),
                  job(bound([WHOLE] * 17, mode="replacement"), driving=stripes)):
        assert "busy_background" not in facts(quiet)
    everywhere = bound([(0, 0, 96, 128)] * 17)
    assert "busy_background" not in facts(job(everywhere, driving=stripes))


# Telling

FOUND = [findings.fact("size", "the size is 3"), findings.error("one", "It is 1: take 2."),
         findings.warning("grey", "It is grey: paint it."), findings.error("two", "It is 2: take 3.")]


def test_report_has_errors_first():
    assert findings.report(FOUND) == ("Errors (2)\n- It is 1: take 2.\n- It is 2: take 3.\n\n"
                                      "Warnings (1)\n- It is grey: paint it.\n\nFacts (1)\n- the size is 3")
    assert findings.report(FOUND[:1]) == "Facts (1)\n- the size is 3"


def test_programs_get_the_same():
    assert json.loads(findings.as_json(FOUND)) == {
        "ok": False,
        "errors": [{"code": "one", "text": "It is 1: take 2."}, {"code": "two", "text": "It is 2: take 3."}],
        "warnings": [{"code": "grey", "text": "It is grey: paint it."}],
        "facts": [{"code": "size", "text": "the size is 3"}]}
    assert json.loads(findings.as_json(FOUND[:1]))["ok"] is True


def test_the_first_error_is_raised():
    with pytest.raises(ValueError, match=r"^It is 1: take 2. \(and 1 more: see Check SCAIL-2 Inputs.\)$"):
        findings.refuse(FOUND)
    with pytest.raises(ValueError, match=r"^It is 2: take 3.$"):
        findings.refuse(FOUND[2:])
    findings.refuse([FOUND[0], FOUND[2]])


def test_every_error_and_warning_names_a_remedy():
    """One sentence, "... is ...: do that."."""
    wrong = [job(segment_length=10, driving=clip(16, 96, 128)), large(3.0, 0),
             job(steps=4, guidance=1.0), job(bound([(40, 60, 44, 65)] * 17, references=[[WHOLE]]))]
    found = [finding for case in wrong for finding in check(case) if finding.level != "fact"]
    assert len(found) >= 7
    assert all(": " in finding.text and "\n" not in finding.text for finding in found)


def codes() -> set[str]:
    """Of all findings that the sources make."""
    made = r"(?:error|warning|fact|attempt)\(\s*\"([a-z_]+)\""
    sources = [path for folder in ("scail_model", "nodes") for path in (ROOT / folder).rglob("*.py")]
    return {code for path in sources for code in re.findall(made, path.read_text(encoding="utf-8"))}


def test_findings_name_inputs_of_the_check():
    text = "\n".join((ROOT / name).read_text(encoding="utf-8") for name in (
        "scail_model/comfy/schema.py", "scail_model/comfy/mask_inputs.py", "nodes/preflight.py"))
    inputs = set(re.findall(r"\.Input\(\s*\"([a-z_]+)\"", text)) | {each.name for each in option_fields()}
    found = {code: findings.fact(code, "").input for code in codes()}
    assert len(found) > 30
    # of the machine, and of the command line
    assert {code for code, name in found.items() if name is None} == {"time", "preview"}
    assert {name for name in found.values() if name} <= inputs


def test_rows_for_the_page_are_sorted_by_level():
    rows = findings.as_rows(FOUND)
    assert [(row["level"], row["code"]) for row in rows] == [("error", "one"), ("error", "two"), ("warning", "grey"),
                                                             ("fact", "size")]
    assert findings.as_rows([findings.error("guidance", "It is 3.")])[0]["input"] == "guidance"


def test_animation_keeps_nothing_of_the_driving_video():
    assert texts(job(plate=Choice("composite"))) == {
        "plate": "plate is composite, but the mode is animation, which shows the reference's scene and keeps nothing "
                 "of the driving video: set plate to off, or bind the identities for replacement."}
    assert "plate" not in texts(job(bound([WHOLE] * 17, mode="replacement"), plate=Choice("composite")))
