"""PEFT's log-probabilities against Hone's: python peft_load.py BASE ADAPTER OURS.json"""

import json
import sys

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

base, adapter, ours = sys.argv[1:]
with open(ours, encoding="utf-8") as file:
    ours = json.load(file)
tokens = ours["tokens"]
model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32).eval()
with torch.no_grad():
    plain = model(torch.tensor([tokens])).logits[0].log_softmax(-1)
    tuned = PeftModel.from_pretrained(model, adapter).eval()(torch.tensor([tokens])).logits[0].log_softmax(-1)

worst = moved = 0.0
for i in range(1, len(tokens)):
    theirs = tuned[i - 1, tokens[i]].item()
    worst = max(worst, abs(theirs - ours["logprobs"][i]))
    moved = max(moved, abs(theirs - plain[i - 1, tokens[i]].item()))
assert moved > 0.01, f"the adapter moves no log-probability ({moved})"
assert worst < 1e-3, f"log-probabilities differ by {worst}"
print(f"all good: {len(tokens)} tokens, largest difference {worst:.2e}, the adapter moves up to {moved:.2f}")
