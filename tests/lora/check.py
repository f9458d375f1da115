"""Trains adapters of each model of ../architectures and compares what PEFT computes with the run's folder with what we compute.

    env/bin/pip install torch==2.15.0 transformers==5.24.0 peft==0.21.2
    env/bin/python check.py BACKPROPANE [NAME …]        (in this folder; BACKPROPANE is the binary)

For each model: how far the adapter moved the logits, and the relative L2 error of ours beside PEFT's, in fp32, for an adapter of all
projections and for one with the embeddings.
"""
import pathlib
import subprocess
import sys
import tempfile

import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

binary = str(pathlib.Path(sys.argv[1]).resolve())
models = pathlib.Path("../architectures").resolve()
names = sys.argv[2:] or sorted(p.parent.name for p in models.glob("*/model.safetensors"))
LIMIT = 1e-5


def off(got, want):
    return ((got.double() - want.double()).norm() / want.double().norm()).item()


failed = False
for name in names:
    for flags in [["--lora", "4"], ["--lora", "3", "--rslora", "--lora-targets", "q,down", "--lora-layers", "1", "--train-embeddings"]]:
        with tempfile.TemporaryDirectory() as folder:
            data, out, tokens = f"{folder}/d.bin", f"{folder}/run", f"{folder}/t.safetensors"
            torch.manual_seed(1)
            ids = torch.randint(3, 48, (1, 25), dtype=torch.int32)
            save_file({"tokens": ids}, tokens)
            open(data, "wb").write(torch.randint(3, 48, (4000,)).to(torch.uint16).numpy().tobytes())
            run = lambda *args: subprocess.run([binary, *args], check=True, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
            run("train", "--model", str(models / name), "--data", data, "--steps", "8", "--seq", "24", "--batch", "2", "--warmup", "1",
                "--lr", "0.01", "--storage", "f32", "--out", out, *flags)
            run("grads", "--model", out, "--tokens", tokens, "--out", f"{folder}/g.safetensors", "--storage", "f32")
            load = lambda: AutoModelForCausalLM.from_pretrained(models / name, attn_implementation="eager", dtype=torch.float64)
            plain = load()(ids[:, :-1].long()).logits
            adapted = PeftModel.from_pretrained(load(), out).double()
            logits = adapted(ids[:, :-1].long()).logits
            error = off(load_file(f"{folder}/g.safetensors")["logits"], logits.detach())
            failed |= error > LIMIT
            print(f"{name:20} moved {off(plain, logits):.2f}  logits {error:.1e}  {'' if error <= LIMIT else 'TOO FAR'}", flush=True)
sys.exit(failed)
