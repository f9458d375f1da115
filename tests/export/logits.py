"""Reads exported folders and files with transformers, and compares logits with those of `backpropane grads --storage f32`.

    python3 -m venv env && env/bin/pip install torch==2.15.0 transformers==5.24.0 gguf==0.19.0 tokenizers
    env/bin/python tests/export/logits.py path/to/backpropane [MODEL...]

A MODEL is a folder of Hugging Face's format or a GGUF file of numbers that are not quantised; without one, tiny models are made and
exported as GGUF, one of each type that transformers reads from GGUF.

Its reader knows fewer keys than llama.cpp (`integrations/ggml.py`): not those of scaled RoPE, bounds of scores and logits, windows
of a `llama`, biases, the width of a Qwen 3's heads, nor the types `gemma` and `smollm3`. The tiny models have there what it assumes.
"""
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

import llama_cpp

# What transformers assumes of keys that it does not read.
TINY = {
    "llama": dict(model_type="llama"),
    "mistral": dict(model_type="mistral", sliding_window=None),
    "qwen2": dict(model_type="qwen2", head_dim=8),
    "qwen3": dict(model_type="qwen3", head_dim=128),
    "gemma2": dict(model_type="gemma2", head_dim=256, sliding_window=6, tie_word_embeddings=True),
    "gemma3": dict(model_type="gemma3_text", head_dim=256, num_hidden_layers=7, sliding_window=6, tie_word_embeddings=True),
}


def compare(binary, name):
    """The relative L2 error of the logits of the model at `name`."""
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
    return ((ours - theirs).norm() / theirs.norm()).item()


def check(name, worst):
    print(f"{name}: relative L2 error {worst:.1e}", flush=True)
    # f32 sums in another order.
    assert worst < 1e-4, name


binary, *models = sys.argv[1:]
for name in models:
    check(name, compare(binary, name))
for name in TINY if not models else []:
    with tempfile.TemporaryDirectory() as place:
        llama_cpp.CASES[name] = TINY[name]
        llama_cpp.make(name, f"{place}/m")
        subprocess.run([binary, "export", f"{place}/m", f"{place}/m.gguf", "--to", "gguf"], check=True, stdout=subprocess.DEVNULL)
        check(name, compare(binary, f"{place}/m.gguf"))
