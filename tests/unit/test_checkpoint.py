"""Opening model and LoRA files: names and numbers against the official converter, hostile and damaged files."""

import io
import json
import os
import pickle
import random
import shutil
import subprocess
import sys
import zipfile
from collections import OrderedDict
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch
from safetensors.torch import load_file, save_file

from scail_model import records, sat_names
from scail_model.checkpoint import convert_sat, load_checkpoint, open_index
from scail_model.pickles import Ignored, index_pickle

GOLDEN = Path(__file__).parents[1] / "golden"
SAT_FOLDER = GOLDEN / "G1_sat_checkpoint"
SAT_FILE = SAT_FOLDER / "model" / "1" / "fsdp2_rank_0000_checkpoint.pt"
SAT_LORA = GOLDEN / "G3_sat_lora" / "lora_sat.pt"


def assert_same(found, expected):
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        assert found[name].dtype == tensor.dtype, name
        assert found[name].shape == tensor.shape, name
        # Bits, not values: quantised types have no arithmetic and NaN is not equal to itself.
        flat = [t.contiguous().flatten().view(torch.uint8) for t in (found[name], tensor)]
        assert torch.equal(*flat), name


def refusal(path, call=load_checkpoint):
    """The message with which `path` is refused, after checking that it is one sentence and names the path."""
    with pytest.raises(RuntimeError) as caught:
        call(path)
    message = str(caught.value)
    assert "\n" not in message
    assert str(path) in message
    assert message.endswith(".")
    assert ": " in message, "a remedy follows the finding"
    return message


# Names

@pytest.mark.parametrize("path", [SAT_FOLDER, SAT_FOLDER / "model", SAT_FILE, str(SAT_FILE)], ids=str)
def test_official_folder_equals_the_official_converter(path):
    state_dict, metadata = load_checkpoint(path)
    assert_same(state_dict, load_file(SAT_FOLDER / "expected.safetensors"))
    assert metadata == {}


def test_every_sat_name_maps_as_the_official_converter_does():
    mapping = json.loads((SAT_FOLDER / "mapping.json").read_text())["sat_to_official"]
    assert {key: sat_names.official_keys(key) for key in mapping} == mapping


def test_convert_sat_takes_tensors_and_gives_views():
    module = torch.load(SAT_FILE, weights_only=True)["module"]
    converted = convert_sat(module)
    assert_same(converted, load_file(SAT_FOLDER / "expected.safetensors"))
    fused = module["model.diffusion_model.transformer.layers.1.attention.query_key_value.weight"]
    for name in "qkv":
        part = converted[f"blocks.1.self_attn.{name}.weight"]
        assert part.untyped_storage().data_ptr() == fused.untyped_storage().data_ptr()


@pytest.mark.parametrize("key", ["transformer.layers.0.attention.rotary.weight", "mixins.pos_embed.weight",
                                 "model.diffusion_model.transformer.layers.0.attention.dense.scale", "iteration"])
def test_unknown_sat_name_is_named(key):
    with pytest.raises(ValueError, match=f"no tensor named '{key}'"):
        convert_sat({key: torch.ones(2)})


def test_fused_tensor_of_uneven_rows():
    key = "model.diffusion_model.transformer.layers.0.attention.query_key_value.weight"
    with pytest.raises(ValueError, match=r"query_key_value\.weight has 8 rows, which 3 fused"):
        convert_sat({key: torch.ones(8, 2)})


@pytest.mark.parametrize("prefix", ["", "diffusion_model.", "model.diffusion_model."])
def test_prefixes_are_stripped(tmp_path, prefix):
    expected = load_file(SAT_FOLDER / "expected.safetensors")
    save_file({prefix + name: tensor for name, tensor in expected.items()}, tmp_path / "model.safetensors",
              {"format": "pt", "author": "me"})
    state_dict, metadata = load_checkpoint(tmp_path / "model.safetensors")
    assert_same(state_dict, expected)
    assert metadata == {"format": "pt", "author": "me"}


def test_wan2gp_names(tmp_path):
    tensors = {f"{module}.{leaf}": torch.rand(3) for leaf in ("weight", "bias")
               for module in ("pose_patch_embedding", "mask_patch_embedding", "patch_embedding")}
    save_file(tensors, tmp_path / "model.safetensors")
    assert_same(load_checkpoint(tmp_path / "model.safetensors")[0], {
        f"{official}.{leaf}": tensors[f"{module}.{leaf}"] for leaf in ("weight", "bias") for official, module in
        (("patch_embedding_pose", "pose_patch_embedding"), ("patch_embedding_mask", "mask_patch_embedding"),
         ("patch_embedding", "patch_embedding"))})


def test_quantised_tensors_and_metadata_stay_as_they_are(tmp_path):
    tensors = {
        "blocks.0.ffn.0.weight": torch.randn(4, 6).to(torch.float8_e4m3fn),
        "blocks.0.ffn.0.weight_scale": torch.tensor(0.123456789),
        "blocks.0.ffn.0.comfy_quant": torch.frombuffer(bytearray(b'{"format": "float8_e4m3fn"}'), dtype=torch.uint8),
        "blocks.0.ffn.2.weight": torch.randint(-128, 127, (5, 3), dtype=torch.int8),
        "blocks.0.ffn.2.bias": torch.randn(5).half(),
        "scaled_fp8": torch.empty(0, dtype=torch.float8_e4m3fn),
    }
    metadata = {"_quantization_metadata": '{"layers": {"blocks.0.ffn.0": {"format": "float8_e4m3fn"}}}'}
    path = tmp_path / "fp8.safetensors"
    save_file({f"model.diffusion_model.{name}": tensor for name, tensor in tensors.items()}, path, metadata)
    found, found_metadata = load_checkpoint(path)
    assert_same(found, tensors)
    assert found_metadata == metadata


# LoRA files

def test_sat_lora_equals_the_official_converter():
    lora, _ = load_checkpoint(SAT_LORA)
    assert_same(lora, load_file(GOLDEN / "G3_sat_lora" / "expected.safetensors"))
    assert open_index(SAT_LORA).is_lora
    assert not open_index(SAT_FILE).is_lora


@pytest.mark.parametrize("nesting", ["module", "state_dict", "model", None])
def test_sat_lora_is_found_where_trainers_put_it(tmp_path, nesting):
    tensors = dict(torch.load(SAT_LORA, weights_only=True)["module"])
    torch.save({nesting: tensors, "iteration": 3} if nesting else tensors, tmp_path / "lora.pt")
    assert_same(load_checkpoint(tmp_path / "lora.pt")[0], load_file(GOLDEN / "G3_sat_lora" / "expected.safetensors"))


def test_lora_safetensors_keep_their_names():
    path = GOLDEN / "F1_lora_full_fp32.safetensors"
    assert_same(load_checkpoint(path)[0], load_file(path))


def test_unknown_sat_lora_name(tmp_path):
    torch.save({"model.diffusion_model.transformer.layers.0.mlp.gate.lora_layer.up.weight": torch.ones(2, 2)},
               tmp_path / "lora.pt")
    assert "no tensor named 'model.diffusion_model.transformer.layers.0.mlp.gate" in refusal(tmp_path / "lora.pt")


# Torch files

def test_every_kind_of_tensor_in_a_torch_file(tmp_path):
    base = torch.randn(6, 8)
    tensors = {str(dtype): torch.arange(-3, 9).to(dtype) for dtype in (
        torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.float8_e4m3fn, torch.float8_e5m2,
        torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool)}
    tensors |= {"transposed": base.t(), "rows of a shared storage": base[2:4], "columns": base[:, 1::3],
                "expanded": torch.tensor([1.5]).expand(3, 2), "scalar": torch.tensor(7.0), "empty": torch.empty(0, 4),
                "parameter": torch.nn.Parameter(torch.randn(2, 2))}
    torch.save(OrderedDict(tensors), tmp_path / "x.pt")
    found, _ = load_checkpoint(tmp_path / "x.pt")
    assert_same(found, {name: tensor.detach() for name, tensor in tensors.items()})


def test_strided_fused_tensor_is_split_right(tmp_path):
    key = "model.diffusion_model.transformer.layers.0.cross_attention.key_value.weight"
    fused = torch.randn(4, 6).t()
    torch.save({"module": {key: fused}}, tmp_path / "x.pt")
    k, v = load_checkpoint(tmp_path / "x.pt")[0].values()
    assert torch.equal(torch.cat([k, v]), fused)


def test_random_states_are_accepted_and_skipped(tmp_path):
    module = torch.load(SAT_FILE, weights_only=True)["module"]
    torch.save({"module": module, "iteration": 1, "lr_scheduler": {"last_epoch": 4, "base": np.float64(1e-5)},
                "random_rng_state": random.getstate(), "np_rng_state": np.random.get_state(),
                "torch_rng_state": torch.get_rng_state()}, tmp_path / "x.pt")
    assert_same(load_checkpoint(tmp_path / "x.pt")[0], load_file(SAT_FOLDER / "expected.safetensors"))
    tree = index_pickle(tmp_path / "x.pt")
    assert isinstance(tree["np_rng_state"][1], Ignored)
    assert tree["random_rng_state"] == random.getstate()


def test_numpy_1_module_names(tmp_path):
    write_torch_file(tmp_path / "x.pt", b"}(X\x03\x00\x00\x00rngcnumpy.core.multiarray\n_reconstruct\n)Ru.")
    assert isinstance(index_pickle(tmp_path / "x.pt")["rng"], Ignored)


class Hostile:
    """Pickles as a call of `function`."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


class PlainClass:
    pass


@pytest.mark.parametrize(("function", "argument", "name"), [
    (os.system, "touch {}", f"{os.system.__module__}.system"),
    (eval, "open({!r}, 'w')", "builtins.eval"),
    (Path.touch, "{}", "pathlib.Path.touch"),
    (shutil.copy, "{}", "shutil.copy"),
])
def test_functions_are_refused_and_not_run(tmp_path, function, argument, name):
    trace = tmp_path / "trace"
    torch.save({"module": {"w": torch.ones(2)}, "x": Hostile(function, argument.format(str(trace)))}, tmp_path / "x.pt",
               pickle_protocol=4)
    assert name.rpartition(".")[0].split(".")[0] in refusal(tmp_path / "x.pt")
    assert f"asks for {name}, which" in refusal(tmp_path / "x.pt")
    assert not trace.exists()


def test_classes_are_refused_by_name(tmp_path):
    torch.save({"module": PlainClass()}, tmp_path / "x.pt")
    assert f"{PlainClass.__module__}.PlainClass" in refusal(tmp_path / "x.pt")


def test_allowed_names_give_no_way_to_other_functions(tmp_path):
    # OrderedDict.__init__.__globals__ would hold everything; protocol 4 looks dotted names up.
    program = b"\x80\x04\x8c\x0bcollections\x8c\x14OrderedDict.__init__\x93."
    write_torch_file(tmp_path / "x.pt", program)
    assert "asks for collections.OrderedDict.__init__" in refusal(tmp_path / "x.pt")
    # A rebuild function that is given new defaults must not keep them for the next file.
    program = b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\nN}X\x0c\x00\x00\x00__defaults__)s\x86b."
    write_torch_file(tmp_path / "x.pt", program)
    assert "damaged pickle" in refusal(tmp_path / "x.pt")


def write_torch_file(path, program, **entries):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x/data.pkl", program)
        for name, data in {"byteorder": b"little", **entries}.items():
            archive.writestr(f"x/{name}", data)


def write_again(source, path, change, compression=zipfile.ZIP_STORED):
    """A copy of a torch file, each entry's bytes passed through `change(name, data)`."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(path, "w", compression) as new:
        for entry in old.infolist():
            new.writestr(entry.filename, change(entry.filename, old.read(entry)))


def test_big_endian_and_compressed_torch_files(tmp_path):
    write_again(SAT_FILE, tmp_path / "big.pt", lambda name, data: b"big" if name.endswith("byteorder") else data)
    assert "big-endian" in refusal(tmp_path / "big.pt")
    write_again(SAT_FILE, tmp_path / "packed.pt", lambda name, data: data, zipfile.ZIP_DEFLATED)
    assert "compression" in refusal(tmp_path / "packed.pt")


def test_tensor_outside_its_storage(tmp_path):
    write_again(SAT_FILE, tmp_path / "x.pt", lambda name, data: data[:-4] if name.endswith("data/0") else data)
    assert "reaches outside its storage" in refusal(tmp_path / "x.pt")


def test_damaged_pickle(tmp_path):
    write_again(SAT_FILE, tmp_path / "x.pt", lambda name, data: data[:900] if name.endswith("data.pkl") else data)
    assert "damaged pickle" in refusal(tmp_path / "x.pt")


# Files that are no checkpoint

def test_files_of_another_format(tmp_path):
    legacy = io.BytesIO()
    torch.save({"w": torch.ones(2)}, legacy, _use_new_zipfile_serialization=False)
    for content, finding in (
        (b"", "is empty"),
        (b"GGUF\x03\x00\x00\x00" + bytes(100), "GGUF"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 32791228224\n", "git lfs pull"),
        (b"<!DOCTYPE html><html><title>Sign in</title></html>", "web page"),
        (b"\n  <html></html>", "web page"),
        (legacy.getvalue(), "old format"),
        (pickle.dumps({"w": 1}), "old format"),
        (b"x" * 100, "neither a safetensors nor a torch file"),
    ):
        (tmp_path / "model.safetensors").write_bytes(content)
        assert finding in refusal(tmp_path / "model.safetensors")


def test_zip_without_a_torch_object(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.pt", "w") as archive:
        archive.writestr("readme.txt", "hello")
    assert "not a torch file" in refusal(tmp_path / "x.pt")


@pytest.mark.parametrize("part", [0.01, 0.5, 0.999])
@pytest.mark.parametrize("source", [SAT_FILE, SAT_FOLDER / "expected.safetensors"], ids=["pt", "safetensors"])
def test_truncated_files(tmp_path, source, part):
    content = source.read_bytes()
    (tmp_path / "x").write_bytes(content[: int(len(content) * part)])
    assert "damaged or was cut short" in refusal(tmp_path / "x")


@pytest.mark.parametrize("content", [{"iteration": 3}, [1, 2], {"module": {}}, torch.Size([2])], ids=str)
def test_torch_file_without_tensors(tmp_path, content):
    torch.save(content, tmp_path / "x.pt")
    assert "holds no tensors" in refusal(tmp_path / "x.pt")


def test_safetensors_without_tensors_or_of_unknown_type(tmp_path):
    path = tmp_path / "x.safetensors"
    save_file({}, path)
    assert "holds no tensors" in refusal(path)
    header = b'{"w":{"dtype":"F6_E2M3","shape":[4],"data_offsets":[0,3]}}'
    path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(3))
    assert "stores w as F6_E2M3" in refusal(path)


def test_missing_paths(tmp_path):
    assert "does not exist" in refusal(tmp_path / "nothing.safetensors")
    assert "without model/latest" in refusal(tmp_path)
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "latest").write_text("7\n")
    assert "has 0 .pt files" in refusal(tmp_path)


def test_sat_checkpoint_of_another_model(tmp_path):
    torch.save({"module": {"model.diffusion_model.mixins.pos_embed.freqs_sin": torch.ones(2)}}, tmp_path / "x.pt")
    assert "is not a SCAIL-2 file" in refusal(tmp_path / "x.pt")


# Memory

def test_small_windows_give_the_same_tensors(monkeypatch):
    monkeypatch.setattr(records, "WINDOW_BYTES", 1000)
    assert_same(load_checkpoint(SAT_FOLDER)[0], load_file(SAT_FOLDER / "expected.safetensors"))


def test_writing_into_a_loaded_tensor_leaves_the_file_alone(tmp_path):
    shutil.copy(SAT_FOLDER / "expected.safetensors", tmp_path / "x.safetensors")
    state_dict, _ = load_checkpoint(tmp_path / "x.safetensors")
    for tensor in state_dict.values():
        tensor.zero_()
    assert_same(load_checkpoint(tmp_path / "x.safetensors")[0], load_file(SAT_FOLDER / "expected.safetensors"))


@pytest.fixture
def big_folder(tmp_path):
    """A folder that is emptied at once: pytest keeps those of the last runs."""
    yield tmp_path
    shutil.rmtree(tmp_path)


_MEASURE = """
import sys, torch
from scail_model.checkpoint import load_checkpoint

def resident(kind):
    return next(int(line.split()[1]) << 10 for line in open("/proc/self/status") if line.startswith(kind))

before = resident("RssAnon"), resident("RssFile")
tensors, _ = load_checkpoint(sys.argv[1])
total = sum(tensor.view(torch.int32)[..., ::512].sum() for tensor in tensors.values())
print(resident("RssAnon") - before[0], resident("RssFile") - before[1])
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("kind", ["pt", pytest.param("safetensors", marks=pytest.mark.slow)])  # test_loading has these
def test_loading_makes_no_second_copy(big_folder, kind):
    size = 300_000_000
    fused = torch.zeros(3, size // 12)
    if kind == "pt":
        torch.save({"module": {"transformer.layers.0.attention.query_key_value.weight": fused}}, big_folder / "x")
    else:
        save_file({"blocks.0.self_attn.q.weight": fused}, big_folder / "x")
    output = subprocess.run([sys.executable, "-c", _MEASURE, big_folder / "x"], check=True, capture_output=True,
                            text=True, cwd=GOLDEN.parents[1]).stdout
    anonymous, mapped = map(int, output.split())
    assert mapped > 0.9 * size, "the tensors were touched, and are pages of the file"
    assert anonymous < 0.1 * size


@pytest.mark.skipif(sys.platform != "linux" or Path("/proc/sys/vm/overcommit_memory").read_text().strip() == "2",
                    reason="needs Linux with memory overcommit")
@pytest.mark.parametrize("kind", ["pt", "safetensors"])
def test_file_larger_than_memory_and_swap(big_folder, kind):
    """The files are sparse: they take no room on the disk."""
    tensor_bytes = 1 << 30
    count = (psutil.virtual_memory().total + psutil.swap_memory().total) // tensor_bytes + 2
    path = big_folder / f"x.{kind}"
    if kind == "pt":
        with torch.serialization.skip_data():
            torch.save({f"w{i}": torch.empty(tensor_bytes // 4) for i in range(count)}, path)
    else:
        header = json.dumps({f"w{i}": {"dtype": "F32", "shape": [tensor_bytes // 4], "data_offsets":
                                       [i * tensor_bytes, (i + 1) * tensor_bytes]} for i in range(count)})
        with open(path, "wb") as file:
            file.write(len(header).to_bytes(8, "little") + header.encode())
            file.truncate(8 + len(header) + count * tensor_bytes)
    state_dict, _ = load_checkpoint(path)
    assert len(state_dict) == count
    assert state_dict[f"w{count - 1}"][-1] == 0
