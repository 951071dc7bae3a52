"""The nodes of the pack, in the order in which a graph uses them."""

from comfy_api.latest import ComfyExtension, io

from ..scail_model.comfy.routes import add_routes
from .ask_for_prompt import SCAIL2AskForPrompt, SCAIL2CheckPrompt
from .crop_person import SCAIL2CropPerson
from .doctor import SCAIL2Doctor
from .drift_report import SCAIL2DriftReport
from .identities import SCAIL2Identities
from .jobs import SCAIL2Jobs
from .load_lora import SCAIL2LoadLora
from .load_model import SCAIL2LoadModel
from .load_nlf import SCAIL2LoadNLF
from .motion import SCAIL2MotionTransfer
from .paste_person import SCAIL2PastePerson
from .plate_preview import SCAIL2PlatePreview
from .poses import SCAIL2Poses
from .poses_file import SCAIL2LoadPoses, SCAIL2SavePoses
from .preflight import SCAIL2Preflight
from .prompts import SCAIL2LoadPrompt, SCAIL2SavePrompt
from .reference import SCAIL2EncodeReference
from .reframe import SCAIL2ReframeReference
from .render_poses import SCAIL2RenderPoses
from .retarget import SCAIL2RetargetPoses
from .sample import SCAIL2SampleVideo
from .schedule import SCAIL2Schedule
from .tracks import SCAIL2LoadTracks, SCAIL2SaveTracks
from .write_prompt import SCAIL2WritePrompt


class SCAIL2Extension(ComfyExtension):
    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        return [SCAIL2LoadModel, SCAIL2LoadLora, SCAIL2LoadNLF, SCAIL2Poses, SCAIL2SavePoses, SCAIL2LoadPoses,
                SCAIL2Identities, SCAIL2CropPerson, SCAIL2RetargetPoses, SCAIL2RenderPoses, SCAIL2ReframeReference,
                SCAIL2EncodeReference, SCAIL2MotionTransfer, SCAIL2Schedule, SCAIL2PlatePreview, SCAIL2Preflight,
                SCAIL2SampleVideo, SCAIL2PastePerson, SCAIL2SavePrompt, SCAIL2LoadPrompt, SCAIL2SaveTracks,
                SCAIL2LoadTracks, SCAIL2DriftReport, SCAIL2Jobs, SCAIL2Doctor, SCAIL2WritePrompt, SCAIL2AskForPrompt,
                SCAIL2CheckPrompt]


async def comfy_entrypoint() -> SCAIL2Extension:
    add_routes()
    return SCAIL2Extension()
