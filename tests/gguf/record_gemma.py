"""Makes `gemma.gguf`, the head of a model with a tokenizer of Gemma's kind, `gemma.json`, the same as a `tokenizer.json`, and
`gemma_ids.json`, the ids that the `tokenizers` package gives for some texts.

    env/bin/pip install gguf==0.19.0 numpy tokenizers transformers==5.24.0 torch sentencepiece protobuf
    env/bin/python record_gemma.py        (in this folder)

Gemma's kind: SentencePiece's BPE with bytes for what is no piece, no space before a text, symbols of its own (lines and runs of
spaces, which llama.cpp's converter stores with plain spaces and a score of -1000), ids 0 to 3 for padding, end, start, unknown.
Source of the file's keys: llama.cpp `conversion/base.py`; of the tokenizer: transformers `convert_slow_tokenizer.py`.
"""
import io
import json

import numpy as np
import sentencepiece as spm
from gguf import GGUFWriter
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers.tokenization_utils_base import generate_merges

TEXTS = ["To be, or not to be: that is the question.", "In 1603  they've\n\n\tmoved 12 times", "caf\u00e9 \U0001F600 na\u00efve",
         "<start_of_turn>user\nHi<end_of_turn>\n", " leading and trailing ", "   three\n\n\nlines     of     the   play", "", "a\u2581b"]
PLAYS = open("../../assets/shakespeare-15-plays.txt", encoding="utf-8").read()[:200_000]
RUNS = ["\u2581" * n for n in range(2, 9)]
OWN = ["<start_of_turn>", "<end_of_turn>", "\n", "\n\n", "\n\n\n", *RUNS]

made = io.BytesIO()
spm.SentencePieceTrainer.train(
    sentence_iterator=iter(PLAYS.splitlines()), model_writer=made, model_type="bpe", vocab_size=700, byte_fallback=True,
    add_dummy_prefix=False, remove_extra_whitespaces=False, normalization_rule_name="identity", split_digits=True,
    allow_whitespace_only_pieces=True, user_defined_symbols=OWN, pad_id=0, eos_id=1, bos_id=2, unk_id=3, pad_piece="<pad>",
    eos_piece="<eos>", bos_piece="<bos>", minloglevel=2)
s = spm.SentencePieceProcessor(model_proto=made.getvalue())
pieces = [s.id_to_piece(i) for i in range(len(s))]

scores = {piece: s.get_score(i) for i, piece in enumerate(pieces)}
vocab = {piece: i for i, piece in enumerate(pieces)}
t = Tokenizer(models.BPE(vocab=vocab, merges=generate_merges(vocab, scores), unk_token="<unk>", fuse_unk=True, byte_fallback=True))
t.normalizer = normalizers.Replace(" ", "\u2581")
t.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
t.decoder = decoders.Sequence([decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse()])
turns = {"<start_of_turn>", "<end_of_turn>"}
t.add_special_tokens([AddedToken(p, normalized=False, special=True) for p in pieces[:4]])
t.add_tokens([AddedToken(p, normalized=False, special=p in turns) for p in OWN])
t.post_processor = processors.TemplateProcessing(single="<bos> $A", pair="<bos> $A <bos> $B", special_tokens=[("<bos>", 2)])
assert t.get_vocab_size() == len(pieces)
t.save("gemma.json")
json.dump({"texts": TEXTS, "ids": [t.encode(text).ids for text in TEXTS]}, open("gemma_ids.json", "w"), indent=1)

types, texts, values = [], [], []
for i, piece in enumerate(pieces):
    own = piece in OWN
    kind = 2 if s.is_unknown(i) else 3 if s.is_control(i) or piece in turns else 4 if own else 6 if s.is_byte(i) else 1
    types.append(kind)
    texts.append(piece.replace("\u2581", " ") if kind == 4 else piece)
    values.append(-1000.0 if own else s.get_score(i))
w = GGUFWriter("gemma.gguf", "gemma2")
w.add_context_length(64)
w.add_embedding_length(32)
w.add_block_count(2)
w.add_feed_forward_length(64)
w.add_head_count(4)
w.add_head_count_kv(2)
w.add_key_length(8)
w.add_layer_norm_rms_eps(1e-6)
w.add_tokenizer_model("llama")
w.add_tokenizer_pre("default")
w.add_token_list(texts)
w.add_token_scores(values)
w.add_token_types(types)
w.add_bos_token_id(2)
w.add_eos_token_id(1)
w.add_unk_token_id(3)
w.add_pad_token_id(0)
w.add_add_space_prefix(False)
w.add_tensor("token_embd.weight", np.zeros((len(s), 32), np.float16))
w.write_header_to_file()
w.write_kv_data_to_file()
w.write_tensors_to_file()
w.close()
