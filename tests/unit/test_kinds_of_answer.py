"""Kinds of answers that language models give: each is a prompt after a mend that loses nothing, or one sentence says
what is wrong."""

import pytest
from language_server import PROMPT

from scail_model.prompting.answer import CUT, REFUSED, Answer, answer_fault, mended, prompt_fault

LINES = PROMPT.replace(". ", ".\n")
MENDED = {
    "as it should be": PROMPT,
    "double quotes": f'"{PROMPT}"',
    "typographic quotes": f"“{PROMPT}”",
    "single quotes and a line break": f"'{PROMPT}'\n",
    "bold": f"**{PROMPT}**",
    "a code fence": f"```\n{PROMPT}\n```",
    "a code fence with a language": f"```text\n{PROMPT}\n```",
    "a line for each sentence": LINES,
    "two paragraphs": LINES.replace("\n", "\n\n", 1),
    "Windows line ends": LINES.replace("\n", "\r\n"),
    "a preamble": f"Here is the prompt:\n\n{PROMPT}",
    "a preamble with praise": f"Sure! Here's a description of the finished scene:\n{PROMPT}",
    "a preamble and quotes": f'Here is the final prompt:\n"{PROMPT}"',
    "a label": f"Prompt: {PROMPT}",
    "a bold label": f"**Final prompt:** {PROMPT}",
    "a preamble in the same line": f"Here is the prompt: {PROMPT}",
    "thoughts": f"<think>\nThe user wants...\n</think>\n\n{PROMPT}",
    "thoughts without their beginning": f"The user wants to replace...\n</think>\n\n{PROMPT}",
    "thoughts by another name": f"<thought>The user wants...</thought>{PROMPT}",
    "thoughts of Magistral": f"[THINK]The user wants...[/THINK]{PROMPT}",
    "a channel of thoughts": f"<|channel>thought\nThe user wants...<channel|>{PROMPT}",
    "channels of gpt-oss": "<|channel|>analysis<|message|>Replace...<|end|><|start|>assistant"
                           f"<|channel|>final<|message|>{PROMPT}",
    "a bold heading": f"**Prompt**\n\n{PROMPT}",
    "a heading of Markdown": f"### Final Prompt:\n{PROMPT}",
    "a tag": f"<answer>\n{PROMPT}\n</answer>",
    "thoughts and a tag": f"<think>Hm.</think><prompt>{PROMPT}</prompt>",
    "a rule on both sides": f"---\n\n{PROMPT}\n\n---",
    "a count of words": f"{PROMPT}\n\n(75 words)",
    "a count of words with a label": f"{PROMPT}\n\n**Word count: 75**",
    "a note": f"{PROMPT}\n\nNote: this keeps the light of the kitchen.",
    "a question at the end": f"{PROMPT}\n\nWould you like me to make it shorter?",
    "an offer at the end": f"Here is the prompt:\n\n{PROMPT}\n\n---\n\nLet me know if you want changes!",
    "a byte order mark": f"\ufeff{PROMPT}",
    "the token of the end": f"{PROMPT}<|im_end|>",
    "another token of the end": f"{PROMPT}</s>",
    "the box of GLM": f"<|begin_of_box|>{PROMPT}<|end_of_box|>",
}
WRONG = {
    "nothing": ("", "is empty"),
    "blanks": (" \n ", "is empty"),
    "quotes around nothing": ('""', "is empty"),
    "only thoughts": ("<think>Hm. The man replaces", "is empty but for its thoughts"),
    "a refusal": ("I'm sorry, but I can't help with this.", "is a refusal"),
    "a refusal with a typographic apostrophe": ("I’m sorry, I can’t do that.", "is a refusal"),
    "a refusal of an AI": ("As an AI, I do not see pictures.", "is a refusal"),
    "a refusal after thoughts": ("He wants me to...</think>I'm sorry, I can't.", "is a refusal (\"I'm sorry"),
    "a refusal in quotes": ('"I cannot help with this."', "is a refusal"),
    "a refusal in Chinese": ("很抱歉，我无法描述这位真实人物。", "is a refusal"),
    "a refusal in German": ("Es tut mir leid, dabei kann ich nicht helfen.", "is a refusal"),
    "an apology": ("Sorry, this picture shows a real person.", "is a refusal"),
    "a list": (f"- {PROMPT}\n- {PROMPT}", "is a list or has markup"),
    "a numbered list": (f"1. {PROMPT}\n2. More.", "is a list or has markup"),
    "a heading": (f"# The kitchen\n{PROMPT}", "is a list or has markup"),
    "bold words inside": (PROMPT.replace("woman", "**woman**"), "is a list or has markup"),
    "two to choose from": (f"Option 1:\n{PROMPT}\n\nOption 2:\n{PROMPT}", "holds several prompts"),
    "JSON": ('{"prompt": "' + PROMPT + '"}', "is code"),
    "HTML": (f"<p>{PROMPT}</p>", "is code"),
    "an order": ("Put the " + PROMPT, 'says "Put"'),
    "replace": (f"{PROMPT} The man is replaced by her.", 'says "replaced"'),
    "swap": (f"The swapped character moves on. {PROMPT}", 'says "swapped"'),
    "the reference image": (f"{PROMPT} She looks as in the reference image.", 'says "reference image"'),
    "the original video": (f"{PROMPT} The light is that of the original video.", 'says "original video"'),
    "the original person": (f"{PROMPT} The original person had no hat.", 'says "original person"'),
    "masks as tools": (f"{PROMPT} The masked region is filled.", 'says "masked region"'),
    "editing": (f"{PROMPT} The video was edited well.", 'says "edited"'),
    "cut off": (PROMPT[:-30], "breaks off in a sentence"),
    "a loop": (f"{PROMPT} " + "She smiles at the garden. " * 9, 'repeats itself ("She smiles at the garden.")'),
    "too long": (" ".join(f"Dancer number {n} lifts a heavy pan of iron." for n in range(60)),
                 "and the model reads 512"),
    "a word": ("Dancing.", "has only about"),
    "a short sentence": ("A woman dances in a kitchen.", "has only about"),
    "not letters": ("12345 67890 !!!", "is not text"),
    "half a character": (PROMPT.replace("woman", "wo\ud83dman"), "is not text"),
    "broken bytes": (PROMPT.replace("woman", "wo\ufffdan"), "is not text"),
}
FINE = {
    "a character with a mask": f"{PROMPT} A black mask covers her eyes.",
    "an image on the wall": f"{PROMPT} An image of a ship hangs on the wall.",
    "a video screen": f"{PROMPT} A video plays on a screen.",
    "quotes within": f'{PROMPT} Her shirt says "home".',
    "a note in it": f"{PROMPT} A note hangs on the wall.",
    "a number of words in it": f"{PROMPT} On the note are 12 words.",
    "a word with an order in it": f"Make-up shines on her cheeks. {PROMPT}",
    "an ellipsis": f"{PROMPT} Then all is still\u2026",
    "Chinese": "一位红色卷发的女人站在厨房里，她穿着绿色的裙子，戴着草帽，右手举起一口锅，慢慢转向左边的窗户。",
    "Hindi": "घुंघराले लाल बालों वाली एक लंबी महिला सफ़ेद टाइलों वाली रसोई में खड़ी है। वह हरे रंग की पोशाक पहने हुए "
             "लोहे का तवा उठाती है और धीरे-धीरे खिड़की की ओर मुड़कर उसे लकड़ी की चौखट पर रख देती है, फिर बाहर बगीचे की ओर देखती है।",
    "Arabic": "تقف امرأة طويلة ذات شعر أحمر مجعد في مطبخ مشمس وترتدي فستانا أخضر وقبعة من القش وترفع المقلاة "
              "بيدها اليمنى ثم تستدير ببطء نحو النافذة وتضعها على العتبة الخشبية "
              "وتنظر إلى الحديقة، فهل ترى الضوء الناعم على وجهها؟",
}


def fault(text, ending="whole", word=""):
    answer = Answer(text, ending, word)
    return answer_fault(answer) or prompt_fault(mended(text))


@pytest.mark.parametrize("kind", MENDED)
def test_mended(kind):
    assert mended(MENDED[kind]) == PROMPT
    assert fault(MENDED[kind]) is None


@pytest.mark.parametrize("kind", WRONG)
def test_wrong(kind):
    text, expected = WRONG[kind]
    found = fault(text)
    assert found is not None
    assert expected in found.what
    assert "\n" not in found.what
    assert found.final == ("refusal" in expected)


@pytest.mark.parametrize("kind", FINE)
def test_fine(kind):
    assert fault(FINE[kind]) is None
    assert mended(FINE[kind]) == FINE[kind]


def test_what_the_server_says_of_the_end_counts():
    assert "breaks off at the largest length" in fault(PROMPT, CUT, "length").what
    assert "reaches the largest length of an answer before its first word" in fault("", CUT, "length").what
    assert "before its first word" in fault("<think>The user wants", CUT, "length").what
    assert fault("", REFUSED, "SAFETY").what == "is a refusal (SAFETY)"
