"""Makes the folders of this directory: adapters that PEFT saves, and what PEFT computes with them on the models of
`../architectures`.

    python3 -m venv env && env/bin/pip install torch==2.15.0 transformers==5.24.0 peft==0.21.2
    env/bin/python record.py [NAME …]        (in this folder)

Each folder is what `save_pretrained` of PEFT writes, with random factors, and `expected.safetensors`, f32, computed in float64 on
the model's own tokens: `logits` [1, S, V], `loss` [1], and, for adapters of one rank, `grad.NAME` of every factor.
"""
import json
import pathlib
import sys

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

MODELS = pathlib.Path("../architectures")
ALL = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
PLAIN = sorted(p.parent.name for p in MODELS.glob("*/expected.safetensors"))
# Name: the model and the keys.
CASES = {name: (name, dict(r=3, lora_alpha=6, target_modules=ALL)) for name in PLAIN}
CASES["patterns"] = ("qwen2", dict(
    r=4, lora_alpha=6, use_rslora=True, target_modules="all-linear", rank_pattern={"v_proj": 2, r"layers\.1\.mlp\.\w+": 5},
    alpha_pattern={"layers.0.self_attn.q_proj": 9}))
CASES["dora"] = ("mistral", dict(r=3, lora_alpha=6, use_dora=True, target_modules=ALL))
CASES["whole"] = ("llama_bias", dict(
    r=2, lora_alpha=2, target_modules=["q_proj", "embed_tokens"], modules_to_save=["lm_head"], layers_to_transform=[1],
    layers_pattern="layers"))


def load(model):
    return AutoModelForCausalLM.from_pretrained(MODELS / model, attn_implementation="eager", dtype=torch.float64)


def make(name):
    model, keys = CASES[name]
    if name == "whole":
        keys = {k: v for k, v in keys.items() if not k.startswith("layers")}
    torch.manual_seed(sum(map(ord, name)))
    adapted = get_peft_model(load(model), LoraConfig(task_type="CAUSAL_LM", **keys))
    with torch.no_grad():
        for param, w in adapted.named_parameters():
            if "magnitude" in param:
                w.mul_(1 + 0.3 * torch.rand_like(w))
            elif "lora_" in param:
                w.normal_(0.0, 0.5 / w.shape[1] ** 0.5)
            elif "modules_to_save" in param:
                w.add_(0.2 * torch.randn_like(w))
    adapted.save_pretrained(name)
    folder = pathlib.Path(name)
    (folder / "README.md").unlink(missing_ok=True)
    config = json.loads((folder / "adapter_config.json").read_text())
    config["base_model_name_or_path"] = f"../../architectures/{model}"
    (folder / "adapter_config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
    # As f32, which is what is read here; loaded again, so that what is recorded belongs to the files.
    stored = folder / "adapter_model.safetensors"
    save_file({k: v.float().contiguous() for k, v in load_file(stored).items()}, stored, metadata={"format": "pt"})
    adapted = PeftModel.from_pretrained(load(model), name, is_trainable=True).double()
    tokens = load_file(MODELS / model / "expected.safetensors")["tokens"]
    logits = adapted(tokens[:, :-1].long()).logits
    loss = torch.nn.functional.cross_entropy(logits[0], tokens[0, 1:].long())
    loss.backward()
    expected = {"logits": logits.detach().float(), "loss": loss.detach().float().reshape(1)}
    if name in PLAIN:
        for param, w in adapted.named_parameters():
            if w.grad is not None:
                own = param.removeprefix("base_model.model.").replace(".default", "")
                expected[f"grad.{own}"] = w.grad.float()
    save_file({k: v.contiguous() for k, v in expected.items()}, folder / "expected.safetensors")
    for file in folder.iterdir():
        file.chmod(0o644)
    plain = load(model)(tokens[:, :-1].long()).logits
    off = ((logits - plain).norm() / plain.norm()).item()
    print(f"{name}: loss {loss.item():.4f}, logits moved by {off:.2f}", flush=True)


for name in sys.argv[1:] or CASES:
    make(name)
