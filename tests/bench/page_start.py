"""What the extension adds to the start of ComfyUI's page, and how large it is.

    python tests/bench/page_start.py [--turns 15]      needs ComfyUI at COMFYUI_PATH, Node.js, Chromium, playwright-core

New pages with empty caches, in turns with the extension and with a small file in its place; the server is on this
machine. Whole starts vary by more than the extension takes, so it is also fetched and run alone.
"""

from __future__ import annotations

import argparse
import gzip
import statistics
import sys
import tempfile
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
sys.path[:0] = [str(REPOSITORY / "tests" / folder) for folder in ("browser", "host", "unit")] + [str(REPOSITORY)]

from browser import Browser  # noqa: E402
from comfyui import ComfyUI  # noqa: E402

SCRIPT = "/extensions/scail2/scail2.js"


def main() -> None:
    parser = argparse.ArgumentParser(description="Time the page with and without the extension.")
    parser.add_argument("--turns", type=int, default=15, help="page starts of each kind")
    turns = parser.parse_args().turns
    with tempfile.TemporaryDirectory() as base, ComfyUI(Path(base) / "base") as server, Browser() as browser:
        found = browser.run(server, "page_start", script=SCRIPT, turns=1)["answer"]  # the server's first
        found = browser.run(server, "page_start", script=SCRIPT, turns=turns)["answer"]
    more = [after - before for before, after in zip(found["without"], found["with"], strict=True)]
    spread = statistics.quantiles(more, n=4)
    texts = [path.read_bytes() for ending in ("css", "js", "mjs") for path in (REPOSITORY / "js").rglob(f"*.{ending}")]
    sys.stdout.write(
        f"without {statistics.median(found['without']):.0f} ms, with {statistics.median(found['with']):.0f} ms; "
        f"median difference {statistics.median(more):.0f} ms (quartiles {spread[0]:.0f} and {spread[2]:.0f})\n"
        f"alone {statistics.median(found['alone']):.1f} ms, at most {max(found['alone']):.1f}\n"
        f"the page has loaded {len(found['bytes'])} files of {sum(found['bytes'].values()) / 1000:.1f} kB; "
        f"all are {sum(map(len, texts)) / 1000:.1f} kB, {sum(len(gzip.compress(text)) for text in texts) / 1000:.1f} "
        "with gzip\n")


if __name__ == "__main__":
    main()
