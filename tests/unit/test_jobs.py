"""Job folders: a file is whole or not there, whenever the run dies; and which folders give way to others."""

import errno
import json
import os
import resource
import signal
import subprocess
import time

import pytest
import torch

from scail_model.files import atomic
from scail_model.files.jobs import GIB, Job, found_jobs, make_room, remove


def content(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


# Whole files

def test_files_of_older_versions_which_carry_a_number_alone(tmp_path):
    """In a container every process may have the number of the one that was killed."""
    names = {f".{number}.a.mp4.part": kept for number, kept in ((os.getpid(), False), (os.getppid(), True),
                                                                (2**22 + 1, False), ("12a", False))}
    for name in names:
        (tmp_path / name).write_bytes(b"half")
    Job(tmp_path, {})
    assert {path.name for path in tmp_path.iterdir()} == {name for name, kept in names.items() if kept}


@pytest.mark.parametrize(("moment", "found"), [
    ("while writing", b"old"), ("before the flush", b"old"), ("after the flush", b"old"),
    ("after the rename", b"new"), ("afterwards", b"new")])
def test_a_run_that_is_killed_leaves_the_old_file_or_the_new_one(tmp_path, moment, found):
    folder = tmp_path / "job"
    with Job(folder, {}).writing("a.mp4") as path:
        path.write_bytes(b"old")
    child = os.fork()
    if child == 0:
        try:
            killed_at(moment, folder)
        finally:
            os._exit(1)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
    assert (folder / "a.mp4").read_bytes() == found
    left = [path.name.split(".")[3:] for path in folder.iterdir() if path.name != "a.mp4"]
    assert [[number, *name] for number, _, *name in left] == (
        [] if found == b"new" else [[str(child), "a", "mp4", "part"]])
    job = Job(folder, {})
    assert content(folder) == {"a.mp4": found}
    assert (job.has("a.mp4"), job.has("b.mp4")) == (True, False)


def killed_at(moment, folder):
    """Write a new file and die. The steps themselves are the real ones."""
    flush, replace = atomic.flush, os.replace

    def die(*_):
        os.kill(os.getpid(), signal.SIGKILL)

    def replace_and_die(*paths):
        replace(*paths)
        die()

    atomic.flush = die if moment == "before the flush" else flush
    os.replace = {"after the flush": die, "after the rename": replace_and_die}.get(moment, replace)
    with Job(folder, {}).writing("a.mp4") as path:
        path.write_bytes(b"new")
        if moment == "while writing":
            die()
    die()


def test_nothing_has_its_name_before_it_is_complete(tmp_path):
    job = Job(tmp_path, {})
    with job.writing("a.mp4") as path:
        path.write_bytes(b"half")
        assert not job.has("a.mp4")
        assert path.parent == tmp_path  # a rename is one step on one disk alone
    assert content(tmp_path) == {"a.mp4": b"half"}


def break_off(job, name, error):
    with job.writing(name) as path:
        path.write_bytes(b"half")
        raise error


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError, MemoryError])
def test_an_error_leaves_what_was_there(tmp_path, error):
    job = Job(tmp_path, {})
    job.save("a.safetensors", {"x": torch.ones(2)})
    before = content(tmp_path)
    with pytest.raises(error):
        break_off(job, "a.safetensors", error())
    assert content(tmp_path) == before


def test_files_are_on_the_disk_before_they_get_their_names(tmp_path, monkeypatch):
    """A power cut cannot be had here: the order of the calls that protect from it."""
    calls = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda handle: (calls.append(os.readlink(f"/proc/self/fd/{handle}")),
                                                     fsync(handle)))
    monkeypatch.setattr(os, "replace", lambda *paths: (calls.append("rename"), replace(*paths)))
    with Job(tmp_path, {}).writing("a.mp4") as path:
        path.write_bytes(b"x")
    assert calls == [str(path), "rename", str(tmp_path)]


def test_tensors_come_back_as_they_were(tmp_path):
    job = Job(tmp_path, {})
    tensors = {"samples": torch.randn(2, 3, 4).transpose(0, 2), "half": torch.randn(5).half()}
    job.save("a.safetensors", tensors)
    loaded = job.load("a.safetensors")
    assert {name: torch.equal(loaded[name], tensors[name]) for name in tensors} == {"samples": True, "half": True}
    assert loaded["half"].dtype == torch.half


@pytest.mark.parametrize("damage", [b"", b"hello", b"\xff" * 500])
def test_damaged_tensors_are_named(tmp_path, damage):
    job = Job(tmp_path, {})
    job.path("a.safetensors").write_bytes(damage)
    with pytest.raises(RuntimeError, match=r"a.safetensors is damaged \(.+\): delete it, and run again"):
        job.load("a.safetensors")
    job.save("a.safetensors", {"x": torch.ones(100)})
    whole = job.path("a.safetensors").read_bytes()
    job.path("a.safetensors").write_bytes(whole[:-8])
    with pytest.raises(RuntimeError, match="is damaged"):
        job.load("a.safetensors")


# Full disks

FULL = r"The job folder .* cannot be written \(the disk is full\): free space there, and run again; finished segments"


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_named_with_the_remedy(tmp_path, number):
    job = Job(tmp_path, {})
    with pytest.raises(RuntimeError, match=FULL):
        break_off(job, "a.mp4", OSError(number, os.strerror(number)))
    assert content(tmp_path) == {}


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 64 KiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "none", folder], capture_output=True).returncode:
        pytest.skip("a file system of its own cannot be mounted here")
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_a_disk_that_is_really_full(small_disk):
    job = Job(small_disk / "job", {})
    job.save("first.safetensors", {"x": torch.ones(1000)})
    before = content(job.folder)
    for write in (lambda: job.save("second.safetensors", {"x": torch.ones(50_000)}),
                  lambda: fill(job, "second.mp4")):
        with pytest.raises(RuntimeError, match=FULL):
            write()
        assert content(job.folder) == before
    job.save("second.safetensors", {"x": torch.ones(1000)})  # after space was freed all is well


def test_room_is_made_on_a_disk_that_is_full_to_the_last_byte(small_disk):
    finished(small_disk, "a", 10_000, 1.0)
    with pytest.raises(OSError, match="No space"):
        (small_disk / "others").write_bytes(b"x" * (1 << 16))
    assert [job.folder.name for job in make_room(small_disk, 0, set())] == ["a"]
    assert [path.name for path in small_disk.iterdir()] == ["others"]


def fill(job, name):
    with job.writing(name) as path:
        path.write_bytes(b"x" * 100_000)


def test_a_limit_on_files_is_told_as_it_is(tmp_path):
    job, limits = Job(tmp_path, {}), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(RuntimeError, match=r"cannot be written \(.*File too large.*\): make it writable"):
            job.save("a.safetensors", {"x": torch.ones(9000)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert content(tmp_path) == {}


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(RuntimeError, match=r"The job folder .*file/job cannot be written \(.*Not a directory"):
        Job(tmp_path / "file/job", {})


# What is told of jobs

def test_what_is_told_of_a_job_stays_and_grows(tmp_path):
    Job(tmp_path, {"frames": 81, "size": "64x32", "who": "Zoë"}).tell(done=1)
    created = json.loads((tmp_path / "job.json").read_text(encoding="utf-8"))["created"]
    assert abs(created - time.time()) < 60
    Job(tmp_path, {"frames": 82}).tell(done=2)
    about = json.loads((tmp_path / "job.json").read_text(encoding="utf-8"))
    assert about == {"frames": 82, "size": "64x32", "who": "Zoë", "done": 2, "created": created,
                     "format": "scail2-job-1"}


def finished(root, name, size, when, **about):
    """A job folder that takes about `size` bytes."""
    job = Job(root / name, {"frames": 81, "size": "896x512", "segments": 3, "created": 1000.0, **about})
    job.about["created"] = about.get("created", 1000.0)
    job.tell(finished=when)
    job.path("video.mp4").write_bytes(bytes(size))
    return job


def test_a_listing_shows_the_oldest_first(tmp_path):
    finished(tmp_path, "late", GIB // 50, 3000.0)
    finished(tmp_path, "early", 0, 2000.0)
    finished(tmp_path, "begun", 0, None, created=2500.0, done=2)
    (tmp_path / "other").mkdir()
    (tmp_path / "other/job.json").write_text('{"format": "somebody else"}')
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken/job.json").write_text("{")
    (tmp_path / "video.mp4").write_text("no job")
    found = found_jobs(tmp_path)
    assert [job.folder.name for job in found] == ["early", "begun", "late"]
    times = [time.strftime("%Y-%m-%d %H:%M", time.localtime(when)) for when in (2000, 2500, 3000)]
    assert [job.line() for job in found] == [
        f"early: 81 frames of 896x512, finished, 0.00 GiB, {times[0]}",
        f"begun: 81 frames of 896x512, 2 of 3 segments, 0.00 GiB, {times[1]}",
        f"late: 81 frames of 896x512, finished, 0.02 GiB, {times[2]}"]
    assert found[2].bytes == sum(path.stat().st_size for path in (tmp_path / "late").iterdir())
    assert found_jobs(tmp_path / "none") == []


def test_the_oldest_finished_jobs_give_way_until_it_fits(tmp_path):
    for name, when in (("a", 1.0), ("b", 2.0), ("begun", None), ("c", 3.0), ("d", 4.0)):
        finished(tmp_path, name, 10_000, when, created=0.0)
    total = sum(job.bytes for job in found_jobs(tmp_path))
    assert make_room(tmp_path, total, {tmp_path / "d"}) == []
    assert [job.folder.name for job in make_room(tmp_path, total - 1, {tmp_path / "d"})] == ["a"]
    left = sum(job.bytes for job in found_jobs(tmp_path))
    assert [job.folder.name for job in make_room(tmp_path, left - 10_500, {tmp_path / "b"})] == ["c", "d"]
    assert make_room(tmp_path, 0, {tmp_path / "b"}) == []  # neither what is kept nor what is not finished
    assert {path.name for path in tmp_path.iterdir() if path.is_dir()} == {"begun", "b"}


def test_a_removed_job_is_gone(tmp_path):
    finished(tmp_path, "a", 10, 1.0)
    finished(tmp_path, "b", 10, 2.0)
    remove(found_jobs(tmp_path)[0])
    assert [job.folder.name for job in found_jobs(tmp_path)] == ["b"]
    assert not (tmp_path / "a").exists()
