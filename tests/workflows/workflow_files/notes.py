"""The texts of the workflows: what to connect, what the parameters do, where the model files go.

A paragraph is one line, because the frontend's notes lose the space where two lines meet.
"""
# ruff: noqa: E501

_HUB = "https://huggingface.co"
_WAN = f"{_HUB}/Comfy-Org/Wan_2.1_ComfyUI_repackaged/resolve/main/split_files"
_SCAIL = f"{_HUB}/Comfy-Org/SCAIL-2/resolve/main"


def _file(name: str, folder: str, directory: str) -> dict[str, str]:
    return {"name": name, "url": f"{folder}/{name}", "directory": directory}


TRANSFORMER = _file("wan2.1_14B_SCAIL_2_fp8_scaled.safetensors", f"{_SCAIL}/diffusion_models", "diffusion_models")
TEXT_ENCODER = _file("umt5_xxl_fp8_e4m3fn_scaled.safetensors", f"{_WAN}/text_encoders", "text_encoders")
CLIP_VISION = _file("clip_vision_h.safetensors", f"{_WAN}/clip_vision", "clip_vision")
VAE = _file("wan_2.1_vae.safetensors", f"{_WAN}/vae", "vae")
DISTILLED_LORA = _file("lightx2v_I2V_14B_480p_cfg_step_distill_rank64_bf16.safetensors",
                       f"{_HUB}/Kijai/WanVideo_comfy/resolve/main/Lightx2v", "loras")
_SIZES = {TRANSFORMER["name"]: "17.7 GB", TEXT_ENCODER["name"]: "6.7 GB", CLIP_VISION["name"]: "1.3 GB",
          VAE["name"]: "0.25 GB", DISTILLED_LORA["name"]: "0.74 GB"}


def model_links(files: list[dict[str, str]]) -> str:
    lines = ["## Model files", "", "Download each file into the folder named above it, then press **R** to refresh.", ""]
    for file in files:
        lines += [f"**models/{file['directory']}**", "", f"- [{file['name']}]({file['url']}) ({_SIZES[file['name']]})", ""]
    lines += ["More precise, if the memory allows: "
              f"[wan2.1_14B_SCAIL_2_fp16.safetensors]({_SCAIL}/diffusion_models/wan2.1_14B_SCAIL_2_fp16.safetensors) "
              "(32.8 GB, models/diffusion_models). **Load SCAIL-2 Model** also takes bf16, fp32 and int8 files and the "
              "official checkpoint of [zai-org/SCAIL-2](https://huggingface.co/zai-org/SCAIL-2)."]
    return "\n".join(lines)


_INPUTS_HEAD = """
## Put in

| Node | What it wants |
|---|---|
"""

_MASK_HELP = """
## Masks

A mask is a picture or video in flat colours: the first person **blue**, the second **red**, then green, magenta, cyan, yellow. The same person has the same colour on both sides. A mask must have the shape (width : height) of its picture or video, and a mask video as many frames as the driving video.

No masks yet? ComfyUI's own **Run SAM3 Video Track** and **Create SCAIL-2 Colored Mask** make them: connect *pose_video_mask* to *driving_masks* and *reference_image_mask* to *reference_masks*. For one person a plain MASK does as well. Look at **Check the masks** before a long run.
"""

_PARAMETERS = """
## Parameters

| Setting | Meaning |
|---|---|
| width, height | size of the result, multiples of 32: 896x512 or 512x896; 1280x704 is finer and takes about three times as long. The reference is cropped to it at the centre |
| solver, steps, shift, guidance | unipc, 40, 3, 5 are the official settings |
| seed | another seed, another take |
| segment_length, overlap | long videos are made in pieces of 81 frames, each taking over 5 from the one before; leave them alone |
"""

_DRIVING_BACKGROUND = ("| driving_background | black hides the driving video's surroundings from the model, which helps if "
                       "they show up in the animation |\n")
_REPLACEMENT_BACKGROUND = ("| replacement_background | cut out paints the reference's surroundings black before encoding, "
                           "as the authors advise; keep leaves them |\n")
_RESULT = "\nThe result has exactly as many frames as the driving video, its frame rate and its sound.\n"
_SAMPLING_HELP = _PARAMETERS + _DRIVING_BACKGROUND + _RESULT

ANIMATION = f"""# Animation

The character of the **reference picture** does what the person in the **driving video** does, in the reference's own scene.
{_INPUTS_HEAD}| Reference picture | the character, about as large in the picture and posed about as in the driving video's first frame |
| Reference mask | the character blue, the rest white |
| Driving video | the motion, any length |
| Driving mask | the person blue, the rest black |
| Prompt | the finished video in 80 to 140 words: who, clothes, what they do, where, light |
{_MASK_HELP}{_SAMPLING_HELP}"""

REPLACEMENT = f"""# Replacement

The character of the **reference picture** takes the place of a person in the **driving video**; the video's scene stays.
{_INPUTS_HEAD}| Reference picture | the new character, **as large in the picture as the person is in the first driving frame**: the reference decides how large the character becomes, the mask only where it stands |
| Reference mask | the character blue, the rest **black** |
| Driving video | the video to change, any length |
| Driving mask | the person to replace blue, the rest **white** |
| Prompt | the finished video in 80 to 140 words; name the new character's clothes and everything they touch |

The backgrounds of the masks are the reverse of animation. Masks made for animation work too, because **contradicting_background** is set to *repaint* here.
{_MASK_HELP}{_PARAMETERS}{_REPLACEMENT_BACKGROUND}{_RESULT}"""

TWO_PEOPLE = f"""# Two people

Two characters in one **reference picture** follow two people of the **driving video**. Colour says who follows whom: blue follows blue, red follows red, wherever they stand. Up to six people work in the same way.
{_INPUTS_HEAD}| Reference picture | both characters in one picture |
| Reference mask | one character blue, the other red, the rest white |
| Driving video | both people, any length |
| Driving mask | one person blue, the other red, the rest black |
| Prompt | the finished video in 80 to 140 words; both characters, and who stands where |

A colour that only one side has stops the run with a message. If the two get mixed up, swap the colours in **one** mask.
{_MASK_HELP}{_SAMPLING_HELP}"""

ADDITIONAL_REFERENCE = f"""# Additional reference

A second picture shows what the first cannot: here the character **from behind**, for a driving video with a turn. The model was not trained for this, so compare with a run without it.
{_INPUTS_HEAD}| Reference picture | the character as the video begins; it also gives the scene |
| Reference mask | the character blue, the rest white |
| Additional picture | the same character from another side, **same size as the reference picture** |
| Additional mask | the character blue, the rest **black**. For a picture of the empty scene instead: all white |
| Driving video, driving mask | the motion; the person blue, the rest black |
| Prompt | the finished video in 80 to 140 words |

**Batch Images** puts the pictures in order, primary first, and the masks in the same order. It has more inputs for more pictures. Pictures of another size would be cropped to that of the first.
{_MASK_HELP}{_SAMPLING_HELP}"""

KSAMPLER = """# One segment, with ComfyUI's own sampler nodes

For those who want to reach between the steps: **Build SCAIL-2 Motion Latent** prepares one segment, **SCAIL-2 Schedule** gives the official solver and noise levels, and ComfyUI's **SamplerCustom** samples. Other samplers fit as well. **Sample SCAIL-2 Video** (see the animation workflow) does all of this for any length.

## Put in

| Node | What it wants |
|---|---|
| Reference picture, mask | the character; blue on white |
| Driving video, mask | the motion; the person blue on black |
| Prompt | the finished video in 80 to 140 words |

## Parameters

| Setting | Meaning |
|---|---|
| start_frame | driving frame at which the new frames begin |
| length | frames of the segment, 4n+1; the model was trained up to 81. Where the video ends earlier, the segment is shorter; **frames** says how many are real, and **Only the real frames** cuts the rest off |
| solver, steps, shift, cfg | unipc, 40, 3, 5 are the official settings |

## To go on after frame 81

Driving videos of more than 81 frames: select the nodes of the two grey groups (hold **Ctrl** and drag a box), press **Ctrl+M** to switch them on, and run. Segment 2 takes over the last 5 frames of segment 1 (*previous_frames*), starts new frames at *start_frame* 81, drops the 5 that repeat, joins both and saves. For a third segment copy the group **Segment 2**, with *start_frame* 157 (81 + 76).
"""

DISTILLED_DRAFT = f"""# Draft with a distilled LoRA

Animation in 8 steps without guidance: a tenth of the work of the full settings. Good for finding the right masks, reference and prompt; then use the animation workflow for the final version.
{_INPUTS_HEAD}| Reference picture, mask | the character; blue on white |
| Driving video, mask | the motion; the person blue on black |
| Prompt | the finished video in 80 to 140 words |
{_MASK_HELP}
## Parameters

| Setting | Meaning |
|---|---|
| LoRA strength, steps, shift, guidance | 1, 8, 1, 1: the authors' recipe for this LoRA (theirs was rank 128) |
| solver | unipc; euler is usual with distilled LoRAs too |
| negative prompt | without effect at guidance 1 |

## The prompt in a file

**Save Prompt Embedding** writes the encoded prompt to models/scail2_prompts. Next time ComfyUI can do without the text encoder (6.7 GB): press **R**, select the two grey nodes under **Saved prompt**, press **Ctrl+M** to switch them on, connect them to *positive* and *negative* of **Sample SCAIL-2 Video**, and switch the nodes of the group **Prompt** off in the same way.
"""

PROMPTS = {
    "animation": (
        "A young woman with shoulder-length chestnut hair dances on a stone terrace above the sea in the late afternoon. "
        "She wears a loose cream linen shirt with rolled-up sleeves, high-waisted dark blue trousers and white canvas "
        "shoes. She steps from side to side, swings her arms wide, turns her shoulders and bends her knees in time with "
        "the music, her hair and the hem of her shirt following every movement. Her face stays relaxed and friendly, her "
        "eyes look past the camera. Behind her are a low wall, a few potted plants and calm blue water under a clear sky. "
        "Warm low sunlight comes from the left and draws soft shadows on the stones. The camera stands still at chest "
        "height and shows her from head to toe. Sharp, natural, realistic footage."),
    "replacement": (
        "A tall man with short black hair and a trimmed beard walks through a busy market street. He wears a dark green "
        "rain jacket over a grey hooded sweater, black jeans and brown leather boots, and carries a folded newspaper under "
        "his left arm. He slows down in front of a fruit stall, picks up an orange with his right hand, looks at it from "
        "both sides, puts it back and walks on with a short nod to the seller. The wet pavement reflects the awnings and "
        "the passing people, and the light of an overcast morning falls evenly on his face, jacket and hands, matching the "
        "street around him. The camera follows him at walking pace at eye level. Natural skin, real fabric with fine folds, "
        "sharp and realistic footage."),
    "two_people": (
        "Two friends practise a dance routine in a bright studio with a wooden floor and a mirrored back wall. On the left "
        "a woman with a blonde ponytail wears a red tank top, grey leggings and black sneakers; on the right a man with "
        "curly dark hair wears a white T-shirt, loose blue trousers and white sneakers. They start side by side, step "
        "forward together, raise their arms, turn towards each other, clap hands once and step apart again, both in the "
        "same rhythm and smiling now and then. Daylight from large windows on the right fills the room and leaves soft "
        "shadows under their feet. The camera stands still at waist height and keeps both of them in view from head to toe. "
        "Clear faces, natural movement, realistic footage."),
    "additional_reference": (
        "A young woman with long braided red hair practises a slow dance in an empty old ballroom. She wears a dark green "
        "dress with long sleeves, an open back with crossed straps and a wide skirt, and flat black shoes. She begins facing "
        "the camera, lifts both arms, makes a full turn so that the braid, the crossed straps and the back of the dress can "
        "be seen, and ends facing the camera again with one foot forward. The skirt swings out during the turn and settles "
        "slowly. Tall windows on the left let in cool morning light that falls on the polished parquet and the pale walls "
        "behind her. The camera stands still at chest height and shows her from head to toe. Calm, sharp, realistic "
        "footage with fine detail in fabric and hair."),
}
PROMPTS["ksampler"] = PROMPTS["distilled_draft"] = PROMPTS["animation"]
