"""Workflows whose driving video is made of poses: a rendered skeleton, or a rendered body mesh."""

from __future__ import annotations

from . import driving_notes, notes
from .graph import Graph, Node
from .parts import OFFICIAL, bind_found, models, prompts, sam3_model, sample, start
from .sam3_definitions import TRACKER

_SIZE = 1280, 704  # the authors: better than 512p for these
_FIELD_OF_VIEW = 33.1  # degrees, vertical, of 16:9: the 55 of the official camera over the longer side


def pose_driven() -> Graph:
    """Bodies by NLF, faces and hands by core's SDPose; who is who by SAM3."""
    graph = start("pose_driven", driving_notes.POSE_DRIVEN, notes.SAM3, notes.SDPOSE, notes.RT_DETR, height=1560,
                  nlf=True)
    loaded = models(graph)
    graph.group("Detectors", column=1)
    sam3 = sam3_model(graph)
    nlf = graph.add("SCAIL2LoadNLF", file=notes.NLF)
    sdpose = graph.add("CheckpointLoaderSimple", title="Load SDPose", models=(notes.SDPOSE,),
                       ckpt_name=notes.SDPOSE["name"])
    boxes = graph.add("UNETLoader", title="Load RT-DETR", models=(notes.RT_DETR,), unet_name=notes.RT_DETR["name"],
                      weight_dtype="default")
    reference, driving, components = _files(graph)
    tracks, character = _people(graph, sam3, components, reference)
    graph.group("Faces and hands", column=3)
    points = _key_points(graph, sdpose, boxes, components, "in the driving video")
    graph.group("The skeleton", column=4)
    read = graph.add("SCAIL2Poses", poses=nlf, detail=points, driving=driving, masks=tracks, size=(400, 460))
    graph.add("PreviewAny", title="What was read", source=read[2], size=(400, 200))
    poses = graph.add("SCAIL2SavePoses", poses=read, name="pose_driven", overwrite=True)
    graph.group("Saved poses (instead of looking again)", column=3, muted=True)
    graph.add("SCAIL2LoadPoses", title="Saved poses", file="pose_driven.safetensors", driving=driving)
    graph.group("Retarget (instead of the skeleton)", column=4, muted=True)
    theirs = _key_points(graph, sdpose, boxes, reference, "in the reference")
    graph.add("SCAIL2RetargetPoses", poses=poses, image=reference, keypoints=theirs, width=_SIZE[0], height=_SIZE[1],
              size=(400, 460))
    texts = prompts(graph, loaded, column=5)
    identities, encoded = bind_found(graph, loaded, (poses, reference), (poses, character), "animation", 5, size=_SIZE)
    sample(graph, loaded.model, texts, loaded.vae, poses, identities, encoded, column=6, check=True, guidance=5.0,
           **OFFICIAL)
    return graph


def mesh_driven() -> Graph:
    """Bodies by core's SAM3D Body, drawn by core; who is who by SAM3."""
    graph = start("mesh_driven", driving_notes.MESH_DRIVEN, notes.SAM3, notes.SAM3D_BODY, height=1330)
    loaded = models(graph)
    graph.group("Detectors", column=1)
    sam3 = sam3_model(graph)
    body = graph.add("SAM3DBody_Loader", models=(notes.SAM3D_BODY,), model_file=notes.SAM3D_BODY["name"])
    reference, driving, components = _files(graph)
    tracks, character = _people(graph, sam3, components, reference)
    graph.group("The bodies", column=3)
    bodies = graph.add("SAM3DBody_Predict", sam3d_body_model=body, image=components, track_data=tracks,
                       fov=_FIELD_OF_VIEW)
    graph.group("The mesh", column=4)
    poses = graph.add("SCAIL2Poses", poses=bodies, driving=driving, masks=tracks, size=(400, 460))
    graph.add("PreviewAny", title="What was read", source=poses[2], size=(400, 200))
    mesh = graph.add("SCAIL2RenderPoses", poses=poses, style="mesh")
    clip = graph.add("CreateVideo", title="With rate and sound", images=mesh, fps=components[2], audio=components[1])
    texts = prompts(graph, loaded, column=5)
    identities, encoded = bind_found(graph, loaded, (clip, reference), (mesh[2], character), "animation", 5,
                                     size=_SIZE)
    sample(graph, loaded.model, texts, loaded.vae, clip, identities, encoded, column=6, check=True, guidance=5.0,
           **OFFICIAL)
    return graph


def _files(graph: Graph) -> tuple[Node, Node, Node]:
    """Reference, driving video, its parts."""
    graph.group("Reference and driving video", column=2)
    reference = graph.add("LoadImage", title="Reference picture", image="reference.png")
    driving = graph.add("LoadVideo", title="Driving video", file="driving.mp4")
    return reference, driving, graph.add("GetVideoComponents", title="Driving video, parts", video=driving)


def _people(graph: Graph, sam3: Node, frames: Node, reference: Node) -> tuple[Node, Node]:
    """The person of the driving video, and the character."""
    graph.group("Find the people", column=3)
    word = graph.add("CLIPTextEncode", title="Whom to find", clip=sam3[1], text="person", size=(340, 120))
    tracks, character = (graph.add("SAM3_VideoTrack", title=title, images=images, model=sam3, conditioning=word,
                                   max_objects=1, **TRACKER)
                         for title, images in (("Follow in the driving video", frames),
                                               ("Find in the reference", reference)))
    return tracks, character


def _key_points(graph: Graph, sdpose: Node, detector: Node, pictures: Node, where: str) -> Node:
    boxes = graph.add("RTDETR_detect", title=f"Boxes {where}", model=detector, image=pictures, class_name="person")
    return graph.add("SDPoseKeypointExtractor", title=f"Key points {where}", model=sdpose, vae=sdpose[2],
                     image=pictures, bboxes=boxes)
