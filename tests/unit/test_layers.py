"""The arrows of the house point one way: no package is imported by one that it imports, and ComfyUI stays outside."""

import ast
from pathlib import Path

PACKAGE = Path(__file__).parents[2] / "scail_model"
COMFYUI = {"comfy", "comfy_api", "comfy_execution", "comfy_extras", "folder_paths", "latent_preview", "nodes", "server"}


def rooms() -> dict[str, tuple[set[str], set[str]]]:
    """By package, "" being the files at the top: the packages that it imports of ours, and of others'."""
    found: dict[str, tuple[set[str], set[str]]] = {}
    for path in PACKAGE.rglob("*.py"):
        inside = path.relative_to(PACKAGE).parts[:-1]
        ours, others = found.setdefault("/".join(inside), (set(), set()))
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                others |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                others.add(node.module.split(".")[0])
            elif isinstance(node, ast.ImportFrom) and node.level == len(inside) + 1:
                for name in (node.module or "").split(".")[:1] if node.module else [alias.name for alias in node.names]:
                    ours.add(name if (PACKAGE / name).is_dir() else "")
    return {name: (ours - {name}, others) for name, (ours, others) in found.items()}


def test_packages_import_one_way():
    below, order = {name: ours for name, (ours, _) in rooms().items()}, []
    while below:
        free = [name for name, ours in below.items() if not ours & below.keys()]
        assert free, f"these packages import each other in a circle: {below}"
        order += free
        below = {name: ours for name, ours in below.items() if name not in free}
    assert len(order) > 8


def test_only_one_package_knows_comfyui():
    assert [name for name, (_, others) in rooms().items() if others & COMFYUI] == ["comfy"]
    assert not any("scail_model" in others for _, others in rooms().values()), "relative imports only"
