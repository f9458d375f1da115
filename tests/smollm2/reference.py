"""What SmolLM2-135M says in float64: reference.py FOLDER > reference.json (needs `pip install numpy safetensors tokenizers`).

The forward pass is written out in numpy from the definition of a Llama model; it shares no code with anything else.
"""
import json, pathlib, sys
import numpy as np
from safetensors.numpy import load_file
from tokenizers import Tokenizer

WINDOW = 128
# Of the first window, logits of these tokens and each such one of the vocabulary are recorded.
POSITIONS, STRIDE = [0, 31, 63, 95, 127], 384
folder = pathlib.Path(sys.argv[1])
config = json.loads((folder / "config.json").read_text())
weights = {name: w.astype(np.float64) for name, w in load_file(folder / "model.safetensors").items()}
tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
heads, kv_heads = config["num_attention_heads"], config["num_key_value_heads"]
width = config["hidden_size"] // heads


def norm(x, weight):
    return x / np.sqrt((x * x).mean(-1, keepdims=True) + config["rms_norm_eps"]) * weight


def logits(ids):
    s = len(ids)
    x = weights["model.embed_tokens.weight"][ids]
    angle = np.arange(s)[:, None] * config["rope_theta"] ** (-2 * np.arange(width // 2) / width)
    cos, sin = (np.concatenate([f(angle)] * 2, 1) for f in (np.cos, np.sin))
    turned = lambda q: q * cos + np.concatenate([-q[..., width // 2 :], q[..., : width // 2]], -1) * sin
    split = lambda y, n: y.reshape(s, n, width).transpose(1, 0, 2)
    hidden = np.triu(np.full((s, s), -np.inf), 1)
    largest = 0.0
    for layer in range(config["num_hidden_layers"]):
        w = lambda name: weights[f"model.layers.{layer}.{name}.weight"]
        h = norm(x, w("input_layernorm"))
        q = turned(split(h @ w("self_attn.q_proj").T, heads))
        k = turned(split(h @ w("self_attn.k_proj").T, kv_heads)).repeat(heads // kv_heads, 0)
        v = split(h @ w("self_attn.v_proj").T, kv_heads).repeat(heads // kv_heads, 0)
        p = q @ k.transpose(0, 2, 1) / np.sqrt(width) + hidden
        p = np.exp(p - p.max(-1, keepdims=True))
        p /= p.sum(-1, keepdims=True)
        x = x + (p @ v).transpose(1, 0, 2).reshape(s, -1) @ w("self_attn.o_proj").T
        largest = max(largest, np.abs(x).max())
        h = norm(x, w("post_attention_layernorm"))
        gate = h @ w("mlp.gate_proj").T
        x = x + (gate / (1 + np.exp(-gate)) * (h @ w("mlp.up_proj").T)) @ w("mlp.down_proj").T
    return norm(x, weights["model.norm.weight"]) @ weights["model.embed_tokens.weight"].T, largest


def loss(ids):
    z, largest = logits(ids[:-1])
    z -= z.max(-1, keepdims=True)
    picked = z[np.arange(len(ids) - 1), ids[1:]]
    return (np.log(np.exp(z).sum(-1)) - picked).mean(), largest


text = pathlib.Path(__file__).with_name("text.txt").read_text()
ids = tokenizer.encode(text).ids
windows = [ids[i : i + WINDOW + 1] for i in range(0, len(ids) - WINDOW, WINDOW)]
losses, largest = zip(*map(loss, windows))
sampled = logits(windows[0][:-1])[0][POSITIONS, ::STRIDE]
prompt = "The capital of France is"
next_logits = logits(tokenizer.encode(prompt).ids)[0][-1]
json.dump(
    {
        "tokens": ids[: WINDOW * len(windows) + 1],
        "window": WINDOW,
        "losses": losses,
        "positions": POSITIONS,
        "stride": STRIDE,
        "logits": [[round(x, 7) for x in row] for row in sampled.tolist()],
        "largest_residual": max(largest),
        "prompt": prompt,
        "next": tokenizer.decode([int(next_logits.argmax())]),
    },
    sys.stdout,
)
