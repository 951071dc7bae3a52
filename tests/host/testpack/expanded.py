"""A node that runs as a loop of newer versions runs its body: as a copy that another node of the graph shows."""

from comfy_api.latest import io
from comfy_execution.graph_utils import GraphBuilder

_LINKS = "model", "positive", "negative", "vae", "reference", "driving", "identities"


class TestExpandedSample(io.ComfyNode):
    """Sample SCAIL-2 Video as a copy. shown: the id of the node that shows it."""

    @classmethod
    def define_schema(cls):
        return io.Schema(node_id="TestExpandedSample", category="test", enable_expand=True, inputs=[
            io.String.Input("shown"), *(io.AnyType.Input(name) for name in _LINKS)], outputs=[io.Video.Output()])

    @classmethod
    def execute(cls, shown, **inputs):
        graph = GraphBuilder()
        copy = graph.node("SCAIL2SampleVideo", "copy", seed=3, solver="unipc", steps=1, shift=3.0, guidance=1.0,
                          segment_length=9, **inputs)
        copy.set_override_display_id(shown)
        return io.NodeOutput(copy.out(0), expand=graph.finalize())
