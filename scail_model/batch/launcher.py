"""A ComfyUI that ends with the process that has started it, however that one ends.

Run by ComfyUI's own Python, with the standard library alone: `python launcher.py FOLDER MAIN.PY ARGUMENTS...`. Its
standard input is a pipe that only the parent holds. The system closes the pipe of a parent that was killed too, and at
the pipe's end this process removes the folder, where ComfyUI has its own files, and leaves at once.
"""

from __future__ import annotations

import os
import runpy
import shutil
import sys
import threading


def _leave_with_parent(folder: str) -> None:
    while os.read(0, 1):
        pass
    shutil.rmtree(folder, ignore_errors=True)
    os._exit(1)


if __name__ == "__main__":
    _, folder, main, *_ = sys.argv
    threading.Thread(target=_leave_with_parent, args=(folder,), daemon=True).start()
    sys.argv[:] = sys.argv[2:]
    sys.path[0] = os.path.dirname(main)  # as if it had been run itself
    runpy.run_path(main, run_name="__main__")
