"""Exports tiny models of every architecture as GGUF, and compares what llama.cpp computes from them with transformers.

    python3 -m venv env && env/bin/pip install torch==2.15.0 transformers==5.24.0 tokenizers xllamacpp==2026.10.11549
    env/bin/python tests/export/llama_cpp.py path/to/backpropane [NAME...]

For each: the relative L2 error of the log-probabilities of every token (each counted from the mean, as an offset is none),
after texts of several lengths, and whether 16 greedy tokens are the same. Gemma's models have a tokenizer of its kind; for
them, whether llama.cpp gives the recorded tokens of some texts (the same results as after the tokens themselves).
"""
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

LENGTHS = [5, 9, 17, 30]
VOCAB = 320
GGUF = Path(__file__).parent.joinpath("../gguf")
GEMMA = json.loads(GGUF.joinpath("gemma_ids.json").read_text())
SMALL = dict(
    vocab_size=VOCAB, hidden_size=32, intermediate_size=64, num_hidden_layers=4, num_attention_heads=4, num_key_value_heads=2,
    head_dim=16, max_position_embeddings=64, tie_word_embeddings=False, bos_token_id=1, eos_token_id=2, pad_token_id=0,
)


def rope(model_type="llama", **keys):
    return dict(model_type=model_type, rope_parameters=dict(rope_theta=10000.0, **keys))


LLAMA3 = dict(rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=16)
YARN = dict(rope_type="yarn", factor=4.0, original_max_position_embeddings=16)
LONG = dict(rope_type="longrope", factor=4.0, short_factor=[1.0, 1.1, 1.3, 1.7, 1.8, 1.9, 2.0, 2.1],
            long_factor=[1.0, 2.0, 3.0, 4.0, 4.5, 5.0, 5.5, 6.0])
GEMMA3 = dict(full_attention=dict(rope_type="linear", factor=8.0, rope_theta=1e6),
              sliding_attention=dict(rope_type="default", rope_theta=1e4))
CASES = {
    "llama": dict(model_type="llama"),
    "llama_bias": dict(model_type="llama", attention_bias=True, mlp_bias=True),
    "rope_linear": rope(rope_type="linear", factor=4.0),
    "rope_llama3": rope(**LLAMA3),
    "rope_yarn": rope(**YARN),
    "rope_yarn_factor": rope(**YARN, attention_factor=1.3),
    # llama.cpp takes the long factors where its context, a multiple of 256, is longer than the original one.
    "rope_longrope": rope(**LONG, original_max_position_embeddings=512) | dict(max_position_embeddings=1024),
    "rope_longrope_long": rope(**LONG, original_max_position_embeddings=4),
    "qwen2": dict(model_type="qwen2", head_dim=8, tie_word_embeddings=True),
    "qwen2_yarn": rope("qwen2", **YARN) | dict(head_dim=8),
    "qwen3": dict(model_type="qwen3", tie_word_embeddings=True),
    "smollm3": dict(model_type="smollm3", no_rope_layer_interval=4, tie_word_embeddings=True),
    "mistral": dict(model_type="mistral", sliding_window=32),
    "gemma": dict(model_type="gemma", tie_word_embeddings=True),
    "gemma2": dict(model_type="gemma2", sliding_window=6, query_pre_attn_scalar=16, attn_logit_softcapping=2.0,
                   final_logit_softcapping=3.0, tie_word_embeddings=True),
    "gemma3": dict(model_type="gemma3_text", num_hidden_layers=7, sliding_window=6, query_pre_attn_scalar=16,
                   tie_word_embeddings=True, rope_parameters=GEMMA3),
    "gemma3_pattern": dict(model_type="gemma3_text", sliding_window=6, sliding_window_pattern=3, query_pre_attn_scalar=16,
                           final_logit_softcapping=3.0, tie_word_embeddings=True, rope_parameters=GEMMA3),
}


def llama_cpp(path, gemma):
    """Log-probabilities after each text, and greedy tokens, as JSON; in a process of its own, as a refused model ends it."""
    import xllamacpp as x
    params = x.CommonParams()
    params.model.path = path
    params.n_ctx, params.n_parallel, params.n_gpu_layers, params.warmup = 64, 1, 0, False
    params.cache_type_k = params.cache_type_v = x.ggml_type.GGML_TYPE_F32
    params.flash_attn_type = x.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
    server = x.Server(params)

    def ask(prompt, n_predict=1, n_probs=1000):
        asked = dict(prompt=prompt, n_predict=n_predict, n_probs=n_probs, temperature=-1.0, cache_prompt=False, ignore_eos=True)
        # None: the answer ends within a character.
        return (server.handle_completions(asked)["choices"][0]["logprobs"] or {}).get("content")

    def row(prompt):
        answer = ask(prompt)
        return answer and {one["id"]: one["logprob"] for one in answer[0]["top_logprobs"]}

    rows = [row(tokens(length)) for length in LENGTHS]
    greedy = [one["id"] for one in ask(tokens(8), 16, 1) or []]
    texts = [(text, row(text), row(ids)) for text, ids in zip(GEMMA["texts"], GEMMA["ids"]) if text] if gemma else []
    texts = [(text, by_text == by_ids) for text, by_text, by_ids in texts if by_text and by_ids]
    print("RESULT" + json.dumps(dict(rows=rows, greedy=greedy, texts=texts)), flush=True)
    os._exit(0)


def tokens(length):
    return [(7 * i + 5) % 300 + 5 for i in range(length)]


def tokenizer(is_gemma):
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    if is_gemma:
        return Tokenizer.from_file(str(GGUF / "gemma.json"))
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    # Without bytes of longer characters: the server gives no probabilities for a part of one.
    plays = Path(__file__).parent.joinpath("../../assets/shakespeare-15-plays.txt").read_text(encoding="utf-8")[:200_000]
    plays = plays.encode("ascii", "ignore").decode()
    made.train_from_iterator([plays], trainers.BpeTrainer(
        vocab_size=VOCAB, special_tokens=["<pad>", "<s>", "</s>"], show_progress=False))
    return made


def make(name, folder):
    import torch
    from transformers import AutoModelForCausalLM, CONFIG_MAPPING
    keys = {**SMALL, **CASES[name]}
    if name.startswith("gemma"):
        keys |= dict(vocab_size=700, pad_token_id=0, eos_token_id=1, bos_token_id=2)
    config = CONFIG_MAPPING[keys.pop("model_type")](**keys)
    torch.manual_seed(sum(map(ord, name)))
    model = AutoModelForCausalLM.from_config(config, attn_implementation="eager", dtype=torch.float32).eval()
    is_gemma = config.model_type.startswith("gemma")
    with torch.no_grad():
        for param, w in model.named_parameters():
            if param.endswith("bias"):
                w.normal_(0.0, 0.3)
            elif w.dim() == 1:
                w.normal_(0.0 if is_gemma else 1.0, 0.3)
            else:
                w.normal_(0.0, 0.3 if "embed_tokens" in param or "lm_head" in param else 0.7 / w.shape[1] ** 0.5)
    model.save_pretrained(folder)
    tokenizer(is_gemma).save(f"{folder}/tokenizer.json")
    return model


def check(binary, name):
    import torch
    with tempfile.TemporaryDirectory() as place:
        model = make(name, f"{place}/m")
        done = subprocess.run([binary, "export", f"{place}/m", f"{place}/m.gguf", "--to", "gguf"], capture_output=True, text=True)
        if done.returncode:
            return f"not exported: {done.stderr.strip().splitlines()[0]}", False
        run = subprocess.run([sys.executable, __file__, "--read", f"{place}/m.gguf", name], capture_output=True, text=True)
        result = [line for line in run.stdout.splitlines() if line.startswith("RESULT")]
        if not result:
            return f"llama.cpp does not read it: {(run.stdout + run.stderr)[-1500:]}", False
        found = json.loads(result[0].removeprefix("RESULT"))
    worst = 0.0
    with torch.no_grad():
        seen = [(length, row) for length, row in zip(LENGTHS, found["rows"]) if row]
        for length, row in seen:
            want = torch.log_softmax(model(torch.tensor([tokens(length)])).logits[0, -1], -1)
            got = torch.tensor([row[str(i)] for i in range(len(want))])
            want, got = want - want.mean(), got - got.mean()
            worst = max(worst, ((got - want).norm() / want.norm()).item())
        text = tokens(8)
        for _ in range(len(found["greedy"])):
            text.append(model(torch.tensor([text])).logits[0, -1].argmax().item())
    same = text[8:] == found["greedy"] and len(found["greedy"]) > 0 and len(seen) > 1
    # Sums in another order, and GELU from a table of fp16.
    limit = 5e-3 if name.startswith("gemma") else 1e-3
    wrong = [text for text, equal in found["texts"] if not equal]
    said = f"relative L2 error {worst:.1e}, {len(found['greedy'])} greedy tokens {'equal' if same else 'DIFFERENT'}"
    if found["texts"]:
        said += f", {len(found['texts'])} texts {f'DIFFERENT: {wrong}' if wrong else 'equal'}"
    return said, same and worst < limit and not wrong


if __name__ == "__main__":
    if sys.argv[1] == "--read":
        llama_cpp(sys.argv[2], sys.argv[3].startswith("gemma"))
    binary, *names = sys.argv[1:]
    failed = False
    for name in names or CASES:
        said, good = check(binary, name)
        failed |= not good
        print(f"{name:18} {said}{'' if good else '   FAILED'}", flush=True)
    sys.exit(failed)
