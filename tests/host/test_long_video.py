"""Work that is kept: runs that break off and go on, segments that are made again, scenes, and what is taken over."""

import json
import shutil
import signal
import subprocess
import time

import assets
import av
import pytest
import torch
from comfyui import ComfyUI
from graphs import Graph, add_inputs, add_sample_video, load
from safetensors.torch import load_file

LENGTH, FRAMES = 9, 19  # four segments: new frames 9, 4, 4, 2
STEPS = 2


@pytest.fixture
def folder(comfy):
    """Where the jobs are; empty at first."""
    jobs = comfy.base / "output/scail2_jobs"
    shutil.rmtree(jobs, ignore_errors=True)
    return jobs


@pytest.fixture
def made(comfy, graph, folder):
    """Run the node; returns its report, the segments, and how many steps were sampled in this run."""

    def run(**options):
        output(graph, **options)
        size = comfy.log_size()
        outputs = comfy.run(graph)
        lines = [line for line in comfy.log_since(size).splitlines() if "SCAIL-2: segment " in line]
        sampled = sum("sampling" in line for line in lines)
        return outputs["report"]["text"][0], json.loads(outputs["segments"]["text"][0])["segments"], sampled

    return run


def output(graph, *, frames=FRAMES, people=1, mode="animation", **options):
    add_inputs(graph, frames=frames, people=people, mode=mode)
    links = {name: value for name, value in options.items() if name == "model"}
    plain = {"steps": STEPS, "segment_length": LENGTH} | {name: options[name] for name in options if name not in links}
    add_sample_video(graph, links.get("model") or load(graph), **plain)
    graph.add("file", "SaveVideo", video=["sampled", 0], filename_prefix="long", format="auto", codec="auto")
    graph.add("report", "PreviewAny", source=["sampled", 1])
    graph.add("segments", "PreviewAny", source=["sampled", 2])
    return graph


def job(folder):
    """The only job's folder."""
    (found,) = folder.glob("*/job.json")
    return found.parent


def contents(job):
    """Digests of everything that makes up a result, by name."""
    return {path.name: assets.digest(path) for path in job.iterdir() if path.suffix != ".json"}


def frames_of(path):
    with av.open(str(path)) as container:
        return torch.stack([torch.from_numpy(frame.to_ndarray(format="rgb24")) for frame in container.decode(video=0)])


def latents(job, segment):
    """Sampled latents of a segment (from 1), the latest last."""
    paths = sorted(job.glob(f"{segment:04}-*.latent.safetensors"), key=lambda path: path.stat().st_mtime_ns)
    return [load_file(path)["samples"] for path in paths]


def video(job):
    """The latest finished video's frames."""
    return frames_of(max(job.glob("video-*.mp4"), key=lambda path: path.stat().st_mtime_ns))


# Broken off, and gone on with

@pytest.fixture(scope="module")
def whole(comfy):
    """An undisturbed job: its folder, copied, with what was written in the order in which it was written."""
    jobs = comfy.base / "output/scail2_jobs"
    shutil.rmtree(jobs, ignore_errors=True)
    comfy.run(output(Graph(comfy.images)))
    kept = comfy.base / "whole"
    shutil.copytree(job(jobs), kept)
    files = [path for path in kept.iterdir() if path.name != "job.json"]
    return kept, sorted(files, key=lambda path: path.stat().st_mtime_ns), job(jobs).name


@pytest.fixture
def finished(folder, whole):
    """The undisturbed job where jobs are: its folder."""
    kept, _, name = whole
    return shutil.copytree(kept, folder / name)


def some(number, quick, name):
    """Cases by number; all but the quick ones are slow."""
    return [pytest.param(case, id=f"{case} {name}", marks=() if case in quick else pytest.mark.slow)
            for case in range(number)]


def test_a_finished_job_is_found_again(made, folder, whole, finished):
    again, _, sampled = made(fps=16.0)
    assert sampled == 0
    assert "in 4 segment(s), 4 of them already finished" in again
    assert f"job folder: {finished}" in again
    assert job(folder) == finished
    assert contents(finished) == contents(whole[0])


# four segments with latent, end and part; the last one has no end. The quick ones end with each of the three
@pytest.mark.parametrize("count", some(12, (0, 1, 5, 9), "files"))
def test_killed_between_any_two_files(made, folder, whole, count):
    """What a killed run leaves are the files written before, and a piece of the next one under another name."""
    kept, written, name = whole
    (folder / name).mkdir(parents=True)
    for path in (*written[:count], kept / "job.json"):
        shutil.copy2(path, folder / name)
    (folder / name / ".123.piece.mp4.part").write_bytes(b"half a file")
    latents_there = sum(path.name.endswith("latent.safetensors") for path in written[:count])
    _, _, sampled = made()
    assert sampled == 4 - latents_there
    assert contents(folder / name) == contents(kept)


def runs_ahead(written):
    """What a kill can leave besides the prefixes: a part is written while the next segment is sampled."""
    by_segment = {}
    for path in written:
        if path.name[:4].isdecimal():
            kind = "part" if path.suffix == ".mp4" else path.name.split(".")[1]
            by_segment.setdefault(int(path.name[:4]), {})[kind] = path
    for last in (1, 2, 3):
        kept = [path for segment in range(1, last + 1) for path in by_segment[segment].values()]
        kept.remove(by_segment[last]["part"])
        yield kept
        yield [*kept, by_segment[last + 1]["latent"]]
        yield [path for path in kept if path.suffix != ".mp4"]  # of none of them, which no order can leave


@pytest.mark.parametrize("number", some(9, (0, 4, 8), "of what is left"))
def test_killed_while_a_part_is_written(made, folder, whole, number):
    """The part is made again from its latent, the same to the bit, and nothing is sampled for it."""
    kept, written, name = whole
    left = list(runs_ahead(written))[number]
    (folder / name).mkdir(parents=True)
    for path in (*left, kept / "job.json"):
        shutil.copy2(path, folder / name)
    _, _, sampled = made()
    assert sampled == 4 - sum(path.name.endswith("latent.safetensors") for path in left)
    assert contents(folder / name) == contents(kept)


@pytest.mark.parametrize("segment", [pytest.param(1, marks=pytest.mark.slow), 3,
                                     pytest.param(4, marks=pytest.mark.slow)])
def test_a_part_that_cannot_be_written_is_told(made, folder, whole, segment):
    """In the background, in mid-video and at its end: the error arrives, and no more than the part is lost."""
    kept, written, name = whole
    part = next(path.name for path in written if path.name.startswith(f"{segment:04}-") and path.suffix == ".mp4")
    (folder / name / part / "in the way").mkdir(parents=True)
    with pytest.raises(RuntimeError, match=r"The job folder .* cannot be written \(.*: make it writable, with room"):
        made()
    left = [path.name for path in (folder / name).iterdir()]
    assert not [name for name in left if name.endswith(".part")]
    assert [name for name in left if name.startswith(f"{segment:04}-") and name.endswith("latent.safetensors")]
    shutil.rmtree(folder / name / part)
    _, _, sampled = made()
    assert sampled == 4 - sum(name.endswith("latent.safetensors") for name in left)
    assert contents(folder / name) == contents(kept)


@pytest.mark.slow
def test_killed_while_it_samples(comfy, graph, made, folder, tmp_path):
    """A second ComfyUI dies by SIGKILL in the third segment; the first one goes on with what it has left."""
    (tmp_path / "base").mkdir()
    for part in ("models", "input"):
        (tmp_path / "base" / part).symlink_to(comfy.base / part)
    with ComfyUI(tmp_path / "base") as other:
        other.queue(output(Graph(comfy.images), steps=10))
        theirs = tmp_path / "base/output/scail2_jobs"
        end = time.monotonic() + 60
        while not list(theirs.glob("*/0002-*.mp4")) and time.monotonic() < end:
            time.sleep(0.005)
        other.process.send_signal(signal.SIGKILL)
        other.process.wait()
    left = job(theirs)
    assert not list(left.glob("0004-*"))
    shutil.copytree(theirs, folder)
    _, _, sampled = made(steps=10)
    assert sampled == 4 - len(list(left.glob("*.latent.safetensors")))
    resumed = contents(job(folder))
    shutil.rmtree(folder)
    made(steps=10)
    assert contents(job(folder)) == resumed


def test_cancel_leaves_a_file_of_what_is_finished(comfy, graph, folder, made):
    """Cancelled in the second segment; asked again, only the rest is made."""
    output(graph, steps=16)
    times = []
    with comfy.listen() as listener:
        prompt = comfy.queue(graph, client_id=listener.client_id)

        def cancel():
            while not list(folder.glob("*/0001-*.mp4")):
                time.sleep(0.005)
            times.append(time.monotonic())
            comfy.post("/interrupt", {})

        messages, _ = listener.until_done(prompt, cancel)
    assert messages[-1]["type"] == "execution_interrupted"
    assert time.monotonic() - times[0] < 1
    so_far = job(folder) / "so-far.mp4"
    assert assets.probe(so_far)["frames"] == 9
    _, _, sampled = made(steps=16)
    assert sampled == 3
    assert not so_far.exists()
    assert len(video(job(folder))) == FRAMES


@pytest.fixture
def small_disk(folder, whole):
    """A file system that is full in the third of four segments; gives a function that enlarges it."""
    folder.mkdir(parents=True)
    enough = sum(path.stat().st_size // 4096 * 4 + 8 for path in whole[1][:7])  # in pages
    mount = ["mount", "-t", "tmpfs", "-o", f"size={enough}k", "none", folder]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("no file system can be mounted here: run as root")
    yield lambda: subprocess.run(["mount", "-o", "remount,size=64m", folder], check=True)
    subprocess.run(["umount", folder], check=True)


def test_full_disk_is_told_and_loses_nothing(made, folder, small_disk):
    message = r"The job folder .* \(the disk is full\): free space there, and run again; finished segments are kept"
    with pytest.raises(RuntimeError, match=message):
        made()
    left = {path.name for path in job(folder).iterdir()}
    assert {name[:4] for name in left if name.endswith(".mp4")} >= {"0001", "0002"}
    assert not [name for name in left if name.endswith(".part")]
    small_disk()
    _, _, sampled = made()
    assert sampled == 4 - sum(name.endswith("latent.safetensors") for name in left)
    assert len(video(job(folder))) == FRAMES


def test_patches_of_core_are_part_of_the_job_and_their_state_is_not(graph, made, folder):
    """Context windows count their steps in the MODEL while it is sampled; their schedule decides the result."""
    windows = {"context_length": 5, "context_overlap": 1, "context_stride": 1, "closed_loop": False,
               "fuse_method": "pyramid", "freenoise": False, "retain_first_frame": False,
               "split_conds_to_windows": False}

    def patched(schedule):
        return graph.add("windows", "WanContextWindowsManual", model=load(graph), context_schedule=schedule, **windows)

    _, _, sampled = made(model=patched("standard_static"))
    assert sampled == 4
    _, _, sampled = made(model=patched("standard_static"), quality=20)
    assert sampled == 0
    _, _, sampled = made(model=patched("standard_uniform"))
    assert sampled == 4


# Made again

def test_remade_segment_and_everything_after(made, folder, finished):
    before = [latents(job(folder), segment)[-1] for segment in (1, 2, 3, 4)]
    _, _, sampled = made(remake="2", remake_seed=9)
    assert sampled == 3
    after = [latents(job(folder), segment)[-1] for segment in (1, 2, 3, 4)]
    assert [torch.equal(*pair) for pair in zip(before, after, strict=True)] == [True, False, False, False]
    first = torch.randn(1, 16, 3, 8, 8, generator=torch.Generator().manual_seed(9))
    assert first.shape == after[1].shape
    _, _, sampled = made()  # as it was
    assert sampled == 0


def test_remade_segment_alone_is_blended_in(made, folder, finished):
    """All frames of other segments stay. Its own go from the old ones to the new ones and back, over at most half."""
    old = video(job(folder)).float()
    made(remake="2", remake_seed=9)
    entirely_new = video(job(folder)).float()
    _, _, sampled = made(remake="2", remake_seed=9, remake_scope="only these")
    assert sampled == 1
    found = video(job(folder)).float()
    expected = old.clone()
    for frame, share in zip(range(9, 13), (1 / 3, 2 / 3, 2 / 3, 1 / 3), strict=True):
        expected[frame] += share * (entirely_new[frame] - old[frame])
    assert torch.equal(found[:9], old[:9])
    assert torch.equal(found[13:], old[13:])
    assert (entirely_new - old)[9:13].abs().mean() > 5
    assert (found - expected).abs().max() < 2.5  # roundings


@pytest.mark.usefixtures("finished")
def test_changed_prompt_from_a_segment_on_keeps_what_comes_before(made):
    _, _, sampled = made(plan='[{"segments": "3-4", "guidance": 2.0}]')
    assert sampled == 2
    _, _, sampled = made(plan='[{"segments": "3-4", "guidance": 2.0}, {"segments": 4, "seed": 5}]')
    assert sampled == 1


@pytest.mark.usefixtures("finished")
def test_another_codec_samples_nothing_again(made, folder):
    report, _, sampled = made(codec="h264", quality=20)
    assert sampled == 0
    assert len(list(job(folder).glob("*-*.mp4"))) == 2 * 4 + 2
    assert "codec" not in report


# Scenes

def test_scenes_start_without_history(made, folder):
    _, segments, _ = made(frames=20, scene_cuts="11, 0:01.2")  # 16 frames a second
    assert [(segment["start"], segment["stop"], segment["overlap"], segment["cut"]) for segment in segments] == [
        (0, 9, 0, False), (4, 11, 5, False), (11, 19, 0, True), (19, 20, 0, True)]
    assert len(video(job(folder))) == 20
    ends = {path.name[:4] for path in job(folder).glob("*.end.safetensors")}
    assert ends == {"0001"}


# Jobs

@pytest.mark.node("SCAIL2Jobs")
@pytest.mark.usefixtures("finished")
def test_jobs_are_listed_and_cleared(comfy, graph, made, folder):
    made(seed=4)
    manager = Graph(comfy.images)
    manager.add("jobs", "SCAIL2Jobs", action="list")
    lines = comfy.run(manager)["jobs"]["text"][0].splitlines()
    assert len(lines) == 3
    assert all(f"{FRAMES} frames of 64x64, finished" in line for line in lines[:2])
    manager.set("jobs", action="clear finished", job=lines[0].split(":")[0])
    lines = comfy.run(manager)["jobs"]["text"][0].splitlines()
    assert [line.startswith("removed ") for line in lines] == [True, False, False]
    assert len(list(folder.glob("*/job.json"))) == 1
    _, _, sampled = made(seed=4)  # ComfyUI remembers the result, but looks whether the file is still there
    assert sampled in (0, 4)
    assert job(folder)
