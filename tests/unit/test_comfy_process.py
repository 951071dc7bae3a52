"""A ComfyUI process started, heard and ended: with stand-ins for ComfyUI's main.py, which do one thing each."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import psutil
import pytest

from scail_model.batch import child as child_process
from scail_model.batch.comfy_client import ComfyClient, refusal
from scail_model.batch.comfy_engine import ComfySpec
from scail_model.batch.comfy_process import ComfyProcess
from scail_model.batch.comfy_run import ComfyRun, failure
from scail_model.batch.failures import Kind, RowError
from scail_model.batch.folders import BatchFolder
from scail_model.batch.workflow import Graph

PACK = Path(__file__).parents[2]
# answers as ComfyUI does, takes every graph, and says nothing more
SILENT = """
    import sys
    from aiohttp import web

    async def socket(request):
        answer = web.WebSocketResponse()
        await answer.prepare(request)
        async for _ in answer:
            pass
        return answer

    async def json(request):
        return web.json_response({"prompt_id": "1"} if request.method == "POST" else {})

    application = web.Application()
    application.add_routes([web.get("/ws", socket), web.get("/{rest:.*}", json), web.post("/{rest:.*}", json)])
    port = next(word.split("=")[1] for word in sys.argv if word.startswith("--port="))
    web.run_app(application, host="127.0.0.1", port=int(port), print=None)
"""


@pytest.fixture
def start(tmp_path):
    """Write a main.py and start it."""
    started = []

    def start(main: str) -> ComfyProcess:
        (tmp_path / "main.py").write_text(textwrap.dedent(main))
        started.append(ComfyProcess(tmp_path, Path(sys.executable), ("--cpu",), ("0", "1"), tmp_path, tmp_path))
        return started[-1]

    yield start
    for process in started:
        process.stop()


def wait_for(condition, seconds: float = 20.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def death(process: ComfyProcess) -> RowError:
    wait_for(lambda: process.ended)
    return process.death("before it answered")


# why a start fails: main.py, kind, and what is said of it
ENDS = {
    "a missing package": ("import no_such_package", Kind.INPUTS, "ModuleNotFoundError: No module named"),
    "a broken torch": ("raise ImportError('libcudart.so.13: cannot open shared object file')", Kind.INPUTS,
                       "libcudart.so.13"),
    "an argument that it does not know": ("import argparse; argparse.ArgumentParser(prog='main.py').parse_args()",
                                          Kind.INPUTS, "unrecognized arguments: --cpu"),
    "no GPU": ("raise RuntimeError('No CUDA GPUs are available')", Kind.GPU, "No CUDA GPUs are available"),
    "a port that is taken": ("raise OSError(98, 'error while attempting to bind on address')", Kind.PROCESS,
                             "error while attempting"),
    "out of memory": ("raise MemoryError('std::bad_alloc')", Kind.MEMORY, "bad_alloc"),
    "a full disk": ("raise OSError(28, 'No space left on device')", Kind.DISK, "No space left"),
    "a quiet end": ("", Kind.PROCESS, "ended by itself (exit code 0) before it answered"),
    "colours in the log": (r"print('\x1b[31m[ERROR]\x1b[0m x\n\x1b[31mValueError: red\x1b[0m')", Kind.PROCESS,
                           "answered (ValueError: red): read"),
}


@pytest.mark.parametrize(("main", "kind", "text"), ENDS.values(), ids=ENDS)
def test_why_a_start_failed(start, main, kind, text):
    error = death(start(main))
    assert error.kind is kind
    assert text in error.text
    assert "\n" not in error.text
    assert not error.text.endswith("..")


def test_a_process_killed_by_linux_for_memory(start, monkeypatch):
    process = start("import time; time.sleep(60)")
    os.kill(process.process.pid, signal.SIGKILL)
    assert death(process).kind is Kind.PROCESS  # by a person
    monkeypatch.setattr(child_process, "_oom_kills", lambda: process.oom_kills + 1)
    error = process.death("before it answered")
    assert error.kind is Kind.MEMORY
    assert "main memory of this machine was full" in error.text


def test_it_has_gpus_folders_and_a_place_of_its_own(start, tmp_path):
    process = start("import os, sys; print(os.environ['CUDA_VISIBLE_DEVICES'], os.getcwd(), sys.path[0], *sys.argv)")
    wait_for(lambda: process.ended)
    wait_for(lambda: process.tail())
    gpus, folder, first, main, *arguments = process.tail().split()
    assert (gpus, folder, first, main) == ("0,1", str(tmp_path), str(tmp_path), str(tmp_path / "main.py"))
    assert "--cpu" in arguments
    assert f"--input-directory={tmp_path}" in arguments


def test_the_log_goes_to_the_row_that_is_made(start, tmp_path):
    process = start("import sys\nfor line in sys.stdin: pass")
    process = start("""
        import os, time
        for number in range(3):
            while not os.path.exists(f"{number}.go"):
                time.sleep(0.01)
            print("line", number)
        time.sleep(60)
    """)
    for number, name in enumerate((None, "first.log", "second.log")):
        process.log_to(name and tmp_path / name)
        (tmp_path / f"{number}.go").touch()
        wait_for(lambda number=number: f"line {number}" in process.tail())
    assert (tmp_path / "first.log").read_text() == "line 0\nline 1\n"
    assert (tmp_path / "second.log").read_text() == "line 2\n"


def test_it_dies_with_its_parent(tmp_path):
    (tmp_path / "main.py").write_text("import os, time; open('pid', 'w').write(str(os.getpid())); time.sleep(600)")
    code = f"""
        import sys, time
        from pathlib import Path
        from scail_model.batch.comfy_process import ComfyProcess
        process = ComfyProcess(Path({str(tmp_path)!r}), Path(sys.executable), (), (), Path("."), Path("."))
        (Path({str(tmp_path)!r}) / "own").write_text(str(process.own))
        time.sleep(600)
    """
    parent = subprocess.Popen([sys.executable, "-c", textwrap.dedent(code)], cwd=PACK)
    wait_for(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text())
    child = int((tmp_path / "pid").read_text())
    assert psutil.pid_exists(child)
    wait_for(lambda: (tmp_path / "own").exists() and (tmp_path / "own").read_text())
    own = Path((tmp_path / "own").read_text())
    assert own.is_dir()
    parent.kill()
    parent.wait()
    wait_for(lambda: not psutil.pid_exists(child), 5)
    assert not own.exists()


def test_it_ends_within_a_second_with_what_it_has_started(start):
    process = start("""
        import subprocess, sys, time
        subprocess.Popen([sys.executable, "-c", "import time; time.sleep(99)"])
        print("up")
        time.sleep(60)
    """)
    wait_for(lambda: "up" in process.tail())
    children = psutil.Process(process.process.pid).children()
    assert len(children) == 1
    started = time.monotonic()
    process.stop()
    assert time.monotonic() - started < 1
    wait_for(lambda: not any(child.is_running() and child.status() != psutil.STATUS_ZOMBIE for child in children), 5)
    assert not process.own.exists()


def test_silence_is_an_error(start):
    process = start(SILENT)
    client = ComfyClient(process.port)

    def up():
        try:
            return client.get("/system_stats") == {}
        except OSError:
            return False

    wait_for(up)
    run = ComfyRun(process, client, threading.Event(), hung=1.0)
    with pytest.raises(RowError, match="ComfyUI said nothing for 1 s, so it hangs") as error:
        run.run(Graph({}, (), "1", None, None), lambda told: None)
    assert error.value.kind is Kind.PROCESS


def test_a_comfyui_that_cannot_be_started(tmp_path):
    missing = ComfySpec(tmp_path).fault()
    assert missing == f"{tmp_path} (--comfyui) holds no main.py: give the folder of ComfyUI."
    (tmp_path / "main.py").touch()
    assert "(--comfyui_python) does not exist" in ComfySpec(tmp_path, tmp_path / "python").fault()
    lacking = tmp_path / "python"
    lacking.write_text("#!/bin/sh\nexit 1\n")
    lacking.chmod(0o755)
    assert "(--comfyui_python) cannot run ComfyUI" in ComfySpec(tmp_path, lacking).fault()
    assert ComfySpec(tmp_path, Path(sys.executable)).fault() is None
    with pytest.raises(RowError) as error:
        ComfySpec(tmp_path / "none").build((), BatchFolder(tmp_path / "out")).start(lambda told: None)
    assert error.value.kind is Kind.INPUTS


GRAPH = {"3": {"class_type": "LoadImage", "inputs": {}, "_meta": {"title": "Picture"}},
         "4": {"class_type": "SaveVideo", "inputs": {}}}
# answers of POST /prompt, in ComfyUI 0.27 and later, and what is said of them
REFUSALS = {
    "a value": ({"error": {"type": "prompt_outputs_failed_validation", "message": "Prompt outputs failed validation"},
                 "node_errors": {"3": {"errors": [{"type": "value_not_in_list", "message": "Value not in list",
                                                   "details": "image: 'a.png' not in ['b.png']",
                                                   "extra_info": {"input_name": "image"}}]}}},
                "ComfyUI refuses image of Picture (Value not in list: image: 'a.png' not in ['b.png']): correct it."),
    "a node that raises": ({"error": {}, "node_errors": {"4": {"errors": [{
        "type": "exception_during_validation", "message": "Exception when validating node", "details": "boom",
        "extra_info": {"exception_type": "KeyError"}}]}}},
        "ComfyUI refuses SaveVideo (Exception when validating node: boom): correct it."),
    "a missing node": ({"error": {"type": "missing_node_type", "message": "Node 'Picture' not found.",
                                  "extra_info": {"node_id": "3", "class_type": "SCAIL2X"}}, "node_errors": {}},
                       "ComfyUI has no node SCAIL2X (Picture): install the pack that brings it into its custom_nodes, "
                       "and read in comfyui.log whether it could be loaded."),
    "no output": ({"error": {"type": "prompt_no_outputs", "message": "Prompt has no outputs", "extra_info": {}}},
                  "ComfyUI refuses the workflow (Prompt has no outputs): correct it."),
    "nothing": ({}, "ComfyUI refuses the workflow (no reason given): correct it."),
}


@pytest.mark.parametrize(("answer", "text"), REFUSALS.values(), ids=REFUSALS)
def test_what_comfyui_refuses(answer, text):
    assert refusal(GRAPH, answer) == text


# what a node raised, and what is said of it
ERRORS = {
    "our own sentence": ("ValueError", "The width is 90 (width), but it must be a multiple of 32: choose 96.\n",
                         Kind.INPUTS, "Picture: The width is 90 (width), but it must be a multiple of 32: choose 96."),
    "memory, with ComfyUI's tips": ("torch.OutOfMemoryError", "CUDA out of memory. Tried to allocate 2.00 GiB.\nThis "
                                    "error means you ran out of memory on your GPU.\n\nTIPS: ...", Kind.MEMORY,
                                    "Picture ran out of memory (CUDA out of memory. Tried to allocate 2.00 GiB): "
                                    "choose a smaller width and height or shorter segments, or give the row smaller "
                                    "values."),
    "a GPU": ("torch.AcceleratorError", "CUDA error: an illegal memory access was encountered\nCompile with ...",
              Kind.GPU, "Picture lost the GPU (CUDA error: an illegal memory access was encountered): run again, "
              "finished segments are kept; if it happens again, restart the machine or take that GPU out."),
    "another exception": ("KeyError", "'fps'", Kind.INPUTS, "Picture: KeyError: 'fps'."),
    "an exception without words": ("AssertionError", "\n", Kind.INPUTS, "Picture: AssertionError: AssertionError."),
}


@pytest.mark.parametrize(("exception", "message", "kind", "text"), ERRORS.values(), ids=ERRORS)
def test_what_a_node_raised(exception, message, kind, text):
    entry = {"status": {"messages": [["execution_start", {}], ["execution_error", {
        "node_id": "3", "node_type": "LoadImage", "exception_type": exception, "exception_message": message}]]}}
    error = failure(GRAPH, entry)
    assert (error.kind, error.text) == (kind, text)


def test_a_run_that_somebody_interrupted_in_comfyui():
    entry = {"status": {"messages": [["execution_start", {}], ["execution_interrupted", {"node_id": "3"}]]}}
    assert failure(GRAPH, entry).kind is Kind.STOPPED
    assert failure(GRAPH, {"status": {"messages": [["execution_success", {}]]}}) is None
