"""Makes the list of all keys of configurations in transformers, from which `config.json`'s keys are known by their names.

    env/bin/pip install torch==2.15.0 transformers==5.24.0
    env/bin/python record_keys.py        (in this folder)
"""
import pathlib

from transformers import CONFIG_MAPPING

keys = {}
for name, make in CONFIG_MAPPING.items():
    try:
        found = make().to_dict()
    except Exception:  # Some need arguments.
        continue
    # Models of text, and those that have such a part.
    if {"num_hidden_layers", "vocab_size"} <= found.keys():
        for key in found:
            if not key.startswith("_"):
                keys.setdefault(key, name)

to = pathlib.Path(__file__).parent.joinpath("../../crates/train/src/config/hugging_face/transformers_keys.txt")
to.write_text("".join(f"{key}\n" for key in sorted(keys)))
print(len(keys))
