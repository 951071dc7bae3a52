"""Notes of the workflows: what to connect, what the parameters do, where the model files go.

Each paragraph is a single line, because the frontend's notes lose the space between two lines.
"""
# ruff: noqa: E501

from scail_model.preflight import model_files
from scail_model.preflight.model_files import ModelFile


def _file(file: ModelFile) -> dict[str, str]:
    """As the frontend wants it in a workflow."""
    return {"name": file.name, "url": file.url, "directory": file.folder}


TRANSFORMER, TEXT_ENCODER = _file(model_files.TRANSFORMER), _file(model_files.TEXT_ENCODER)
CLIP_VISION, VAE = _file(model_files.CLIP_VISION), _file(model_files.VAE)
DISTILLED_LORA, SAM3 = _file(model_files.DISTILLED_LORA), _file(model_files.SAM3)
SAM3D_BODY, SDPOSE, RT_DETR = (_file(file) for file in (model_files.SAM3D_BODY, model_files.SDPOSE,
                                                        model_files.RT_DETR))
NLF = "nlf_l_multi_0.3.2.torchscript"  # of its own authors, who allow research only


def model_links(files: list[dict[str, str]], nlf: bool = False) -> str:
    lines = ["## Model files", "", "Download each file into the folder named above it, then press **R** to refresh.", ""]
    for file in files:
        lines += [f"**models/{file['directory']}**", "", f"- [{file['name']}]({file['url']}) "
                  f"({model_files.KNOWN[file['name']].gigabytes:g} GB)", ""]
    if nlf:
        lines += ["**models/nlf**", "", f"- {NLF}, from its authors: release v0.3.2 of github.com/isarandi/nlf. Its "
                  "weights are for **non-commercial research only**, so this pack neither contains nor downloads them.",
                  ""]
    lines += ["More precise, if the memory allows: "
              f"[{model_files.TRANSFORMER_FP16.name}]({model_files.TRANSFORMER_FP16.url}) "
              f"({model_files.TRANSFORMER_FP16.gigabytes:g} GB, models/diffusion_models). **Load SCAIL-2 Model** also takes bf16, fp32 and int8 files and the "
              "official checkpoint of [zai-org/SCAIL-2](https://huggingface.co/zai-org/SCAIL-2)."]
    return "\n".join(lines)


INPUTS_HEAD = """
## Inputs

| Node | What to put in |
|---|---|
"""

_MASK_HELP = """
## Masks

A mask is a picture or video in flat colours: the first person **blue**, the second **red**, then green, magenta, cyan, yellow. Each person has the same colour in both masks. A mask must have the aspect ratio of its picture or video, and a mask video as many frames as the driving video.

No masks yet? The workflows **sam3_one_person**, **sam3_several_people** and **sam3_points** make them with ComfyUI's own SAM3 nodes. For one person a plain MASK also works. Look at **Check the masks** before a long run.
"""

PARAMETERS = """
## Parameters

| Setting | Meaning |
|---|---|
| width, height | size of the result, multiples of 32: 896x512 or 512x896; 1280x704 is finer and takes about three times as long. The reference is cropped to this size at the centre |
| solver, steps, shift, guidance | unipc, 40, 3, 5 are the official settings |
| seed | another seed gives another result |
| segment_length, overlap | long videos are made in segments of 81 frames, each continuing from the last 5 of the previous one; keep the defaults |
"""

DRIVING_BACKGROUND = ("| driving_background | black hides the surroundings of the driving video from the model, which helps "
                       "if they appear in the animation |\n")
REPLACEMENT_BACKGROUND = ("| replacement_background | cut out paints the surroundings of the reference black before encoding, "
                           "as the authors advise; keep keeps them |\n")
RESULT = "\nThe result has exactly as many frames as the driving video, with its frame rate and sound.\n"
_SAMPLING_HELP = PARAMETERS + DRIVING_BACKGROUND + RESULT

ANIMATION = f"""# Animation

The character of the **reference picture** performs the motion of the person in the **driving video**, in its own scene.
{INPUTS_HEAD}| Reference picture | the character, about as large in the picture and posed about as in the driving video's first frame |
| Reference mask | the character blue, the rest white |
| Driving video | the motion, any length |
| Driving mask | the person blue, the rest black |
| Prompt | the finished video in 80 to 140 words: who, clothes, what they do, where, light |
{_MASK_HELP}{_SAMPLING_HELP}"""

PLATE = """| plate | *lock*: outside the person stays what was filmed, at the video's own size, and while sampling what is made is fitted to it. *composite*: only put back afterwards. *off*: the whole picture is made anew, at the size of the result |
| plate_grow, plate_feather | how far around the person's outline is made too, and over how many pixels more that fades into what was filmed; raise them for bigger hair or clothes (advanced inputs) |
"""

REPLACEMENT = f"""# Replacement

The character of the **reference picture** replaces a person in the **driving video**; the scene of the video is kept.
{INPUTS_HEAD}| Reference picture | the new character, **as large in the picture as the person in the first driving frame**: the reference determines the size of the character, the mask only its position |
| Reference mask | the character blue, the rest **black** |
| Driving video | the video to change, any length |
| Driving mask | the person to replace blue, the rest **white** |
| Prompt | the finished video in 80 to 140 words; name the new character's clothes and everything they touch |

The backgrounds of the masks are the reverse of animation. Masks made for animation also work, because **contradicting_background** is set to *repaint* here.
{_MASK_HELP}{PARAMETERS}{REPLACEMENT_BACKGROUND}{PLATE}
**Preview SCAIL-2 Plate** shows what stays, what is made, and what has to be invented where the new character is smaller.
{RESULT}"""

TWO_PEOPLE = f"""# Two people

Two characters in one **reference picture** follow two people of the **driving video**. The colours bind them: blue follows blue, red follows red, wherever they stand. Up to six people work in the same way.
{INPUTS_HEAD}| Reference picture | both characters in one picture |
| Reference mask | one character blue, the other red, the rest white |
| Driving video | both people, any length |
| Driving mask | one person blue, the other red, the rest black |
| Prompt | the finished video in 80 to 140 words; both characters and their positions |

A colour in only one of the masks stops the run with a message. If the two are mixed up, swap the colours in **one** mask.
{_MASK_HELP}{_SAMPLING_HELP}"""

ADDITIONAL_REFERENCE = f"""# Additional reference

A second picture shows what the first cannot: here the **back** of the character, for a driving video with a turn. The model was not trained with additional references, so compare with a run without one.
{INPUTS_HEAD}| Reference picture | the character at the beginning of the video; it also provides the scene |
| Reference mask | the character blue, the rest white |
| Additional picture | the same character from another side, **same size as the reference picture** |
| Additional mask | the character blue, the rest **black**. For a picture of the empty scene: all white |
| Driving video, driving mask | the motion; the person blue, the rest black |
| Prompt | the finished video in 80 to 140 words |

**Batch Images** combines the pictures, the primary first, and the masks in the same order. It has more inputs for more pictures. Pictures of another size would be cropped to the size of the first.
{_MASK_HELP}{_SAMPLING_HELP}"""

LONG_VIDEO = f"""# Long video

The workflow **animation** for driving videos of several segments: finished segments are kept on disk, parts can be made again, and colour drift is measured.
{INPUTS_HEAD}| Reference picture | the character, about as large in the picture and posed about as in the driving video's first frame |
| Reference mask | the character blue, the rest white |
| Driving video | the motion, any length. Connect the video itself, not its frames, which would all be held in memory |
| Driving mask | the person blue, the rest black |
| Prompt | the finished video in 80 to 140 words: who, clothes, what they do, where, light |

Masks, sizes and the official settings are explained in the workflow **animation**. For replacement set *mode* of **Bind SCAIL-2 Identities**, with masks as in the workflow **replacement**.

## Before a run of hours

- **What is wrong, and what it takes** shows the number of segments, and estimates memory, disk space and time. Click **Check**, then the play button in the small bar above it: only the check is run.
- Leave *control after generate* of the seed on *fixed*. Another seed is another job.
- Try the settings on a short part of the video first.

## If it is interrupted

Cancelled, crashed, disk full, power cut: **queue the same graph again**. Finished segments are reused and only the rest is made. They are in output/scail2_jobs, in the folder named in **Report** and in the log; *so-far.mp4* is the finished part of the video.

## If a part is not good

These are advanced inputs of **Sample SCAIL-2 Video**; its help page explains them all. Segments before the change are kept.

| Setting | Meaning |
|---|---|
| remake | numbers of the segments to make again, such as *3, 5-6*, with *remake_seed*; another seed gives another result |
| remake_scope | whether later segments are made again from the new ones, or do not change |
| plan | what is different in some segments, as JSON: *[{{"segments": "3-5", "prompt": "..."}}]*. Prompts need the text encoder at *clip* |
| scene_cuts | frames or times at which the driving video cuts to another scene; each scene begins without history |
| codec | *h265 10-bit* or *lossless* for post-production; changing it later needs no new sampling |

New frames of the segments begin at 0, 81, 157, 233 and so on, 76 more each time.

## How far it drifts

**Measure Video Drift** plots colour, contrast, sharpness and movement over the frames. Green lines are good seams, amber visible, red strong; **Verdict of each seam** has the numbers. Compare two settings on the same driving video. The defaults are the official settings; *history*, *history_strength*, *colour_match* and *noise* can reduce drift, and the help page of the sampler has measurements.

## What is kept on disk

**Manage SCAIL-2 Jobs** lists the jobs, here before the run. *clear finished* removes finished ones; files of **Save Video** are kept. Set it back to *list* afterwards.

The result has exactly as many frames as the driving video, with its frame rate and sound.
"""

KSAMPLER = """# One segment, with ComfyUI's own sampler nodes

To intervene between the steps: **Build SCAIL-2 Motion Latent** prepares one segment, **SCAIL-2 Schedule** gives the official solver and noise levels, and ComfyUI's **SamplerCustom** samples. Other samplers also work. **Sample SCAIL-2 Video** (see the animation workflow) does all of this for any length.

## Inputs

| Node | What to put in |
|---|---|
| Reference picture, mask | the character; blue on white |
| Driving video, mask | the motion; the person blue on black |
| Prompt | the finished video in 80 to 140 words |

## Parameters

| Setting | Meaning |
|---|---|
| start_frame | driving frame at which the new frames begin |
| length | frames of the segment, 4n+1; the model was trained with at most 81. If the video ends earlier, the segment is shorter; **frames** is the number of real frames, and **Only the real frames** trims the rest |
| solver, steps, shift, cfg | unipc, 40, 3, 5 are the official settings |

## To continue after frame 81

For driving videos of more than 81 frames: select the nodes of the two grey groups (hold **Ctrl** and drag a box), press **Ctrl+M** to enable them, and run. Segment 2 continues from the last 5 frames of segment 1 (*previous_frames*), starts new frames at *start_frame* 81, drops the 5 repeated frames, joins both segments and saves them. For a third segment copy the group **Segment 2**, with *start_frame* 157 (81 + 76).
"""

DISTILLED_DRAFT = f"""# Draft with a distilled LoRA

Animation in 8 steps without guidance: a tenth of the work of the full settings. Good for testing masks, reference and prompt; then use the animation workflow for the final version.
{INPUTS_HEAD}| Reference picture, mask | the character; blue on white |
| Driving video, mask | the motion; the person blue on black |
| Prompt | the finished video in 80 to 140 words |
{_MASK_HELP}
## Parameters

| Setting | Meaning |
|---|---|
| LoRA strength, steps, shift, guidance | 1, 8, 1, 1: the authors' settings for this LoRA (they used rank 128) |
| solver | unipc; euler is also common with distilled LoRAs |
| negative prompt, negative_strength | at guidance 1 the negative prompt has no effect unless *negative_strength* (advanced inputs of **Sample SCAIL-2 Video**) is above 0, which costs a few percent of time. Name what to avoid in a few words, such as *talking, subtitles* |

## The prompt in a file

**Save Prompt Embedding** writes the encoded prompt to models/scail2_prompts. To run without the text encoder (6.7 GB) next time: press **R**, select the two grey nodes under **Saved prompt**, press **Ctrl+M** to enable them, connect them to *positive* and *negative* of **Sample SCAIL-2 Video**, and disable the nodes of the group **Prompt** in the same way.
"""

SAM3_TRACKERS = """
| max_objects | how many people to follow: **exactly the number you need**. With more, SAM3 searches every frame for new people, and adds whatever it mistakes for a person |
| detection_threshold | lower it if a person is not found, raise it if something else is taken for a person |
"""

SAM3_LOOK = """
## Look before you run

Click a preview under **Check the masks**, then the play button in the small bar above it: only what the preview needs is run. The masks are cached, so the full run continues with sampling.
"""

SAM3_MISTAKES = """
- **A cut, or a person that leaves and returns:** SAM3 loses the person, or follows another one. Use one shot that shows all people from its first frame on.
- **Ragged masks:** *grow*, *feather*, *fill_holes* and *keep_largest* of **Bind SCAIL-2 Identities** (advanced inputs) clean up the driving masks.
- **Another SAM file:** only SAM 3.1 (multiplex) works here.
"""

SAM3_REST = """
Size, solver and segments are explained in the workflow **animation**. The result has exactly as many frames as the driving video, with its frame rate and sound.
"""

SAM3_ONE_PERSON = f"""# Animation without mask files: one person

The character of the **reference picture** performs the motion of the person in the **driving video**. SAM 3.1 finds both by a word and follows the person through the video.
{INPUTS_HEAD}| Reference picture | the character, about as large in the picture and posed about as in the driving video's first frame; no other people |
| Driving video | the motion, any length |
| Whom to find | one or two English words: person, woman, dancer, robot. A comma separates two kinds |
| Prompt | the finished video in 80 to 140 words: who, clothes, what they do, where, light |

## SAM3

| Setting | Meaning |
|---|---|{SAM3_TRACKERS}{SAM3_LOOK}
## Likely mistakes

- **No person is found** (a message says in which of the two): use another word, or a lower *detection_threshold* in that node.
- **The wrong person is followed:** SAM3 takes the person with the highest score. Use **sam3_points**, or **sam3_several_people** with *binding*.{SAM3_MISTAKES}{SAM3_REST}"""

SAM3_SEVERAL_PEOPLE = f"""# Several people without mask files

Two characters in one **reference picture** follow two people of the **driving video**. SAM 3.1 finds all of them by a word; **Bind SCAIL-2 Identities** sets who follows whom. Up to six people work in the same way.
{INPUTS_HEAD}| Reference picture | both characters in one picture |
| Driving video | both people, any length |
| Whom to find | one or two English words that fit all people: person |
| Prompt | the finished video in 80 to 140 words; both characters and their positions |

## Who is who

| Setting | Meaning |
|---|---|
| order | how SAM3's people are numbered in both masks: left to right where they are first seen, or by size. The previews show the numbers |
| binding | who follows whom, as reference:driving. *1:1, 2:2* keeps the order; *1:2, 2:1* swaps it. People that are not named are left out. Empty: equal numbers; *by position*: the nearest |

## SAM3

| Setting | Meaning |
|---|---|{SAM3_TRACKERS}{SAM3_LOOK}
## Likely mistakes

- **Bystanders:** raise *max_objects* until the preview shows all people, then name only the right ones in *binding*.
- **A person is missing:** lower *detection_threshold*. If two people stand close together, SAM3 may take them for one: begin the video where they stand apart.
- **People that change places** keep their numbers; the numbers come from where they are first seen.{SAM3_MISTAKES}
## The same video again

**Save SCAIL-2 Tracks** keeps the masks in models/scail2_tracks. For other characters on the same video: press **R**, select the grey node **Saved tracks**, press **Ctrl+M** to enable it, connect it to *driving_masks* instead of **Follow in the driving video**, and disable that node in the same way.
{SAM3_REST}"""

SAM3_POINTS = f"""# Replacement, the person picked by points

The character of the **reference picture** replaces **one** person in the **driving video**; all other people and the scene are kept. Points mark the person, SAM 3.1 finds the outline and follows it.
{INPUTS_HEAD}| Reference picture | the new character, from head to feet if the person is. **Reframe SCAIL-2 Reference** gives it the place and size of the person in the first driving frame; its preview shows both |
| Driving video | the video to change, any length; the person is in its **first frame** |
| Points in the first driving frame | two or three places on the person, in pixels from the top left |
| Points in the reference picture | the same for the character |
| Prompt | the finished video in 80 to 140 words; name the new character's clothes and everything they touch |

## Points

Written as *[{{"x": 253, "y": 102}}, {{"x": 253, "y": 230}}]*: the head and the chest. Any image editor shows the pixel under the cursor; **Picked** shows what SAM3 makes of it. For places that do **not** belong to the person, connect another **Input Text** to *negative_coords*.
{SAM3_LOOK}
## Likely mistakes

- **Only the shirt is picked:** add points on head, body and legs.
- **Nothing or something else is picked:** the points are for another size. They are pixels of the picture or video **itself**, not of a smaller view of it.
- **The person is hidden or outside the picture in the first frame:** begin the video later.{SAM3_MISTAKES}{SAM3_REST}"""

_FIRST_FIELDS = """| who moves in the clip | one or two English words for the person whose motion counts: person, woman, dancer, man in red |
| who is in the picture | the same for the character: person, girl, robot, cat |
"""

_FIRST_SIZE = """| width, height | size of the video, multiples of 32. For an upright clip 512 and 896; 1280 and 704 is finer and takes three times as long |
| seconds of the clip | how much of it is used, from its beginning; 0 is all of it, of any length |
"""

_FIRST_REST = """
4. Press **Run**. **Whom it has found** appears first: if the wrong person is coloured, or nobody, press the X beside **Run**, change the word, and run again. **What the check says** has the time that it will take, and what looks doubtful. The video comes last, and is kept in ComfyUI/output/video.

If the run breaks off, press **Run** again: finished parts are kept. If the video is not good, another *seed* may help: it is inside.

## What is inside

The video has 16 frames a second, as the model was trained, and the sound of the clip. The blue node holds all other nodes: click the arrow in its corner to look. It makes a draft of 8 steps with the distilled LoRA, in a tenth of the time of the official settings. For those: bypass **Distilled LoRA** inside (**Ctrl+B**), and set *steps* 40, *shift* 3, *guidance* 5 in the last two nodes.

## If it does not work

- **Models are missing:** the list on the page says which file goes into which folder. Press **R** when all are there.
- **No person is found:** use a plainer word (*person*), or a clip in which the person is larger.
- **The wrong person is followed, or there are several:** the workflows **sam3_points** and **sam3_several_people** are for that.
- **A cut in the clip:** use one shot that shows the person from its first frame on.
- **Too little memory:** a smaller size, or fewer seconds; a clip in 4K should be made smaller first.
"""

ANIMATE_A_PICTURE = f"""# Animate a picture

The character of your **picture** moves like the person in your **clip**, in the place that the picture shows.

1. **Picture:** one character, best from head to feet if the clip shows the person so, and in about the same pose.
2. **Clip:** one person, in view from the first frame on, without a cut.
3. Fill in the fields of the blue node:

| Field | What to write |
|---|---|
{_FIRST_FIELDS}| prompt | who, which clothes, what they do, where, which light. The text that is there fits any picture; your own of about 100 words fits better |
{_FIRST_SIZE}{_FIRST_REST}"""

REPLACE_A_PERSON = f"""# Replace a person

The character of your **picture** takes the place of the person in your **clip**; the rest of the clip stays.

1. **Picture:** one character, best from head to feet if the clip shows the person so. Its surroundings are not used.
2. **Clip:** the video to change. The person is in view from the first frame on, without a cut.
3. Fill in the fields of the blue node:

| Field | What to write |
|---|---|
{_FIRST_FIELDS}| prompt | the new character, its clothes, what it does and touches, the place. The text that is there fits any picture; your own of about 100 words fits better |
{_FIRST_SIZE}| plate: the place as it was filmed | *lock* and *composite* leave everything outside the person as it was filmed, and the video has the size of the clip; with *lock* what is made is fitted to it. *off* makes the whole picture anew, at width and height |
{_FIRST_REST}"""

FROM_CORE_NODES = """# From core's nodes to these

The graph of ComfyUI's own template for replacement, made with the nodes of this pack and with the same settings: 6 Euler steps on the *simple* scheduler, shift 5, the distilled LoRA at 0.8. The titles of nodes and groups say what stays, and for what a node stands. It makes a video of any length, where the template has a subgraph for each segment.

## What takes the place of what

| Core's graph | Here |
|---|---|
| Load Diffusion Model, or a GGUF loader | **Load SCAIL-2 Model**; a MODEL of another loader works too |
| Load LoRA, ModelSamplingSD3, patches of the MODEL | the same nodes. *shift* of the sampler must be the shift that is set on the MODEL |
| Load CLIP, CLIP Text Encode, Load VAE, Load CLIP Vision | the same nodes |
| Load Video, Get Video Components | the same nodes. Connect the **VIDEO** to our nodes: its frames then need not be in memory together |
| VHS Load Video with *force_rate* 16, *select_every_nth*, *frame_load_cap* | Load Video; *rate* 16 of the sampler picks frames by time stamp, from masks too. **Trim Video** for a part |
| Get Image from Batch, math for *segment_index* and *video_frame_offset*, previous_frames | nothing: the sampler plans the segments. *segment_length*, *overlap* |
| SAM3 nodes | the same nodes |
| Create SCAIL-2 Colored Mask | **Bind SCAIL-2 Identities**: *mode* is replacement_mode for all nodes; *binding* says who follows whom (object_indices); *order* is sort_by |
| colour masks drawn elsewhere | **Bind SCAIL-2 Identities** takes them as they are, and plain MASKs |
| Resize, crop or pad of the reference | **Encode SCAIL-2 Reference** crops as the official code does; **Reframe SCAIL-2 Reference** puts the person where the driving person stands |
| CLIP Vision Encode | inside **Encode SCAIL-2 Reference** |
| WanSCAILToVideo: *width*, *height* | **Encode SCAIL-2 Reference** |
| WanSCAILToVideo: *pose_start*, *pose_end*, *pose_strength* | *driving_start*, *driving_end*; a strength for some segments in *plan* |
| KSamplerSelect, BasicScheduler, other SAMPLER and SIGMAS | the same, at *sampler* and *sigmas* of **Sample SCAIL-2 Video**; or leave both free: *solver*, *steps*, *shift* are the official ones |
| SamplerCustom, KSampler, VAE Decode, of each segment | **Sample SCAIL-2 Video**, once |
| Color Transfer, Color Match between segments | *colour_match*, or nothing: the drift of each seam is measured |
| Batch Images, Create Video, VHS Video Combine | nothing: the sampler gives a VIDEO with all frames and the sound. **Save Video** |
The page docs/from-core.md of this pack has more of it: nodes of other packs, and settings one by one.

## What to put in

| Node | What to put in |
|---|---|
| Reference picture | the new character, as large in the picture as the person in the first driving frame |
| Driving video | the video to change, any length |
| Whom to find | one or two English words: person, woman, dancer |
| Prompt | the finished video in 80 to 140 words |

The result has exactly as many frames as the driving video, with its frame rate and sound.
"""
