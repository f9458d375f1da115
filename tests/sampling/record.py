"""Records the probabilities that transformers' logits processors leave (5.24), for crates/train/src/sample/tests.rs.

Presence and frequency penalties are no processors there; their formula is OpenAI's, with the counts of the text alone, as vLLM has it:
mu[j] -= count[j] * frequency + (count[j] > 0) * presence, after the repetition penalty.

    python record.py > expected.json
"""

import json

import torch
from transformers.generation.logits_process import (
    LogitsProcessorList,
    MinPLogitsWarper,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

CASES = [
    {},
    {"temperature": 0.5},
    {"temperature": 2.0},
    {"top_k": 5},
    {"top_p": 0.7},
    {"min_p": 0.2},
    {"temperature": 0.7, "top_k": 9, "top_p": 0.8, "min_p": 0.05},
    {"top_k": 4, "top_p": 0.5},
    {"repetition_penalty": 1.3},
    {"repetition_penalty": 0.8, "temperature": 1.5},
    {"presence_penalty": 0.6},
    {"frequency_penalty": 0.4},
    {"presence_penalty": -0.5, "frequency_penalty": 0.25, "repetition_penalty": 1.2},
    {"logit_bias": [[3, 2.5], [7, -4.0]]},
    {"logit_bias": [[0, 3.0]], "repetition_penalty": 1.1, "top_p": 0.9, "temperature": 0.9},
]


def probabilities(logits, prompt, text, options):
    scores = torch.tensor([logits], dtype=torch.float32)
    for token, bias in options.get("logit_bias", []):
        scores[0, token] += bias
    if "repetition_penalty" in options:
        ids = torch.tensor([prompt + text])
        scores = RepetitionPenaltyLogitsProcessor(options["repetition_penalty"])(ids, scores)
    for token in set(text):
        count = text.count(token)
        scores[0, token] -= count * options.get("frequency_penalty", 0.0) + options.get("presence_penalty", 0.0)
    warpers = LogitsProcessorList()
    if "temperature" in options:
        warpers.append(TemperatureLogitsWarper(options["temperature"]))
    if "top_k" in options:
        warpers.append(TopKLogitsWarper(options["top_k"]))
    if "top_p" in options:
        warpers.append(TopPLogitsWarper(options["top_p"]))
    if "min_p" in options:
        warpers.append(MinPLogitsWarper(options["min_p"]))
    return torch.softmax(warpers(None, scores), -1)[0].tolist()


def main():
    torch.manual_seed(5)
    cases = []
    for options in CASES:
        logits = [round(x, 4) for x in (torch.randn(16) * 2).tolist()]
        prompt, text = [1, 2, 2, 9], [3, 9, 3, 3, 12]
        cases.append(
            {
                "options": options,
                "logits": logits,
                "prompt": prompt,
                "text": text,
                "probabilities": probabilities(logits, prompt, text, options),
            }
        )
    print("[\n" + ",\n".join(json.dumps(case) for case in cases) + "\n]")


main()
