"""Makes `model.gguf` in some folders of this directory: the same model as llama.cpp's converter stores it.

    env/bin/pip install gguf==0.19.0 torch==2.15.0 safetensors
    env/bin/python record_gguf.py        (in this folder)

Source of names, keys, the order of rows and the offset of norms: llama.cpp `convert_hf_to_gguf.py`.
"""
import json

import torch
from gguf import GGUFWriter, RopeScalingType
from safetensors.torch import load_file

NAMES = {
    "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output",
    "self_attn.q_norm": "attn_q_norm", "self_attn.k_norm": "attn_k_norm", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down", "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm",
}
GEMMA = {"post_attention_layernorm": "post_attention_norm", "pre_feedforward_layernorm": "ffn_norm",
         "post_feedforward_layernorm": "post_ffw_norm"}
WHOLE = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}


def permute(w, heads):
    return w.reshape(heads, 2, w.shape[0] // heads // 2, *w.shape[1:]).swapaxes(1, 2).reshape(w.shape)


def write(folder, architecture):
    config = json.load(open(f"{folder}/config.json"))
    w = GGUFWriter(f"{folder}/model.gguf", architecture)
    w.add_context_length(config["max_position_embeddings"])
    w.add_embedding_length(config["hidden_size"])
    w.add_block_count(config["num_hidden_layers"])
    w.add_feed_forward_length(config["intermediate_size"])
    w.add_head_count(config["num_attention_heads"])
    w.add_head_count_kv(config["num_key_value_heads"])
    w.add_key_length(config["hidden_size"] // config["num_attention_heads"])
    w.add_layer_norm_rms_eps(config["rms_norm_eps"])
    rope = config["rope_parameters"]
    w.add_rope_freq_base(rope.get("full_attention", rope)["rope_theta"])
    scaled = rope.get("full_attention", rope)
    if scaled.get("rope_type") in ("linear", "yarn"):
        w.add_rope_scaling_type(RopeScalingType[scaled["rope_type"].upper()])
        w.add_rope_scaling_factor(scaled["factor"])
    if scaled.get("rope_type") == "yarn":
        w.add_rope_scaling_orig_ctx_len(scaled["original_max_position_embeddings"])
    if "sliding_attention" in rope:
        w.add_rope_freq_base_swa(rope["sliding_attention"]["rope_theta"])
    if architecture.startswith("gemma"):
        w.add_sliding_window(config["sliding_window"])
    if architecture == "gemma2":
        w.add_attn_logit_softcapping(config["attn_logit_softcapping"])
        w.add_final_logit_softcapping(config["final_logit_softcapping"])
    if architecture == "gemma3":
        w.add_sliding_window_pattern([kind == "sliding_attention" for kind in config["layer_types"]])
    for name, tensor in load_file(f"{folder}/model.safetensors").items():
        module, end = name.rsplit(".", 1)
        if module in WHOLE:
            to = WHOLE[module]
        else:
            layer, part = module.removeprefix("model.layers.").split(".", 1)
            to = f"blk.{layer}." + (NAMES | GEMMA if architecture.startswith("gemma") else NAMES)[part]
        tensor = tensor.float()
        if architecture.startswith("gemma") and name.endswith("norm.weight"):
            tensor = tensor + 1
        if architecture in ("llama", "smollm3") and "_proj" in module and module[-6:-5] in "qk":
            heads = config["num_attention_heads" if module.endswith("q_proj") else "num_key_value_heads"]
            tensor = permute(tensor, heads)
        w.add_tensor(f"{to}.{end}", tensor.numpy() if tensor.dim() == 1 else tensor.half().numpy())
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


for folder, architecture in [("llama_bias", "llama"), ("qwen2", "qwen2"), ("rope_yarn", "llama"), ("gemma2", "gemma2"), ("gemma3", "gemma3")]:
    write(folder, architecture)
