"""Scenes made at the same time by two hosts of small models, each in a thread: the same file and the same job folder as
by one host, whichever began and whichever goes on; and what ends one lane ends all of them."""

from __future__ import annotations

import copy
import gc
import threading
import time
import weakref
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from assets import digest
from test_sparse_jobs import PooledVAE

from scail_model.files.jobs import Job
from scail_model.headless import encoders
from scail_model.headless import host as host_module
from scail_model.headless.host import HeadlessHost
from scail_model.headless.inputs import Files, Inputs, read_inputs
from scail_model.headless.kept_models import KeptModels
from scail_model.headless.weights import open_weights
from scail_model.inputs.reference import Pictures
from scail_model.kernels.precision import EXACT, FAST
from scail_model.segments import plan_scenes
from scail_model.video import engine
from scail_model.video.at_once import shared_out
from scail_model.video.engine import make_video
from scail_model.video.options import VideoOptions
from scail_model.video.relay import Relay
from scail_model.video.segment_inputs import Given
from scail_model.video.start import make_task
from tests.demo import drawing

SIZE, FRAMES = (32, 32), 31
DEVICE, DTYPE = torch.device("cpu"), torch.float32
CUTS = (9, 22)  # segments 1 | 2, 3 | 4
LIKE: Any = {"colour_match": "first segment", "noise": "one generator"}  # what segments take from others
LATE = 30.0  # seconds; whoever waits longer waits for ever


class Watch:
    """Remembers what it is told, by whom, and does what it is asked to at one of the things."""

    def __init__(self, at=None, does=None):
        self.told, self.parts, self.places, self.orders, self.threads = [], [], {}, None, set()
        self.at, self.does = at, does

    def at_once(self, lanes):
        self.orders = lanes

    def placed(self, segment, place):
        self.places[segment] = place
        self._hear("placed", segment)

    def stage(self, segment, text):
        self._hear(text, segment)

    def step(self, segment, step, denoised):
        self._hear("step", segment)

    def finished(self, segment, part, *, kept):
        self.parts.append((segment, kept))
        self._hear("finished", segment)

    def tick(self):
        self._hear("tick")

    def _hear(self, *what):
        self.threads.add(threading.current_thread())
        if what != ("tick",):
            self.told.append(what)
        if self.does and what == self.at:
            self.does()


class Host(HeadlessHost):
    """Two lanes over the same files, each with models of its own; or one host that has none. in_lane: called by a lane
    before it samples, with its number and the request."""

    def __init__(self, *given, one, in_lane, **named):
        super().__init__(*given, **named)
        self.number, self.place_, self.in_lane, self.sampled = None, "" if one else "2 GPUs", in_lane, []
        self.lanes_ = [] if one else [self._numbered(number) for number in range(2)]

    def _numbered(self, number):
        lane = copy.copy(self)
        lane.number, lane.place_, lane.models, lane.lanes_ = number, f"GPU {number + 1}", KeptModels(), ()
        lane.weights = open_weights(self.weights.path)
        return lane

    @property
    def lanes(self):
        return self.lanes_

    @property
    def place(self):
        return self.place_

    def sample(self, request):
        self.sampled.append((self.number, request.segment))
        if self.number is not None and self.in_lane:
            self.in_lane(self.number, request)
        return super().sample(request)


@pytest.fixture(scope="module", autouse=True)
def pooled() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(host_module, "VAE", PooledVAE)
        yield


@pytest.fixture(scope="module")
def given(models, tmp_path_factory):
    """The models' folder, and the inputs of a video of four segments in three scenes."""
    return models, inputs_of(tmp_path_factory.mktemp("job"), SIZE, FRAMES)


def inputs_of(folder: Path, size: tuple[int, int], frames: int) -> Inputs:
    job = drawing.write_job(folder, size, frames, tone=True)
    files = Files([job["image"]], [job["mask_image"]], job["pose"], job["mask_video"])
    return read_inputs(files, size[0], size[1], False)


def make(given, folder: Path, watch=None, *, cuts=CUTS, one=False, in_lane=None, precision=EXACT, **options):
    """Host, job and video of a run in a folder, by two lanes or by one host."""
    models, inputs = given
    arguments = [encoders.find_encoders(models / "encoders"), open_weights(models / "transformer.safetensors"),
                 DEVICE, DTYPE]
    host = Host(*arguments, one=one, in_lane=in_lane, offload=False, stage=lambda text: None,
                precision=precision)
    settings = VideoOptions(**{"solver": "euler", "steps": 2, "shift": 3.0, "guidance": 1.0, "segment_length": 9,
                              "overlap": 5, **options})
    prompts = host.encode_text("a word", ""), host.encode_text("", "negative")
    pictures = Pictures(inputs.width, inputs.height, inputs.references, inputs.identities, cut_out=False,
                        as_video=False)
    with torch.inference_mode():
        task, name = make_task(settings, 7, cuts, Given(*prompts, [pictures]), inputs.driving, inputs.identities, host)
        job = Job(folder / name, {})
        return host, job, make_video(task, host, job, watch or Watch())


def files(folder: Path) -> dict[str, str]:
    """Digests of the one job's files in a folder, without that of its times."""
    return {path.name: digest(path) for path in folder.glob("*/*") if path.name != "job.json"}


@pytest.fixture(scope="module")
def expected(given, tmp_path_factory):
    """The files of a run on one host."""
    folder = tmp_path_factory.mktemp("expected")
    make(given, folder, one=True, **LIKE)
    return files(folder)


@pytest.fixture(autouse=True)
def no_threads_left():
    yield
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("scail2")]


def meeting():
    """For `in_lane`: the first samplings of both lanes wait for each other."""
    met, seen = threading.Barrier(2, timeout=LATE), set()

    def wait(number, request):
        if number not in seen:
            seen.add(number)
            met.wait()

    return wait


def test_two_lanes_at_the_same_time_make_the_files_of_one_host(given, expected, tmp_path):
    watch = Watch()
    host, job, made = make(given, tmp_path, watch, in_lane=meeting(), **LIKE)
    assert files(tmp_path) == expected
    assert digest(made.path) == expected[made.path.name]
    assert watch.orders == {"GPU 1": [0, 3], "GPU 2": [1, 2]}
    assert watch.places == {0: "GPU 1", 1: "GPU 2", 2: "GPU 2", 3: "GPU 1"}
    assert sorted(watch.parts) == [(index, False) for index in range(4)]
    assert watch.threads == {threading.current_thread()}
    assert job.about["done"] == 4


@pytest.mark.parametrize("first_alone", [True, False])
def test_begun_on_one_and_finished_on_several_it_is_the_same(given, expected, tmp_path, first_alone):
    """And the other way round."""
    def stop():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make(given, tmp_path, Watch(("step", 1), stop), one=first_alone, **LIKE)
    assert len(files(tmp_path)) < len(expected)
    make(given, tmp_path, one=not first_alone, **LIKE)
    so_far = {"so-far.mp4"}
    assert {name: found for name, found in files(tmp_path).items() if name not in so_far} == expected


def test_sparse_attention_is_calibrated_in_each_scene(models, tmp_path):
    given = models, inputs_of(tmp_path / "job", (256, 256), 21)
    how = {"cuts": (8,), "precision": FAST, "sparse_density": 0.15, "sparse_error": 0.3}  # segments 1 | 2, 3
    for name, one in (("one", True), ("two", False)):
        make(given, tmp_path / name, one=one, in_lane=None if one else meeting(), **how)
    assert sum(name.endswith(".sparse.json") for name in files(tmp_path / "one")) == 3
    assert files(tmp_path / "two") == files(tmp_path / "one")


def test_what_is_there_is_not_made_again(given, expected, tmp_path):
    make(given, tmp_path, one=True, **LIKE)
    for path in tmp_path.glob("*/000[23]-*"):
        path.unlink()
    watch = Watch()
    host, _, made = make(given, tmp_path, watch, **LIKE)
    assert made.kept == 2
    assert watch.orders is None  # one scene is left: it is made by all together
    assert {number for number, _ in host.sampled} == {None}
    assert files(tmp_path) == expected


def test_the_lane_that_is_left_alone_has_all_gpus(given, tmp_path):
    watch = Watch()
    host, _, _ = make(given, tmp_path, watch, cuts=(9,))  # one segment, and five in a chain
    assert watch.orders == {"GPU 1": [0], "GPU 2": [1, 2, 3, 4, 5]}
    assert watch.places[0] == "GPU 1"
    assert watch.places[1] == "GPU 2"
    assert watch.places[5] == "2 GPUs"


def test_without_main_memory_for_both_one_makes_all(given, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(engine.psutil, "virtual_memory", lambda: SimpleNamespace(available=500_000))
    caplog.set_level("INFO")
    host, *_ = make(given, tmp_path, steps=1)
    assert {number for number, _ in host.sampled} == {None}
    assert "the frames of 2 segments need 0.0 GiB of main memory, but 0.0 GiB are free" in caplog.text


def test_an_error_in_one_lane_ends_the_other_and_keeps_what_is_finished(given, expected, tmp_path):
    def fail(number, request):
        if request.segment.start == 13:  # the third segment; the other lane is sampling meanwhile
            raise ValueError("the third segment cannot be made")
        if request.segment.start == 22:
            while True:
                request.check()
                time.sleep(0.01)

    with pytest.raises(ValueError, match="the third segment"):
        make(given, tmp_path, in_lane=fail, **LIKE)
    (job,) = tmp_path.iterdir()
    assert {path.name[:4] for path in job.glob("0*.mp4")} == {"0001", "0002"}
    assert (job / "so-far.mp4").exists()
    make(given, tmp_path, **LIKE)
    assert files(tmp_path) == expected


def test_a_cancel_ends_lanes_in_the_middle_of_a_step(given, tmp_path):
    inside = [threading.Event(), threading.Event()]

    def hang(number, request):
        inside[number].set()
        while True:
            request.check()
            time.sleep(0.01)

    def cancel():
        if all(event.is_set() for event in inside):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make(given, tmp_path, Watch(("tick",), cancel), in_lane=hang)


def test_an_error_of_the_watch_ends_all(given, tmp_path):
    def fail():
        raise RuntimeError("nobody can be told")

    with pytest.raises(RuntimeError, match="nobody can be told"):
        make(given, tmp_path, Watch(("step", 1), fail))


def test_an_error_that_is_told_holds_nothing():
    """Without Python's search for cycles, which comes late: what failed may have filled a GPU."""
    class Held:
        pass

    def fail(held):
        raise RuntimeError("no more memory")

    works = [partial(fail, Held()), lambda: None]
    kept = weakref.ref(works[0].args[0])
    gc.disable()
    try:
        with pytest.raises(RuntimeError, match="no more memory"):
            Relay(SimpleNamespace(tick=lambda: None)).run(works)
        del works
        assert kept() is None
    finally:
        gc.enable()


# Who makes what

def orders(cuts, total, lanes, unmade=None, length=9):
    plan = plan_scenes(total, cuts, length, 5)
    return shared_out(plan, range(len(plan)) if unmade is None else unmade, lanes)


@pytest.mark.parametrize(("cuts", "total", "lanes", "expected"), [
    ((9, 18), 27, 1, []),  # one lane
    ((9,), 18, 3, []),  # fewer scenes than lanes
    ((9,), 18, 2, [[0], [1]]),
    ((9, 18, 27), 36, 2, [[0, 2], [1, 3]]),
    ((9, 22, 31), 44, 2, [[0, 1, 2], [3, 4, 5]]),  # long scenes apart
    ((9, 18, 27), 27 + 17, 4, [[0], [1], [2], [3, 4, 5]]),  # the long one has all GPUs when the others have ended
    ((9, 18, 27, 116), 116 + 89, 5, []),  # two long ones: all GPUs together are faster
])
def test_scenes_are_given_to_lanes_where_that_is_faster(cuts, total, lanes, expected):
    assert orders(cuts, total, lanes) == expected


def test_every_segment_has_one_lane_and_scenes_stay_together():
    cuts, total = tuple(range(20, 400, 23)), 410
    plan = plan_scenes(total, cuts, 9, 5)
    given = shared_out(plan, range(len(plan)), 4)
    assert sorted(index for order in given for index in order) == list(range(len(plan)))
    for order in given:
        assert order == sorted(order)
        assert all(not plan[index].overlap or index - 1 in order for index in order)


def test_what_is_made_already_costs_nothing():
    assert orders((9, 18, 27), 36, 2, unmade=[2, 3]) in ([[0, 2], [1, 3]], [[0, 1, 2], [3]], [[2], [0, 1, 3]])
    assert orders((9, 18, 27), 36, 2, unmade=[2]) == []
