"""A MODEL as ComfyUI-GGUF loads it: core's network; its linears hold the bytes of a file and say only their shapes."""

import comfy.ops
import comfy.sd
import torch
import torch.nn.functional as F
from comfy_api.latest import io
from safetensors.torch import load_file

_BLOCK = 32  # numbers that share a scale, as in Q8_0: a float16 and 32 int8


class PackedTensor(torch.Tensor):
    """uint8 [rows, bytes] that shows the shape of what it holds."""

    def __new__(cls, data, packed_shape):
        return torch.Tensor._make_subclass(cls, data)

    def __init__(self, data, packed_shape):
        self.tensor_type, self.packed_shape = "Q8_0", packed_shape

    @property
    def shape(self):
        return getattr(self, "packed_shape", self.size())

    def to(self, *args, **kwargs):
        return PackedTensor(super().to(*args, **kwargs).as_subclass(torch.Tensor), self.shape)

    def detach(self):
        return self


def pack(weight):
    blocks = weight.float().unflatten(1, (-1, _BLOCK))  # [rows, blocks, 32]
    scale = (blocks.abs().amax(2, keepdim=True) / 127).half()
    numbers = (blocks / scale.float().clamp(min=1e-12)).round().clamp(-127, 127).to(torch.int8)
    return PackedTensor(torch.cat([scale.view(torch.uint8), numbers.view(torch.uint8)], 2).flatten(1), weight.shape)


def unpack(packed, dtype):
    blocks = packed.as_subclass(torch.Tensor).unflatten(1, (-1, _BLOCK + 2))
    scale, numbers = blocks[..., :2].contiguous().view(torch.float16), blocks[..., 2:].contiguous().view(torch.int8)
    return (scale.to(dtype) * numbers.to(dtype)).flatten(1)


class PackedOps(comfy.ops.manual_cast):
    class Linear(comfy.ops.manual_cast.Linear):
        def __init__(self, in_features, out_features, *_, **__):
            torch.nn.Module.__init__(self)
            self.in_features, self.out_features = in_features, out_features
            self.weight = self.bias = None

        def _load_from_state_dict(self, state_dict, prefix, *_):
            self.weight, self.bias = (torch.nn.Parameter(state_dict[f"{prefix}{name}"], requires_grad=False)
                                      for name in ("weight", "bias"))

        def _save_to_state_dict(self, destination, prefix, keep_vars):
            destination[f"{prefix}weight"] = torch.zeros(self.weight.size(), device="meta")
            destination[f"{prefix}bias"] = torch.zeros(self.bias.size(), device="meta")
            destination[f"{prefix}temp.weight"] = torch.zeros(1, device="meta")

        def is_ggml_quantized(self):
            return isinstance(self.weight, PackedTensor)

        def cast_bias_weight(self, dtype, device, bias_dtype):
            weight = unpack(self.weight, dtype) if isinstance(self.weight, PackedTensor) else self.weight.to(dtype)
            return weight.to(device), self.bias.to(device, bias_dtype)

        def forward(self, x):
            return F.linear(x, *self.cast_bias_weight(x.dtype, x.device, x.dtype))


class TestLoadPacked(io.ComfyNode):
    """Linears become packed when the float file is read; `seed` moves each weight by a little noise, which gives
    another file of the same size."""

    @classmethod
    def define_schema(cls):
        return io.Schema(node_id="TestLoadPacked", category="test", inputs=[
            io.String.Input("path"), io.Int.Input("seed", default=0, optional=True)], outputs=[io.Model.Output()])

    @classmethod
    def execute(cls, path, seed=0):
        generator = torch.Generator().manual_seed(seed)
        weights = {name: weight.float() for name, weight in load_file(path).items()}
        for name, weight in weights.items():
            if weight.ndim == 2:
                noise = torch.randn(weight.shape, generator=generator) * weight.std() * 1e-3 if seed else 0.0
                weights[name] = pack(weight + noise)
        return io.NodeOutput(comfy.sd.load_diffusion_model_state_dict(weights, {"custom_operations": PackedOps}))
