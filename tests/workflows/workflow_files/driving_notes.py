"""Notes of the workflows for other kinds of driving video, and for who is meant by where he stands.

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

The clip itself is the driving video. A rendered skeleton or body mesh is not for animals: NLF and SAM 3D Body know human bodies only, and answer with a crouching person.

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
