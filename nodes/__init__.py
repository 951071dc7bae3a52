"""The pack's nodes, in the order in which a graph uses them."""

from comfy_api.latest import ComfyExtension, io

from .identities import SCAIL2Identities
from .load_model import SCAIL2LoadModel
from .motion import SCAIL2MotionTransfer
from .prompts import SCAIL2LoadPrompt, SCAIL2SavePrompt
from .reference import SCAIL2EncodeReference
from .sample import SCAIL2SampleVideo
from .schedule import SCAIL2Schedule


class SCAIL2Extension(ComfyExtension):
    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        return [SCAIL2LoadModel, SCAIL2Identities, SCAIL2EncodeReference, SCAIL2MotionTransfer, SCAIL2Schedule,
                SCAIL2SampleVideo, SCAIL2SavePrompt, SCAIL2LoadPrompt]


async def comfy_entrypoint() -> SCAIL2Extension:
    return SCAIL2Extension()
