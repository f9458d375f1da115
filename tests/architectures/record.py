"""Makes the folders of this directory: tiny models with random weights, and what transformers computes with them.

    python3 -m venv env && env/bin/pip install torch==2.15.0 transformers==5.24.0
    env/bin/python record.py [NAME …]        (in this folder)

Each folder is what `save_pretrained` writes, in bfloat16, and `expected.safetensors`, f32: `tokens` [1, S + 1] int32, `logits`
[1, S, V], `loss` [1] and `grad.NAME` for every weight, computed in float64 (norms and tables of RoPE are f32 in transformers).
"""
import pathlib
import sys

import torch
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, CONFIG_MAPPING

SEQ = 24
SMALL = dict(
    vocab_size=48, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
    head_dim=8, max_position_embeddings=64, tie_word_embeddings=True, pad_token_id=0, bos_token_id=1, eos_token_id=2,
)


def rope(**keys):
    return dict(model_type="llama", rope_parameters=dict(rope_theta=10000.0, **keys))


CASES = {
    "llama_bias": dict(model_type="llama", attention_bias=True, mlp_bias=True, tie_word_embeddings=False),
    "qwen2": dict(model_type="qwen2", rope_parameters=dict(rope_type="default", rope_theta=1e6)),
    "qwen3_bias": dict(model_type="qwen3", attention_bias=True, num_hidden_layers=1),
    "rope_linear": rope(rope_type="linear", factor=4.0),
    "rope_dynamic": rope(rope_type="dynamic", factor=2.0),
    "rope_llama3": rope(
        rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=16),
    "rope_yarn": rope(rope_type="yarn", factor=4.0, original_max_position_embeddings=16),
    "rope_longrope": rope(
        rope_type="longrope", factor=4.0, original_max_position_embeddings=32, short_factor=[1.0, 1.1, 1.3, 1.7],
        long_factor=[1.0, 2.0, 3.0, 4.0]),
    "rope_longrope_long": rope(
        rope_type="longrope", factor=4.0, original_max_position_embeddings=16, short_factor=[1.0, 1.1, 1.3, 1.7],
        long_factor=[1.0, 2.0, 3.0, 4.0]),
    "smollm3": dict(model_type="smollm3", no_rope_layer_interval=2),
    "mistral": dict(model_type="mistral", sliding_window=7),
    "qwen2_window": dict(
        model_type="qwen2", use_sliding_window=True, sliding_window=5, max_window_layers=1, num_hidden_layers=3),
    "gemma": dict(model_type="gemma"),
    "gemma2": dict(
        model_type="gemma2", num_hidden_layers=3, sliding_window=6, query_pre_attn_scalar=24, attn_logit_softcapping=2.0,
        final_logit_softcapping=3.0),
    "gemma3": dict(
        model_type="gemma3_text", num_hidden_layers=3, sliding_window=6, sliding_window_pattern=3, query_pre_attn_scalar=16,
        rope_parameters=dict(
            full_attention=dict(rope_type="linear", factor=8.0, rope_theta=1e6),
            sliding_attention=dict(rope_type="default", rope_theta=1e4))),
}


def make(name, keys):
    keys = {**SMALL, **keys}
    config = CONFIG_MAPPING[keys.pop("model_type")](**keys)
    torch.manual_seed(len(name) + sum(map(ord, name)))
    model = AutoModelForCausalLM.from_config(config, attn_implementation="eager", dtype=torch.float32)
    is_gemma = config.model_type.startswith("gemma")
    with torch.no_grad():
        for param, w in model.named_parameters():
            if param.endswith("bias"):
                w.normal_(0.0, 0.3)
            elif w.dim() == 1:
                w.normal_(0.0 if is_gemma else 1.0, 0.3)
            elif "embed_tokens" in param or "lm_head" in param:
                w.normal_(0.0, 0.2 if is_gemma else 0.4)
            else:
                w.normal_(0.0, 0.7 / w.shape[1] ** 0.5)
    model = model.to(torch.bfloat16)
    model.save_pretrained(name)
    folder = pathlib.Path(name)
    (folder / "generation_config.json").unlink(missing_ok=True)

    # Loaded again, so that what is recorded belongs to the files.
    model = AutoModelForCausalLM.from_pretrained(name, attn_implementation="eager", dtype=torch.float64)
    tokens = torch.randint(3, config.vocab_size, (1, SEQ + 1), dtype=torch.int32)
    logits = model(tokens[:, :-1].long()).logits
    loss = torch.nn.functional.cross_entropy(logits[0], tokens[0, 1:].long())
    loss.backward()
    expected = {"tokens": tokens, "logits": logits.detach().float(), "loss": loss.detach().float().reshape(1)}
    for param, w in model.named_parameters():
        expected[f"grad.{param}"] = w.grad.float()
    save_file({k: v.contiguous() for k, v in expected.items()}, f"{name}/expected.safetensors")
    for file in folder.iterdir():
        file.chmod(0o644)
    print(f"{name}: loss {loss.item():.4f}, logits to {logits.abs().max().item():.2f}")


for name in sys.argv[1:] or CASES:
    make(name, CASES[name])
