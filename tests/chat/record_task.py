"""Records how lm-evaluation-harness scores log-likelihoods of choices: `python tests/chat/record_task.py`.

Runs the harness's own `ConfigurableTask.process_results` and `mean_stderr` on random log-likelihoods. Needs lm_eval.
"""

import json
import pathlib
import random
import types

import lm_eval
from lm_eval.api.metrics import mean, mean_stderr
from lm_eval.api.task import ConfigurableTask

HERE = pathlib.Path(__file__).parent


def processed(question, lls):
    names = ["acc", "acc_norm"]
    task = types.SimpleNamespace(
        OUTPUT_TYPE="multiple_choice",
        _metric_fn_list=dict.fromkeys(names),
        multiple_input=0,
        multiple_target=0,
        config=types.SimpleNamespace(process_results=None, metric_list=None),
        doc_to_choice=lambda doc: doc["choices"],
        doc_to_target=lambda doc: doc["gold"],
    )
    found = ConfigurableTask.process_results(task, question, [(ll, False) for ll in lls])
    return {name: float(found[name]) for name in names}


draw = random.Random(7)
words = ["a", "the cat", "dog", "über", "a longer choice", "日本語", "no", "x" * 30]
cases = []
for _ in range(60):
    choices = draw.sample(words, draw.randint(2, 5))
    lls = [round(-draw.random() * (1 + len(choice)), 3) for choice in choices]
    if draw.random() < 0.2:
        lls = [lls[0]] * len(choices)
    question = {"query": "q", "choices": choices, "gold": draw.randrange(len(choices))}
    cases.append({"question": question, "lls": lls, **processed(question, lls)})
record = {"lm_eval": lm_eval.__version__, "cases": cases}
for name in ["acc", "acc_norm"]:
    record[name] = mean([case[name] for case in cases])
    record[name + "_stderr"] = mean_stderr([case[name] for case in cases])
(HERE / "task.json").write_text(json.dumps(record, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
