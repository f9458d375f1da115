"""Makes the files of this folder: small GGUF files, and what others read in them.

    python3 -m venv env && env/bin/pip install gguf==0.19.0 numpy safetensors tokenizers sentencepiece
    env/bin/python record.py        (in this folder)

- blocks.bin: for each quantised type u32 id, u32 blocks, the blocks (random bytes with finite scales), then their values as
  the `gguf` package decodes them, f32; all little endian.
- encoded.bin: for each format that is written u32 id, u32 count, as many f32, then their blocks as the `gguf` package encodes
  them; all little endian.
- pre.json: for each pre-tokenizer the ids that `tokenizers` gives for some texts, with a vocabulary whose tokens cross all
  splits: what is not split is one token.
- bpe.gguf: a llama of random weights in several types with a byte-level tokenizer; bpe.safetensors: its weights as
  transformers has them, decoded by `gguf`; ids.json: the ids that `tokenizers` gives for some texts.
- spm.gguf: the head of a model with a SentencePiece tokenizer; ids.json: the ids that `sentencepiece` gives.
"""
import io
import json
import struct

import numpy as np
import sentencepiece as spm
from gguf import GGUFWriter
from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType as T
from gguf.quants import dequantize, quantize
from safetensors.numpy import save_file
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

rng = np.random.default_rng(16)
TEXTS = ["To be, or not to be: that is the question.", "In 1603  they've\n\n\tmoved 12 times", "caf\u00e9 \U0001F600 na\u00efve",
         "<|im_start|>user\nHi<|im_end|>", " leading", ""]
PLAYS = open("../../assets/shakespeare-15-plays.txt", encoding="utf-8").read()[:200_000]

F16_AT = {"Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2], "Q8_0": [0], "Q2_K": [80, 82], "Q3_K": [108],
          "Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208], "IQ4_NL": [0], "IQ4_XS": [0]}
out = bytearray()
for name in ["BF16", *F16_AT, "MXFP4"]:
    elements, size = GGML_QUANT_SIZES[T[name]]
    count = 64 if elements == 1 else 4 if elements == 32 else 2
    blocks = rng.integers(0, 256, (count, size), dtype=np.uint8)
    for at in F16_AT.get(name, []):
        scales = rng.normal(0, 0.05, count).astype(np.float16)
        blocks[:, at : at + 2] = scales.view(np.uint8).reshape(count, 2)
    if name == "BF16":
        blocks[:, 1] &= 0xBF
    if name == "MXFP4":
        blocks[:, 0] = [0, 1, 2, 127]
    values = dequantize(blocks, T[name]).astype(np.float32)
    assert np.isfinite(values).all(), name
    out += struct.pack("<II", T[name].value, count) + blocks.tobytes() + values.tobytes()
open("blocks.bin", "wb").write(out)

more = np.random.default_rng(18)
numbers = np.concatenate([more.normal(0, scale, 32 * 16) for scale in [1.0, 1e-3, 50.0]]).astype(np.float32)
numbers[:32] = 0  # No scale.
numbers[32:64] = np.tile([0.5, -0.5], 16)  # Equal magnitudes.
numbers[64:96] = np.arange(-16, 16) / 2  # Ties.
numbers[96:128] = 1e-30 * np.arange(32)  # A scale below f16's range.
numbers[128:130] = [65504, -65504]
out = bytearray()
for name in ["F32", "F16", "BF16", "Q8_0", "Q4_0"]:
    encoded = quantize(numbers.reshape(-1, 32), T[name])
    out += struct.pack("<II", T[name].value, len(numbers)) + numbers.tobytes() + encoded.tobytes()
open("encoded.bin", "wb").write(out)

DIM, HIDDEN, LAYERS, HEADS, KV, VOCAB = 32, 64, 2, 4, 2, 320
tokenizer = Tokenizer(models.BPE())
tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(False)])
tokenizer.decoder = decoders.ByteLevel()
special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
tokenizer.train_from_iterator([PLAYS], trainers.BpeTrainer(
    vocab_size=VOCAB, special_tokens=special, initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()), show_progress=False))
bpe = json.loads(tokenizer.to_str())["model"]
tokens = sorted(bpe["vocab"], key=bpe["vocab"].get)
assert len(tokens) == VOCAB


def permute(w, heads):
    """As llama.cpp's converter orders rows of q and k."""
    return w.reshape(heads, 2, w.shape[0] // heads // 2, w.shape[1]).swapaxes(1, 2).reshape(w.shape)


def unpermute(w, heads):
    return w.reshape(heads, w.shape[0] // heads // 2, 2, w.shape[1]).swapaxes(1, 2).reshape(w.shape)


def architecture(w):
    w.add_context_length(64)
    w.add_embedding_length(DIM)
    w.add_block_count(LAYERS)
    w.add_feed_forward_length(HIDDEN)
    w.add_head_count(HEADS)
    w.add_head_count_kv(KV)
    w.add_layer_norm_rms_eps(1e-5)
    w.add_rope_freq_base(50000.0)
    w.add_rope_dimension_count(DIM // HEADS)


w = GGUFWriter("bpe.gguf", "llama")
architecture(w)
w.add_tokenizer_model("gpt2")
w.add_tokenizer_pre("smollm")
w.add_token_list(tokens)
w.add_token_types([3 if t in special else 1 for t in tokens])
w.add_token_merges([m if isinstance(m, str) else " ".join(m) for m in bpe["merges"]])
w.add_bos_token_id(1)
w.add_eos_token_id(2)
w.add_chat_template("{{ messages[0]['content'] }}")
expect = {}


def add(gguf_name, hf_name, shape, kind, heads=None):
    hf = rng.normal(0, 0.3, shape).astype(np.float32)
    stored = permute(hf, heads) if heads else hf
    if kind == T.F32:
        w.add_tensor(gguf_name, stored)
        back = stored
    else:
        data = quantize(stored, kind)
        w.add_tensor(gguf_name, data, raw_dtype=kind)
        back = dequantize(data, kind).astype(np.float32).reshape(shape)
    expect[hf_name] = np.ascontiguousarray(unpermute(back, heads) if heads else back)


E = DIM // HEADS
add("token_embd.weight", "model.embed_tokens.weight", (VOCAB, DIM), T.Q8_0)
for i in range(LAYERS):
    b, l = f"blk.{i}.", f"model.layers.{i}."
    add(b + "attn_norm.weight", l + "input_layernorm.weight", (DIM,), T.F32)
    add(b + "attn_q.weight", l + "self_attn.q_proj.weight", (HEADS * E, DIM), T.Q4_0, HEADS)
    add(b + "attn_k.weight", l + "self_attn.k_proj.weight", (KV * E, DIM), T.Q5_1, KV)
    add(b + "attn_v.weight", l + "self_attn.v_proj.weight", (KV * E, DIM), T.F16)
    add(b + "attn_output.weight", l + "self_attn.o_proj.weight", (DIM, HEADS * E), T.Q5_0)
    add(b + "ffn_norm.weight", l + "post_attention_layernorm.weight", (DIM,), T.F32)
    add(b + "ffn_gate.weight", l + "mlp.gate_proj.weight", (HIDDEN, DIM), T.BF16)
    add(b + "ffn_up.weight", l + "mlp.up_proj.weight", (HIDDEN, DIM), T.Q4_1)
    add(b + "ffn_down.weight", l + "mlp.down_proj.weight", (DIM, HIDDEN), T.Q8_0)
add("output_norm.weight", "model.norm.weight", (DIM,), T.F32)
w.write_header_to_file()
w.write_kv_data_to_file()
w.write_tensors_to_file()
w.close()
save_file(expect, "bpe.safetensors")

model = io.BytesIO()
spm.SentencePieceTrainer.train(sentence_iterator=iter(PLAYS.splitlines()), model_writer=model, model_type="bpe", vocab_size=500,
                               byte_fallback=True, character_coverage=0.999, minloglevel=2, normalization_rule_name="identity",
                               remove_extra_whitespaces=False)
s = spm.SentencePieceProcessor(model_proto=model.getvalue())
w = GGUFWriter("spm.gguf", "llama")
architecture(w)
w.add_tokenizer_model("llama")
w.add_token_list([s.id_to_piece(i) for i in range(len(s))])
w.add_token_scores([s.get_score(i) for i in range(len(s))])
w.add_token_types([2 if s.is_unknown(i) else 3 if s.is_control(i) else 6 if s.is_byte(i) else 1 for i in range(len(s))])
w.add_bos_token_id(1)
w.add_eos_token_id(2)
w.add_unk_token_id(0)
w.add_tensor("token_embd.weight", np.zeros((len(s), DIM), np.float16))
w.write_header_to_file()
w.write_kv_data_to_file()
w.write_tensors_to_file()
w.close()
json.dump({"texts": TEXTS, "bpe": [tokenizer.encode(t).ids for t in TEXTS],
           "spm": [[1] + s.encode(t) if t else [1] for t in TEXTS]}, open("ids.json", "w"), indent=1)

# Pre-tokenizers of the models that llama.cpp's names stand for, as their tokenizer.json files have them.
CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
TAIL = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
UPPER, LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
WORDS = {
    "llama-bpe": CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}" + TAIL,
    "qwen2": CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}" + TAIL,
    "tekken": rf"[^\r\n\p{{L}}\p{{N}}]?{UPPER}*{LOWER}+|[^\r\n\p{{L}}\p{{N}}]?{UPPER}+{LOWER}*|\p{{N}}" + TAIL.replace(r"[\r\n]*", r"[\r\n/]*", 1),
}
GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)"
level = pre_tokenizers.ByteLevel
split = lambda regex: pre_tokenizers.Split(Regex(regex), "isolated")
steps = {name: [split(regex), level(False, use_regex=False)] for name, regex in WORDS.items()}
steps["smaug-bpe"] = steps["llama-bpe"]
steps["gpt-2"] = [level(False)]
steps["smollm"] = [pre_tokenizers.Digits(individual_digits=True), level(False)]
steps["default"] = [split(r"[\p{P}\$\+<=>\^~\|]+"), split(GPT2), split(r"\p{N}+"), split("[0-9][0-9][0-9]"), level(False, use_regex=False)]
PRE_TEXTS = TEXTS + ["THEY'LL don't I'M 'S", "1234567 12 x=3*(y+1);//\n\n  z", "A\u030a e\u0301 \u00c5 \u6771\u4eac\u90fd", "CamelCaseHTMLParser", " \r\n\t tab ",
                     "What's $5.00? 50%-60% <b>&amp;</b> ~^|", "  two  spaces   ", "The"]
whole = Tokenizer(models.BPE())
whole.pre_tokenizer = level(False, use_regex=False)
whole.train_from_iterator(PRE_TEXTS + [t[i:] for t in PRE_TEXTS for i in range(0, len(t), 3)], trainers.BpeTrainer(
    vocab_size=700, special_tokens=special, initial_alphabet=sorted(level.alphabet()), show_progress=False))
whole = json.loads(whole.to_str())["model"]
pairs = [tuple(m.split(" ")) if isinstance(m, str) else tuple(m) for m in whole["merges"]]
ids = {"texts": PRE_TEXTS, "tokens": sorted(whole["vocab"], key=whole["vocab"].get), "merges": [" ".join(m) for m in pairs], "ids": {}}
for name, parts in steps.items():
    t = Tokenizer(models.BPE(vocab=whole["vocab"], merges=pairs, ignore_merges=name in ["llama-bpe", "tekken"]))
    t.pre_tokenizer = pre_tokenizers.Sequence(parts)
    if name == "qwen2":
        t.normalizer = normalizers.NFC()
    t.add_special_tokens(special)
    ids["ids"][name] = [t.encode(text).ids for text in PRE_TEXTS]
json.dump(ids, open("pre.json", "w"))
