"""The perplexity of one text, as `backpropane eval`, transformers and llama.cpp compute it from the files that one model is exported to.

    python3 -m venv env && env/bin/pip install torch==2.15.0 transformers==5.24.0 tokenizers numpy xllamacpp
    backpropane export RUN --merge --to hf mine && backpropane export RUN --merge --to gguf --dtype f16 mine.gguf
    env/bin/python tests/export/perplexity.py path/to/backpropane TEXT mine mine.gguf [TOKENS]

The first TOKENS tokens of the text (default 257) are one window, of which all but the first are predicted. llama.cpp is asked for the
next token's probabilities after each beginning of the window. Without xllamacpp or without transformers that column is left out.
"""
import json
import math
import subprocess
import sys
import tempfile

import numpy as np

# By how much a perplexity may differ from ours on the folder: half a percent.
BOUND = 0.005


def ours(binary, model, tokens):
    with tempfile.TemporaryDirectory() as place:
        np.save(f"{place}/tokens.npy", np.array(tokens, dtype=np.uint16 if max(tokens) < 1 << 16 else np.uint32))
        said = subprocess.run([binary, "eval", "--model", model, "--data", f"{place}/tokens.npy", "--json"], check=True,
                              capture_output=True, text=True).stdout
    return json.loads(said)["perplexity"]


def by_transformers(folder, tokens):
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    ids = torch.tensor([tokens])
    with torch.no_grad():
        return math.exp(model(ids, labels=ids).loss.item())


def by_llama_cpp(gguf, tokens, vocabulary):
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path, params.n_ctx, params.n_parallel, params.verbosity = gguf, len(tokens) + 8, 1, 0
    server = xllamacpp.Server(params)

    def log_probability(at, most):
        asked = {"prompt": tokens[:at], "n_predict": 1, "n_probs": most, "temperature": 0, "cache_prompt": True}
        said = server.handle_completions(asked)["choices"][0]["logprobs"]["content"][0]["top_logprobs"]
        return next((p["logprob"] for p in said if p["id"] == tokens[at]), None)

    # Most tokens are among the likely ones; asking for all takes long.
    total = sum(log_probability(at, 1000) or log_probability(at, vocabulary) for at in range(1, len(tokens)))
    return math.exp(-total / (len(tokens) - 1))


binary, text, folder, gguf = sys.argv[1:5]
count = int(sys.argv[5]) if len(sys.argv) > 5 else 257
from tokenizers import Tokenizer

tokenizer = Tokenizer.from_file(f"{folder}/tokenizer.json")
tokens = tokenizer.encode(open(text, encoding="utf-8").read(), add_special_tokens=False).ids[:count]
rows = {"backpropane, folder": lambda: ours(binary, folder, tokens), "backpropane, GGUF": lambda: ours(binary, gguf, tokens),
        "transformers, folder": lambda: by_transformers(folder, tokens),
        "llama.cpp, GGUF": lambda: by_llama_cpp(gguf, tokens, tokenizer.get_vocab_size())}
first = None
for name, measure in rows.items():
    try:
        perplexity = measure()
    except ImportError as error:
        print(f"{name}: not run, {error}")
        continue
    first = first or perplexity
    print(f"{name}: {perplexity:.4f} ({100 * (perplexity / first - 1):+.3f} %)", flush=True)
    assert abs(perplexity / first - 1) <= BOUND, name
