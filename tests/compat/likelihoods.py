"""lm-evaluation-harness scores texts through Hone and through transformers: python likelihoods.py BASE http://127.0.0.1:8080/v1

The same pairs and the same rolling texts go to the harness's `local-completions`, with the tokenizer asked of the daemon, and to its
`hf`, which runs the folder BASE in PyTorch.
"""

import json
import logging
import os
import sys
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = os.environ["HF_DATASETS_OFFLINE"] = "1"

import torch
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM
from lm_eval.models.openai_completions import LocalCompletionsAPI
from transformers import AutoModelForCausalLM, AutoTokenizer

BASE, ADDRESS = sys.argv[1:]
WORKLOADS = Path(BASE) / "workloads"
HARD = [
    ("The capital of France is", " Paris"),
    ("naïve café — 東京", " 🙂 ½ ٣"),
    ("def f(x):\n    return x", "**2\n"),
    ("Two spaces  ", "go to the answer"),
    ("<|im_start|>user\n922 times 8?<|im_end|>\n<|im_start|>assistant\n", "922 * 8 = 7376"),
]


def pairs():
    """Questions with their answers, of each workload the first, and texts that are hard to tokenise."""
    found = list(HARD)
    for path in sorted(WORKLOADS.glob("*.jsonl")):
        for line in path.read_text(encoding="utf-8").splitlines()[:2]:
            row = json.loads(line)
            said = [message["content"] for message in row["messages"]] + [row[key] for key in ["reference"] if row.get(key)]
            if len(said) > 1:
                found.append(("\n".join(said[:-1]), "\n" + said[-1]))
    return found[:25]


def instances(kind, arguments):
    return [Instance(request_type=kind, doc={}, arguments=one, idx=at) for at, one in enumerate(arguments)]


logging.disable(logging.WARNING)
tokenizer = AutoTokenizer.from_pretrained(BASE)
model = AutoModelForCausalLM.from_pretrained(BASE, dtype=torch.float32).eval()
ours = LocalCompletionsAPI(
    base_url=f"{ADDRESS}/completions", model="hone", tokenizer_backend="remote", tokenized_requests=True, batch_size=4, max_length=512
)
# Rolling texts begin behind a token of the harness's choice, which is another one by default for each of its backends.
theirs = HFLM(
    pretrained=model, tokenizer=tokenizer, backend="causal", batch_size=1, max_length=512, prefix_token_id=ours.prefix_token_id
)
asked = pairs()
assert len(asked) >= 20, len(asked)
texts = [(context + continuation,) for context, continuation in asked]
worst = 0.0
for (context, continuation), (mine, is_greedy), (other, was_greedy) in zip(
    asked,
    ours.loglikelihood(instances("loglikelihood", asked), disable_tqdm=True),
    theirs.loglikelihood(instances("loglikelihood", asked), disable_tqdm=True),
    strict=True,
):
    tokens = max(1, len(tokenizer(continuation)["input_ids"]))
    worst = max(worst, abs(mine - other) / tokens)
    assert is_greedy == was_greedy, (context, continuation)
rolling = zip(
    texts,
    ours.loglikelihood_rolling(instances("loglikelihood_rolling", texts), disable_tqdm=True),
    theirs.loglikelihood_rolling(instances("loglikelihood_rolling", texts), disable_tqdm=True),
    strict=True,
)
for (text,), mine, other in rolling:
    worst = max(worst, abs(mine - other) / len(tokenizer(text)["input_ids"]))
assert worst < 1e-3, f"log-likelihoods are {worst} a token apart"
print(f"all good: {len(asked)} pairs and {len(texts)} texts, at most {worst:.2e} a token apart")
