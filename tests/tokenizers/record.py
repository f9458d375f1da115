"""Records the ids of the `tokenizers` library for small tokenizers of each kind: `python record.py` writes `recorded.json`.

Needs `pip install tokenizers==0.23.3`. A case is a base, to whose file some keys are set; the tests of
`crates/train/src/tokenizer` build the same files and compare.
"""

import itertools
import json
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

LINES = [
    "To be, or not to be: that is the question.",
    "Whether 'tis nobler in the mind to suffer the slings and arrows of outrageous fortune,",
    "or to take arms against a sea of troubles, and by opposing end them.",
    "Caf\u00e9s na\u00efve \ufb01ne e\u0301 \u00c9t\u00e9 \u4e16\u754c 12 345",
]
TEXTS = [
    "",
    "Not to be, or to be?",
    " two  spaces <x>, <x>s and x<x> <x>\n<x>",
    "The CAF\u00c9 isn't n\u0061\u0308ive; \ufb01ne \u4e16\u754c!",
    "<s> that </s>\ttabs\r\n\n and\u00a0\u3000wide \u2581 12345 \U0001f600",
]
SPECIAL = ["<unk>", "<s>", "</s>", "<pad>"]


def base(model, trainer, normalizer, pre, decoder):
    tokenizer = Tokenizer(model)
    tokenizer.normalizer, tokenizer.pre_tokenizer, tokenizer.decoder = normalizer, pre, decoder
    tokenizer.train_from_iterator(LINES, trainer)
    return json.loads(tokenizer.to_str())


def bases():
    shared = {"special_tokens": SPECIAL, "show_progress": False}
    bert = base(
        models.WordPiece(unk_token="<unk>"),
        trainers.WordPieceTrainer(vocab_size=120, **shared),
        normalizers.BertNormalizer(),
        pre_tokenizers.BertPreTokenizer(),
        decoders.WordPiece(),
    )
    metaspace = pre_tokenizers.Metaspace(), decoders.Metaspace()
    unigram = base(
        models.Unigram(),
        trainers.UnigramTrainer(vocab_size=90, unk_token="<unk>", **shared),
        normalizers.NFKC(),
        *metaspace,
    )
    byte_level = base(
        models.BPE(),
        trainers.BpeTrainer(vocab_size=320, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), **shared),
        None,
        pre_tokenizers.ByteLevel(add_prefix_space=False),
        decoders.ByteLevel(),
    )
    pieces = base(models.BPE(unk_token="<unk>"), trainers.BpeTrainer(vocab_size=90, **shared), None, *metaspace)
    bytes_of = {f"<0x{byte:02X}>": byte for byte in range(256)}
    vocab = pieces["model"]["vocab"]
    for name in bytes_of:
        vocab[name] = len(vocab)
    # As Llama 2: the normalizer makes the pieces, unknown characters are bytes.
    pieces["model"].update(byte_fallback=True, fuse_unk=True)
    pieces["pre_tokenizer"] = None
    pieces["normalizer"] = sequence_of("normalizers", {"type": "Prepend", "prepend": "\u2581"}, SPACE)
    back = {"type": "Replace", "pattern": {"String": "\u2581"}, "content": " "}
    strip = {"type": "Strip", "content": " ", "start": 1, "stop": 0}
    pieces["decoder"] = sequence_of("decoders", back, {"type": "ByteFallback"}, {"type": "Fuse"}, strip)
    return {"wordpiece": bert, "unigram": unigram, "byte_level": byte_level, "pieces": pieces}


SPACE = {"type": "Replace", "pattern": {"String": " "}, "content": "\u2581"}


def sequence_of(key, *steps):
    return {"type": "Sequence", key: list(steps)}


def template(*parts):
    sequence = lambda name: {"Sequence": {"id": name, "type_id": 0}}
    single = [sequence("A") if part == "A" else {"SpecialToken": {"id": part, "type_id": 0}} for part in parts]
    tokens = {name: {"id": name, "ids": [id], "tokens": [name]} for id, name in enumerate(SPECIAL)}
    return {
        "type": "TemplateProcessing",
        "single": single,
        "pair": [sequence("A"), sequence("B")],
        "special_tokens": tokens,
    }


BYTE_LEVEL = {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True}
PAIR = {"sep": ["</s>", 2], "cls": ["<s>", 1]}
POST = {
    "template_start": template("<s>", "A"),
    "template_end": template("A", "</s>"),
    "template_both": template("<s>", "<s>", "A", "</s>"),
    "bert": {"type": "BertProcessing", **PAIR},
    "roberta": {"type": "RobertaProcessing", **PAIR, "trim_offsets": True, "add_prefix_space": False},
    "byte_level": BYTE_LEVEL,
    "sequence": sequence_of("processors", BYTE_LEVEL, template("<s>", "A", "</s>")),
}
NORMALIZERS = {
    "none": None,
    "nfc": {"type": "NFC"},
    "nfd": {"type": "NFD"},
    "nfkd": {"type": "NFKD"},
    "lowercase": {"type": "Lowercase"},
    "strip": {"type": "Strip", "strip_left": True, "strip_right": True},
    "nmt": {"type": "Nmt"},
    "accents": sequence_of("normalizers", {"type": "NFD"}, {"type": "StripAccents"}),
    "replace": {"type": "Replace", "pattern": {"Regex": "\\s+"}, "content": " "},
    "prepend": {"type": "Prepend", "prepend": "x"},
    "bert": {
        "type": "BertNormalizer",
        "clean_text": True,
        "handle_chinese_chars": True,
        "strip_accents": None,
        "lowercase": False,
    },
}
FLAGS = ["single_word", "lstrip", "rstrip", "normalized", "special"]
METASPACE = {"type": "Metaspace", "replacement": "\u2581", "split": True}


def cases(files):
    for name, file in files.items():
        yield name, "as trained", {}
        for post, value in POST.items():
            yield name, f"post-processor {post}", {"post_processor": value}
        for normalizer, value in NORMALIZERS.items():
            yield name, f"normalizer {normalizer}", {"normalizer": value}
        for set_flags in itertools.product([False, True], repeat=len(FLAGS)):
            # Each pair of flags once a base is enough.
            if name != "wordpiece" and sum(set_flags) > 2:
                continue
            flags = dict(zip(FLAGS, set_flags))
            vocab = file["model"]["vocab"]
            added = file["added_tokens"] + [{"id": len(vocab), "content": "<x>", **flags}]
            shown = " ".join(flag for flag in FLAGS if flags[flag])
            yield name, f"added token {shown}", {"added_tokens": added}
    for name in ["unigram", "pieces"]:
        for scheme in ["always", "first", "never"]:
            both = METASPACE | {"prepend_scheme": scheme}
            back = sequence_of("decoders", {"type": "ByteFallback"}, both) if name == "pieces" else both
            yield name, f"metaspace {scheme}", {"normalizer": None, "pre_tokenizer": both, "decoder": back}
    # As Gemma: nothing is put before a text, and nothing is taken away.
    decoder = files["pieces"]["decoder"]
    bare = sequence_of("decoders", *decoder["decoders"][:3])
    yield "pieces", "spaces alone", {"normalizer": SPACE, "decoder": bare}
    yield "unigram", "byte fallback", {"model": {**files["unigram"]["model"], "byte_fallback": True}}
    for cleanup in [False, True]:
        yield "wordpiece", f"cleanup {cleanup}", {"decoder": {"type": "WordPiece", "prefix": "##", "cleanup": cleanup}}
    limits = {"direction": "Right", "max_length": 3, "strategy": "LongestFirst", "stride": 0}
    padding = {"strategy": {"Fixed": 64}, "direction": "Right", "pad_id": 3, "pad_type_id": 0, "pad_token": "<pad>"}
    padding["pad_to_multiple_of"] = None
    yield "byte_level", "truncation and padding", {"truncation": limits, "padding": padding}


def main():
    files = bases()
    recorded = []
    for name, title, keys in cases(files):
        tokenizer = Tokenizer.from_str(json.dumps(files[name] | keys))
        tokenizer.no_truncation()
        tokenizer.no_padding()
        ids = [tokenizer.encode(text).ids for text in TEXTS]
        bare = [tokenizer.encode(text, add_special_tokens=False).ids for text in TEXTS]
        decoded = [tokenizer.decode(some, skip_special_tokens=False) for some in bare]
        recorded.append({"base": name, "title": title, "keys": keys, "ids": ids, "decoded": decoded})
    out = {"texts": TEXTS, "bases": files}
    lines = ",\n".join(json.dumps(case, separators=(",", ":")) for case in recorded)
    text = json.dumps(out, separators=(",", ":"))[:-1] + ',\n"cases":[\n' + lines + "\n]}\n"
    Path(__file__).with_name("recorded.json").write_text(text)
    print(len(recorded), "cases")


if __name__ == "__main__":
    main()
