"""Texts that the doctor would put into a file for others: paths become names, users vanish, everything else stays."""

import getpass
from pathlib import Path

import pytest

from scail_model.doctor.privacy import shortened, without_private

KINDS = {
    "a path": ("/home/anna/ComfyUI/models/vae/wan.safetensors is damaged", "wan.safetensors is damaged"),
    "two paths": ("/data/a.pt and /data/b.pt differ", "a.pt and b.pt differ"),
    "a path in quotation marks": ("No such file: '/home/anna/x/model.pt'", "No such file: 'model.pt'"),
    "a path in brackets": ("cut short (/mnt/disk/a.pt)", "cut short (a.pt)"),
    "with a tilde": ("~/models/a.pt", "a.pt"),
    "of Windows": (r"C:\Users\Anna\models\a.pt: access denied", "a.pt: access denied"),
    "of Windows with slashes": ("D:/models/a.pt", "a.pt"),
    "of a network": (r"\\server\share\a.pt", "a.pt"),
    "an address on the web": ("from https://huggingface.co/Comfy-Org/SCAIL-2/resolve/main/a.pt",
                              "from https://huggingface.co/Comfy-Org/SCAIL-2/resolve/main/a.pt"),
    "a fraction": ("13.2 GB/s, 3/4 of it", "13.2 GB/s, 3/4 of it"),
    "a module": ("blocks.0.ffn.2 and torch.float8_e4m3fn", "blocks.0.ffn.2 and torch.float8_e4m3fn"),
    "a size": ("512x896, 81 frames; 1.1.0+cu130", "512x896, 81 frames; 1.1.0+cu130"),
    "a relative path": ("model/latest", "model/latest"),
}


@pytest.mark.parametrize(("text", "expected"), KINDS.values(), ids=KINDS)
def test_kind_of_text(text, expected):
    assert shortened(text) == expected


def test_home_and_user_vanish_also_with_spaces(monkeypatch):
    monkeypatch.setattr(Path, "home", lambda: Path("/Users/Anna Berg"))
    monkeypatch.setattr(getpass, "getuser", lambda: "aberg")
    assert shortened("/Users/Anna Berg/models/a.pt") == "a.pt"
    assert shortened("owner aberg, not aberger") == "owner user, not aberger"


def test_known_folders_vanish_also_with_spaces():
    assert shortened("cut short (/mnt/disk 1/vae/a.pt)", [Path("/mnt/disk 1"), Path("/mnt/disk 1/vae")]) == (
        "cut short (a.pt)")


def test_no_user(monkeypatch):
    def nobody():
        raise KeyError("uid not found")

    monkeypatch.setattr(getpass, "getuser", nobody)
    assert shortened("a text") == "a text"


def test_values_of_all_kinds():
    assert without_private({"a": ["/x/y.pt", 1, None], "b": {"c": ("/x/z",)}, "d": True}) == {
        "a": ["y.pt", 1, None], "b": {"c": ["z"]}, "d": True}
