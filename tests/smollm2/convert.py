"""Turns a llama-architecture GGUF file into a Hugging Face folder: convert.py MODEL.gguf OUT/ (needs `pip install gguf safetensors`)."""
import json, pathlib, sys
import numpy as np
from gguf import GGUFReader, dequantize
from safetensors.numpy import save_file

def main(source, out):
    reader = GGUFReader(source)
    field = lambda key: reader.fields[key].contents()
    name = field("general.architecture")
    key = lambda k: field(f"{name}.{k}")
    heads, kv = key("attention.head_count"), key("attention.head_count_kv")
    tensors = {t.name: np.ascontiguousarray(dequantize(t.data, t.tensor_type), np.float32).reshape(t.shape[::-1]) for t in reader.tensors}
    def unpermute(w, n):  # llama.cpp interleaves the rows of q and k
        return w.reshape(n, w.shape[0] // n // 2, 2, *w.shape[1:]).swapaxes(1, 2).reshape(w.shape)
    parts = {"attn_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm", "attn_q": "self_attn.q_proj",
             "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj", "attn_output": "self_attn.o_proj",
             "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj"}
    result = {"model.embed_tokens.weight": tensors["token_embd.weight"], "model.norm.weight": tensors["output_norm.weight"]}
    if "output.weight" in tensors:
        result["lm_head.weight"] = tensors["output.weight"]
    layers = key("block_count")
    for l in range(layers):
        for theirs, ours in parts.items():
            w = tensors[f"blk.{l}.{theirs}.weight"]
            if theirs == "attn_q": w = unpermute(w, heads)
            if theirs == "attn_k": w = unpermute(w, kv)
            result[f"model.layers.{l}.{ours}.weight"] = np.ascontiguousarray(w)
    out = pathlib.Path(out); out.mkdir(parents=True, exist_ok=True)
    save_file(result, out / "model.safetensors", metadata={"format": "pt"})
    eos, bos = field("tokenizer.ggml.eos_token_id"), field("tokenizer.ggml.bos_token_id")
    config = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": key("embedding_length"),
        "intermediate_size": key("feed_forward_length"), "num_hidden_layers": layers, "num_attention_heads": heads,
        "num_key_value_heads": kv, "vocab_size": len(tensors["token_embd.weight"]), "max_position_embeddings": key("context_length"),
        "rms_norm_eps": round(float(key("attention.layer_norm_rms_epsilon")), 12), "rope_theta": float(key("rope.freq_base")), "hidden_act": "silu",
        "tie_word_embeddings": "output.weight" not in tensors, "eos_token_id": eos, "bos_token_id": bos, "torch_dtype": "float32"}
    (out / "config.json").write_text(json.dumps(config, indent=1))
    tokens, types = field("tokenizer.ggml.tokens"), field("tokenizer.ggml.token_type")
    added = [{"id": i, "content": t, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
             for i, (t, k) in enumerate(zip(tokens, types)) if k == 3]
    bpe = {"version": "1.0", "truncation": None, "padding": None, "added_tokens": added, "normalizer": None,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [{"type": "Digits", "individual_digits": True},
            {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}]},
        "post_processor": None, "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
        "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None, "end_of_word_suffix": None,
            "fuse_unk": False, "byte_fallback": False, "vocab": {t: i for i, t in enumerate(tokens)}, "merges": field("tokenizer.ggml.merges")}}
    (out / "tokenizer.json").write_text(json.dumps(bpe, ensure_ascii=False))

main(*sys.argv[1:])
