"""Notes of the workflows for other kinds of driving video, and for a person who is picked by place.

Each paragraph is a single line, because the frontend's notes lose the space between two lines.
"""
# ruff: noqa: E501

from .notes import INPUTS_HEAD, SAM3_LOOK, SAM3_MISTAKES, SAM3_REST, SAM3_TRACKERS

ANIMAL = f"""# An animal as the driver

The character of the **reference picture** performs the motion of the **animal** in the driving video. SAM 3.1 finds both by a word.

**What to expect:** SCAIL-2 was trained with people. Its authors name animals among the things that it can follow without training (*zero-shot*) and give no figures. Try a short clip first. **Check** says so too, because *names* of **Bind SCAIL-2 Identities** says that it is an animal.
{INPUTS_HEAD}| Reference picture | the character: best an animal of about the same build (four legs for four legs), seen from the same side, about as large and posed about as in the driving video's first frame |
| Driving video | the animal, in view from nose to tail from the first frame on |
| What moves in the clip | the kind of animal: dog, cat, horse. *animal* works where there is only one |
| What is in the picture | the same for the character: fox, dog, robot |
| Prompt | the finished video in 80 to 140 words: which character, its fur or clothes, **which leg does what**, where, light. With an animal the prompt matters more, because there is less in the clip that the model knows |

The clip itself is the driving video. A rendered skeleton or body mesh is not for animals: NLF and SAM 3D Body know human bodies only.

## SAM3

| Setting | Meaning |
|---|---|{SAM3_TRACKERS}{SAM3_LOOK}
## Likely mistakes

- **No animal is found** (a message says in which of the two): name the kind (*dog* instead of *animal*), or lower *detection_threshold* in that node.
- **The character moves like a person:** say in the prompt how it moves; choose a picture in which it stands as the animal does.
- **Several animals:** as with people, up to six: raise *max_objects*, and *order* and *binding* as in **sam3_several_people**.{SAM3_MISTAKES}{SAM3_REST}"""

REPLACEMENT_BY_OVERLAP = f"""# Replace whoever stands where the character stands

The character of the **reference picture** replaces **one** of the people in the **driving video**: the one at the same place. SAM 3.1 finds everybody by a word; *binding* **by overlap** picks the person whose mask in the first frame overlaps the character's most, and leaves the others and the scene as they are. It is what the official script calls *--matchnearest*.
{INPUTS_HEAD}| Reference picture | the new character, standing where the person to replace stands in the first driving frame, and as large: for example the first frame itself, edited |
| Driving video | the video to change, any length; everybody is in its **first frame** |
| Whom to find | one or two English words that fit everybody: person |
| Prompt | the finished video in 80 to 140 words; name the new character's clothes and everything they touch |

The character keeps its own colour: it is blue on both sides, whether it replaces the left or the right person. (The official script gives it the colour of the place, so it could be red in the video and blue in the picture.) If it stands where nobody stands, the run stops and says so, and the table on **Bind SCAIL-2 Identities** is there to choose.

## SAM3

| Setting | Meaning |
|---|---|{SAM3_TRACKERS}{SAM3_LOOK}
## Likely mistakes

- **The wrong person is replaced:** two people stand close together. Choose in the table on **Bind SCAIL-2 Identities**, or use **sam3_points**.
- **Somebody is missing in the preview:** raise *max_objects* of **Follow in the driving video**.{SAM3_MISTAKES}{SAM3_REST}"""

_SIZES = ("| width, height | size of the result, multiples of 32. The authors advise 704p for this kind of driving video; 896x512 takes "
          "a third of the time |\n")
_SAMPLING = f"""
## Parameters

| Setting | Meaning |
|---|---|
{_SIZES}| solver, steps, shift, guidance | unipc, 40, 3, 5 are the official settings |

The result has exactly as many frames as the driving video, with its frame rate and sound.
"""

POSE_DRIVEN = f"""# Driven by a skeleton

The motion of the **driving video** becomes a 3D skeleton with face and hands, as the authors' script draws it, and the character of the **reference picture** follows that. Nothing of the looks, clothes and place of the filmed person can get into the result. It gives more control in very hard scenes; in most cases the clip itself is better (workflow **sam3_one_person**), above all where things are touched.

## Inputs

| Node | What to put in |
|---|---|
| Reference picture | the character, from head to feet if the person is |
| Driving video | the motion, any length, **from head to hips at least**: of a head and shoulders a detector may find no body |
| Whom to find | one or two English words: person, woman, dancer |
| Prompt | the finished video in 80 to 140 words: who, clothes, what they do, where, light |

## What happens

1. SAM 3.1 follows the person, so that everybody's skeleton gets the right colour, and bystanders none.
2. **Load NLF Model** and **Read SCAIL-2 Poses**: NLF finds the body in space, with everything but the person painted over, as the authors do. NLFPRED of another pack's NLF nodes fits too, in place of the model.
3. SDPose finds face and hands. Without *detail* the skeleton has none.
4. The poses go to *driving_masks* of **Bind SCAIL-2 Identities** and to *driving* of the other nodes. They are drawn a segment at a time.

**NLF's weights are for non-commercial research only.** The workflow **mesh_driven** has a detector without that limit (SAM 3D Body): its *mhr_pose_data* connected to *poses* here gives the same skeleton, and hands.

## The size of the character

A skeleton brings the filmed person's build along. If the character is a child or a giant: select the nodes of the grey group (hold **Ctrl** and drag a box), press **Ctrl+M** to enable them, and connect *poses* of **Retarget SCAIL-2 Poses** wherever *poses* of **Save SCAIL-2 Poses** goes.

## The same video again

**Save SCAIL-2 Poses** keeps the poses in models/scail2_poses. For another character on the same video: press **R**, enable the grey node **Saved poses** (**Ctrl+M**), connect it instead, and disable the groups that found the poses. It also reads .npz and .json files with the joints of any other detector.

## Likely mistakes

- **No body in any frame:** the clip shows a head only. Use the clip itself as the driving video.
- **A frame without a skeleton:** whoever is overlooked for up to three frames keeps the last pose (*hold*). The report lists longer gaps.
- **It trembles:** *smooth* 1 of **Read SCAIL-2 Poses**.
- **Several people:** raise *max_objects* of both SAM3 nodes, and set *binding* as in **sam3_several_people**.
{_SAMPLING}"""

MESH_DRIVEN = f"""# Driven by a body mesh

The motion of the **driving video** becomes a body mesh of SAM 3D Body, which ComfyUI's own nodes find and draw, and the character of the **reference picture** follows it. SCAIL-2 was not trained with meshes; its authors show them as a thing that works without (*zero-shot*), and measure about what a skeleton gives.

It needs a ComfyUI with SAM 3D Body (0.34 or later). In an older one the nodes **Load SAM3D Body Model** and **Run SAM3D Body Prediction** are red: update, or use **pose_driven**.

## Inputs

| Node | What to put in |
|---|---|
| Reference picture | the character, about as large in the picture and posed about as in the driving video's first frame |
| Driving video | the motion. Bodies and their pictures are held in memory: some minutes at most |
| Whom to find | one or two English words: person, woman, dancer |
| Prompt | the finished video in 80 to 140 words: who, clothes, what they do, where, light |

## What happens

1. SAM 3.1 follows the person. Connected to *track_data*, it says where to look.
2. **Run SAM3D Body Prediction** finds the body. *fov* is vertical: 33.1 for 16:9, 55 for an upright clip, as the camera of the official code has it. 0 leaves it to the node.
3. **Read SCAIL-2 Poses** says who is who, and drops bodies that were made up for an empty mask.
4. **Render SCAIL-2 Poses** with *style* mesh has ComfyUI draw the mesh, and draws the masks that belong to it. *official* draws the skeleton instead.
5. **Create Video** gives the pictures rate and sound of the clip.

## Likely mistakes

- **Bodies are too near, too far or of the wrong size:** set *fov* to that of your camera.
- **It trembles:** put **Smooth SAM3D Body Pose Data** between prediction and poses. *smooth* of **Read SCAIL-2 Poses** does not touch a mesh.
- **Several people:** raise *max_objects* of both SAM3 nodes, and set *binding* as in **sam3_several_people**.
{_SAMPLING}"""
