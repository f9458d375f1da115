"""Reads exported folders and files with transformers, and compares logits with those of `backpropane grads --storage f32`.

    python3 -m venv env && env/bin/pip install torch==2.15.0 transformers==5.24.0 gguf==0.19.0
    env/bin/python tests/export/logits.py path/to/backpropane MODEL...

A MODEL is a folder of Hugging Face's format or a GGUF file of numbers that are not quantised.
"""
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

binary, *models = sys.argv[1:]
for name in models:
    path = Path(name)
    folder, more = (path, {}) if path.is_dir() else (path.parent, {"gguf_file": path.name})
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, **more).eval()
    tokens = torch.arange(33, dtype=torch.int32).mul(7).remainder(model.config.vocab_size)[None]
    with tempfile.TemporaryDirectory() as place:
        save_file({"tokens": tokens}, f"{place}/t.safetensors")
        subprocess.run([binary, "grads", "--model", name, "--tokens", f"{place}/t.safetensors", "--out", f"{place}/g.safetensors",
                        "--storage", "f32"], check=True, stdout=subprocess.DEVNULL)
        ours = load_file(f"{place}/g.safetensors")["logits"][0]
    with torch.no_grad():
        theirs = model(tokens[:, :-1].long()).logits[0]
    worst = ((ours - theirs).norm() / theirs.norm()).item()
    print(f"{name}: relative L2 error {worst:.1e}")
    # f32 sums in another order.
    assert worst < 1e-4, name
