"""Trains each model of this folder for two steps and compares what transformers reads in the run's folder with what we compute.

    env/bin/pip install torch==2.15.0 transformers==5.24.0
    env/bin/python check.py BACKPROPANE [NAME …]        (in this folder; BACKPROPANE is the binary)

For each model: the relative L2 error of the logits, and the largest one of a gradient, in fp16 and in fp32.
"""
import pathlib
import subprocess
import sys
import tempfile

import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

binary = str(pathlib.Path(sys.argv[1]).resolve())
names = sys.argv[2:] or sorted(p.parent.name for p in pathlib.Path(".").glob("*/model.safetensors"))
LIMITS = {"f16": (2e-3, 2e-2), "f32": (1e-5, 1e-4)}


def off(got, want):
    return ((got.double() - want.double()).norm() / want.double().norm()).item()


failed = False
for name in names:
    with tempfile.TemporaryDirectory() as folder:
        data, out, tokens = f"{folder}/d.bin", f"{folder}/run", f"{folder}/t.safetensors"
        torch.manual_seed(1)
        ids = torch.randint(3, 48, (1, 25), dtype=torch.int32)
        save_file({"tokens": ids}, tokens)
        open(data, "wb").write(torch.randint(3, 48, (4000,)).to(torch.uint16).numpy().tobytes())
        run = lambda *args: subprocess.run([binary, *args], check=True, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        run("train", "--model", name, "--data", data, "--steps", "2", "--seq", "24", "--batch", "2", "--out", out)
        model = AutoModelForCausalLM.from_pretrained(out, attn_implementation="eager", dtype=torch.float64)
        logits = model(ids[:, :-1].long()).logits
        torch.nn.functional.cross_entropy(logits[0], ids[0, 1:].long()).backward()
        for storage, limits in LIMITS.items():
            run("grads", "--model", out, "--tokens", tokens, "--out", f"{folder}/g.safetensors", "--storage", storage)
            ours = load_file(f"{folder}/g.safetensors")
            errors = [off(ours["logits"], logits.detach()), max(off(ours[f"grad.{k}"], w.grad) for k, w in model.named_parameters())]
            good = all(e <= limit for e, limit in zip(errors, limits))
            failed |= not good
            print(f"{name:20} {storage}  logits {errors[0]:.1e}  gradients {errors[1]:.1e}  {'' if good else 'TOO FAR'}", flush=True)
sys.exit(failed)
