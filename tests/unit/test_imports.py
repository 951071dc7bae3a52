"""The layers hold: which module may import which (read them from the leaves to the network)."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "scail_model"

# module -> the modules of ours that it may import; a new file needs a line here
ARROWS = {
    "config": set(), "rope": set(), "masks": set(), "geometry": set(), "segments": set(), "solvers": set(),
    "sat": set(),
    "kernels": set(),
    "elementwise": {"rope", "kernels"},
    "int8_kernels": {"kernels"},
    "int8": {"elementwise", "int8_kernels"},
    "arithmetic": {"elementwise", "int8"},
    "precision": {"config"},
    "chunks": set(),
    "flash_attention": set(),
    "fp8_kernels": set(),
    "fp8_attention": {"fp8_kernels"},
    "attention": {"arithmetic", "config", "elementwise"},
    "blocks": {"arithmetic", "attention", "config", "elementwise"},
    "transformer": {"arithmetic", "attention", "blocks", "config", "elementwise", "rope"},
    "comfy_attention": {"attention", "flash_attention", "fp8_attention", "precision"},
    "comfy_int8": {"int8"},
    "records": set(),
    "pickles": {"records"},
    "lora": {"sat"},
    "checkpoint": {"lora", "pickles", "records", "sat"},
    "bit_plane": set(),
    "planes": {"bit_plane"},
    "mask_bits": {"bit_plane", "masks"},
    "mask_sources": {"bit_plane", "masks", "planes"},
    "mask_edits": set(),
    "identities": {"bit_plane", "mask_bits", "mask_edits", "mask_sources", "masks", "planes"},
    "binding": {"bit_plane", "identities", "mask_sources", "planes"},
    "identity_cards": {"binding", "clips", "mask_sources", "masks", "planes"},
    "conditioning": {"bit_plane", "clips", "geometry", "identities", "mask_bits", "masks"},
    "driving": {"aside", "clips", "conditioning", "identities", "segments"},
    "comfy_conditioning": {"clips", "conditioning", "config", "driving", "geometry", "identities", "segments"},
    "comfy_keys": {"comfy_conditioning", "digests"},
    "comfy_model": {"arithmetic", "attention", "chunks", "comfy_attention", "comfy_int8", "config", "precision",
                    "transformer"},
    "clips": set(),
    "cuts": {"clips"},
    "sound": set(),
    "aside": set(),
    "movies": {"aside", "clips"},
    "digests": set(),
    "jobs": set(),
    "looks": {"clips"},
    "noises": set(),
    "plan_text": {"segments"},
    "filmstrip": set(),
    "user_files": set(),
    "comfy_prompts": {"user_files"},
    "comfy_sampler": {"solvers"},
    "comfy_work": {"clips", "comfy_conditioning", "digests", "identities", "movies", "noises", "segments"},
    "comfy_video": {"aside", "comfy_conditioning", "comfy_model", "comfy_sampler", "comfy_work", "conditioning",
                    "digests", "driving", "jobs", "looks", "noises", "video_files"},
    "video_files": {"aside", "clips", "digests", "jobs", "movies", "sound"},
    "comfy_loader": {"checkpoint", "comfy_attention", "comfy_int8", "comfy_model", "config", "precision"},
    "lettering": set(),
    "progress_state": {"segments"},
    "drift": set(),
    "drift_plan": set(),
    "drift_verdict": {"drift", "drift_plan"},
    "seam_check": {"clips", "drift", "drift_plan", "drift_verdict"},
    "drift_report": {"drift", "drift_plan", "drift_verdict"},
    "drift_plot": {"drift", "drift_report", "drift_verdict", "lettering"},
    "previews": {"identities", "lettering"},
    "budget": {"chunks", "config"},
    "capacity": {"budget"},
    "framing": {"identities"},
    "findings": set(),
    "mask_checks": {"bit_plane", "clips", "findings", "framing", "identities", "planes", "segments"},
    "preflight": {"budget", "capacity", "clips", "conditioning", "config", "findings", "identities", "mask_checks",
                  "segments"},
    "comfy_preflight": {"budget", "clips", "comfy_conditioning", "comfy_model", "comfy_work", "config", "findings",
                        "identities", "preflight"},
    "framed": {"framing", "geometry", "identities", "mask_sources", "planes", "reframe"},
    "reframe": {"framing", "identities"},
    "frame_file": set(),
    "tracks_file": {"bit_plane", "clips", "conditioning", "frame_file", "identities", "planes", "user_files"},
}
COMFYUI = {"comfy", "comfy_api", "comfy_extras", "comfy_execution", "server", "folder_paths", "nodes", "node_helpers",
           "execution", "latent_preview"}


def imports(path: Path) -> tuple[set[str], set[str]]:
    """(absolute top-level packages, own modules) that a file imports, anywhere in it."""
    absolute, own = set(), set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            absolute |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            absolute.add(node.module.split(".")[0])
        elif isinstance(node, ast.ImportFrom):
            own |= {node.module.split(".")[0]} if node.module else {alias.name for alias in node.names}
    return absolute, own


@pytest.mark.parametrize("path", sorted(PACKAGE.glob("*.py")), ids=lambda path: path.stem)
def test_modules_import_only_what_lies_below_them(path):
    absolute, own = imports(path)
    if path.stem == "__init__":
        assert not absolute | own
        return
    assert own <= ARROWS[path.stem]
    assert "scail_model" not in absolute, "relative imports only: inside ComfyUI the pack has another name"
    assert not absolute & (COMFYUI - {"comfy"} if path.stem.startswith("comfy_") else COMFYUI)


@pytest.mark.parametrize("path", sorted((PACKAGE / "headless").glob("*.py")), ids=lambda path: path.stem)
def test_the_command_line_needs_no_comfyui(path):
    absolute, _ = imports(path)
    assert not absolute & COMFYUI
    assert "scail_model" not in absolute
