"""Notes of the workflows that make a part of what was filmed large. A paragraph is a line, as in `notes.py`."""
# ruff: noqa: E501

from .notes import INPUTS_HEAD

_WINDOW = """
## The window

**Crop SCAIL-2 Person** follows one person with a steady window of the shape of *width* and *height*, never outside the picture. Its preview shows the window, and what is in it.

| Setting | Meaning |
|---|---|
| person | who, by the number in **Check the masks** |
| width, height | size at which the person is made, multiples of 32; set the same in **Encode SCAIL-2 Reference**. 512x896 fits a person who stands, 512x512 a face |
| margin | how much is seen around; more shows the model more of the place, and makes the person smaller |
"""

_BACK = """
## Back where it was filmed

**Paste SCAIL-2 Person** puts the result into the full video at its own size, rate and sound. Outside of *grow* and *feather* around the mask every pixel stays as it was. If the person has another tint than the place, *match_colours* shifts the colours of what was made by what it differs in the soft edge.

Several people: repeat the part from **Crop SCAIL-2 Person** on, with another *person*, and connect the video of the first **Paste SCAIL-2 Person** to *plate* of the second one.
"""

SMALL_PERSON = f"""# A small person in a wide shot

The character of the **reference picture** replaces a person who is small in the **driving video**: below a quarter of the picture's height the model has few pixels to make a face, hands or clothes of. Here a window around the person is made large, and put back.
{INPUTS_HEAD}| Reference picture | the new character, from head to feet if the person is |
| Reference mask | the character blue, the rest **black** |
| Driving video | the wide shot, any length, at the size it was filmed |
| Driving mask | the person to replace blue, the rest **white** |
| Prompt | what the **window** shows, in 80 to 140 words: the new character close up, not the wide shot |
{_WINDOW}{_BACK}
## Parameters

| Setting | Meaning |
|---|---|
| solver, steps, shift, guidance | unipc, 40, 3, 5 are the official settings |
| seed | another seed gives another result |
"""

FACE_PASS = f"""# A face pass on a finished video

A face that came out soft is made again, large. Put in the video that you have made, with the masks that it was made with and the same reference picture. A close-up of the reference's head is made by itself, and given to the model as a second picture.
{INPUTS_HEAD}| Reference picture | the character whose face it is: the picture that the video was made from |
| Reference mask | the character blue, the rest **black** |
| Finished video | a video that was made, or any other |
| Driving mask | the same character blue in it, the rest **white**. After replacement or animation the masks of the driving video fit too |
| Prompt | what the **window** shows, in 80 to 140 words: the head and shoulders, the expression, the light |
{_WINDOW}
Without *faces* the head is estimated from the person's mask. Masks of faces, for example by SAM3 with the word *face*, or poses, say it better.
{_BACK}
## Parameters

| Setting | Meaning |
|---|---|
| solver, steps, shift, guidance | unipc, 40, 3, 5 are the official settings |
| seed | another seed gives another result |

This is a second sampling of the face, so its expression follows the finished video as a driving video, not to the pixel. Compare both before you keep it.
"""
