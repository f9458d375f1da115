"""Records what transformers renders of every template here with every conversation: `python tests/chat/record.py`.

With the text it records the assistant's parts of it (as offsets in bytes) where the template marks them, or that it raised.
Needs transformers and jinja2.
"""

import datetime as dt
import json
import pathlib

import transformers
from transformers.utils import chat_template_utils as utils

HERE = pathlib.Path(__file__).parent
SPECIAL = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>"}


class Then(dt.datetime):
    @classmethod
    def now(cls, tz=None):
        return cls(2026, 11, 30, 12, 34, 56)


utils.datetime = Then


def case(template, conversation):
    text = template.read_text(encoding="utf-8")
    marked = "generation" in text and "endgeneration" in text
    try:
        rendered, parts = utils.render_jinja_template(
            conversations=[conversation["messages"]],
            tools=conversation.get("tools"),
            chat_template=text,
            add_generation_prompt=conversation.get("add_generation_prompt", False),
            return_assistant_tokens_mask=marked,
            **SPECIAL,
            **conversation.get("variables", {}),
        )
    except Exception as error:
        return {"error": str(error)}
    found = {"text": rendered[0]}
    if marked:
        size = lambda end: len(rendered[0][:end].encode())
        found["parts"] = [[size(start), size(end)] for start, end in parts[0]]
    return found


conversations = json.loads((HERE / "conversations.json").read_text(encoding="utf-8"))
cases = {
    template.stem: {name: case(template, conversation) for name, conversation in conversations.items()}
    for template in sorted((HERE / "templates").glob("*.jinja"))
}
record = {"transformers": transformers.__version__, "special": SPECIAL, "time": 1796042096, "cases": cases}
(HERE / "rendered.json").write_text(json.dumps(record, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
