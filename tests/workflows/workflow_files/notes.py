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
# SAM 3.1 (multiplex): SAM 3 itself has no tracking by a word in ComfyUI
SAM3 = _file("sam3.1_multiplex_fp16.safetensors", f"{_HUB}/Comfy-Org/sam3.1/resolve/main/checkpoints", "checkpoints")
_SIZES = {TRANSFORMER["name"]: "17.7 GB", TEXT_ENCODER["name"]: "6.7 GB", CLIP_VISION["name"]: "1.3 GB",
          VAE["name"]: "0.25 GB", DISTILLED_LORA["name"]: "0.74 GB", SAM3["name"]: "1.7 GB"}


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

No masks yet? The workflows **sam3_one_person**, **sam3_several_people** and **sam3_points** make them, with ComfyUI's own SAM3 nodes. For one person a plain MASK does as well. Look at **Check the masks** before a long run.
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

LONG_VIDEO = f"""# Long video

The workflow **animation** for driving videos of several segments: what is finished is kept on disk, parts can be made again, and how far the colours drift is measured.
{_INPUTS_HEAD}| Reference picture | the character, about as large in the picture and posed about as in the driving video's first frame |
| Reference mask | the character blue, the rest white |
| Driving video | the motion, any length. Connect the video itself, not its frames: these would all lie in memory |
| Driving mask | the person blue, the rest black |
| Prompt | the finished video in 80 to 140 words: who, clothes, what they do, where, light |

Masks, sizes and the official settings are explained in the workflow **animation**. For replacement set *mode* of **Bind SCAIL-2 Identities**, with masks as in the workflow **replacement**.

## Before a run of hours

- **What is wrong, and what it takes** says how many segments there will be, and estimates memory, disk and time. Click **Check**, then the play button of the small bar above it: only the check is run.
- Leave the seed's *control after generate* on *fixed*. Another seed is another job.
- Try the settings on a short piece of the video first.

## If it breaks off

Cancelled, crashed, no room on the disk, no power: **queue the same graph again**. Finished segments are found and only the rest is made. They are in output/scail2_jobs, in the folder that **Report** and the log name; *so-far.mp4* is the video up to there.

## If a part is not good

These are advanced inputs of **Sample SCAIL-2 Video**; its help page explains them all. What comes before the change is kept.

| Setting | Meaning |
|---|---|
| remake | numbers of the segments to make again, as in *3, 5-6*, with *remake_seed*; another number, another take |
| remake_scope | whether the segments behind go on from the new ones, or stay |
| plan | what is different in some segments, as JSON: *[{{"segments": "3-5", "prompt": "..."}}]*. Prompts need the text encoder at *clip* |
| scene_cuts | frames or times at which the driving video cuts to another scene; each begins without history |
| codec | *h265 10-bit* or *lossless* for further work; changing it later samples nothing again |

The new frames of the segments begin at 0, 81, 157, 233 and so on, 76 more each time.

## How far it drifts

**Measure Video Drift** draws colour, contrast, sharpness and movement over the frames. Green lines are good seams, amber visible, red strong; **Verdict of each seam** has the numbers. Compare two settings on the same driving video. The defaults are the official way; *history*, *history_strength*, *colour_match* and *noise* are means against drift, and the help page of the sampler has measurements.

## What is kept on disk

**Manage SCAIL-2 Jobs** lists the jobs, here before the run. *clear finished* removes those that are done; files of **Save Video** stay. Set it back to *list* afterwards.

The result has exactly as many frames as the driving video, its frame rate and its sound.
"""

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

_SAM3_TRACKERS = """
| max_objects | how many people to follow: **exactly as many as there are to be**. With more, SAM3 looks for new people in every frame, and whatever it mistakes for one comes in |
| detection_threshold | lower it if somebody is not found, raise it if something else is taken for a person |
"""

_SAM3_LOOK = """
## Look before you run

Click a preview under **Check the masks**, then the play button of the small bar above it: only what the preview needs is run. The masks are kept, so the full run goes straight on to sampling.
"""

_SAM3_MISTAKES = """
- **A cut, or somebody who leaves and comes back:** SAM3 loses them, or follows somebody else. Use one shot that shows everybody from its first frame on.
- **Ragged masks:** *grow*, *feather*, *fill_holes* and *keep_largest* of **Bind SCAIL-2 Identities** (advanced inputs) mend the driving masks.
- **Another SAM file:** only SAM 3.1 (multiplex) works here.
"""

_SAM3_REST = """
Size, solver and segments are explained in the workflow **animation**. The result has exactly as many frames as the driving video, its frame rate and its sound.
"""

SAM3_ONE_PERSON = f"""# Animation without mask files: one person

The character of the **reference picture** does what the person in the **driving video** does. SAM 3.1 finds both by a word and follows the person through the video.
{_INPUTS_HEAD}| Reference picture | the character, about as large in the picture and posed about as in the driving video's first frame; nobody else |
| Driving video | the motion, any length |
| Whom to find | one or two English words: person, woman, dancer, robot. A comma would look for two kinds |
| Prompt | the finished video in 80 to 140 words: who, clothes, what they do, where, light |

## SAM3

| Setting | Meaning |
|---|---|{_SAM3_TRACKERS}{_SAM3_LOOK}
## Likely mistakes

- **Nobody is found** (a message says in which of the two): another word, or a lower *detection_threshold* of that node.
- **The wrong person is followed:** SAM3 takes the one it is surest of. Use **sam3_points**, or **sam3_several_people** with *binding*.{_SAM3_MISTAKES}{_SAM3_REST}"""

SAM3_SEVERAL_PEOPLE = f"""# Several people without mask files

Two characters in one **reference picture** follow two people of the **driving video**. SAM 3.1 finds all of them by a word; **Bind SCAIL-2 Identities** says who follows whom. Up to six people work in the same way.
{_INPUTS_HEAD}| Reference picture | both characters in one picture |
| Driving video | both people, any length |
| Whom to find | one or two English words that fit everybody: person |
| Prompt | the finished video in 80 to 140 words; both characters, and who stands where |

## Who is who

| Setting | Meaning |
|---|---|
| order | how SAM3's people are numbered, on both sides: left to right as they stand when they are first seen, or by size. The previews show the numbers |
| binding | who follows whom, as reference:driving. *1:1, 2:2* is as they stand; *1:2, 2:1* crosses them. Whoever is not named is left out. Empty: the same numbers; *by position*: the nearest |

## SAM3

| Setting | Meaning |
|---|---|{_SAM3_TRACKERS}{_SAM3_LOOK}
## Likely mistakes

- **Bystanders:** raise *max_objects* until the preview shows everybody, then name only the right ones in *binding*.
- **One person too few:** a lower *detection_threshold*. If two people stand close, SAM3 may take them for one: begin the video where they stand apart.
- **People who change places** keep their numbers; numbers come from where they are first seen.{_SAM3_MISTAKES}
## The same video again

**Save SCAIL-2 Tracks** keeps the masks in models/scail2_tracks. For other characters on the same video: press **R**, select the grey node **Saved tracks**, press **Ctrl+M** to switch it on, connect it to *driving_masks* in place of **Follow in the driving video**, and switch that off in the same way.
{_SAM3_REST}"""

SAM3_POINTS = f"""# Replacement, the person picked by points

The character of the **reference picture** takes the place of **one** person in the **driving video**; everybody else and the scene stay. Points say who it is, SAM 3.1 finds the outline and follows it.
{_INPUTS_HEAD}| Reference picture | the new character, from head to feet if the person is seen so. **Reframe SCAIL-2 Reference** puts it where the person stands, as large as the person is in the first driving frame; its preview shows both |
| Driving video | the video to change, any length; the person is in its **first frame** |
| Points in the first driving frame | two or three places on the person, in pixels from the top left |
| Points in the reference picture | the same for the character |
| Prompt | the finished video in 80 to 140 words; name the new character's clothes and everything they touch |

## Points

Written as *[{{"x": 253, "y": 102}}, {{"x": 253, "y": 230}}]*: the head and the chest. Any image editor shows the pixel under the cursor; **Picked** shows what SAM3 makes of it. For places that do **not** belong, connect another **Input Text** to *negative_coords*.
{_SAM3_LOOK}
## Likely mistakes

- **Only the shirt is picked:** more points, on head, body and legs.
- **Nothing or something else is picked:** the points are those of another size. They count in pixels of the picture or video **itself**, not of a smaller view of it.
- **The person is hidden or out of the picture in the first frame:** begin the video later.{_SAM3_MISTAKES}{_SAM3_REST}"""

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
PROMPTS["ksampler"] = PROMPTS["distilled_draft"] = PROMPTS["long_video"] = PROMPTS["animation"]
PROMPTS["sam3_one_person"] = PROMPTS["animation"]
PROMPTS["sam3_several_people"] = PROMPTS["two_people"]
PROMPTS["sam3_points"] = PROMPTS["replacement"]
