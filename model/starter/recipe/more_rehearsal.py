"""Draws `rehearsal_2.jsonl`: 1,200 more examples as `heldback.rehearsal` draws the first 600, for runs that rehearse other questions
in each pass. None of them is a prompt of another file, and none is reserved for the controls.

    python3 more_rehearsal.py [FOLDER OF WORKLOADS]
"""

import json
import random
import sys
from pathlib import Path

import corpus
from core import reserved
from heldback import NEAR, rec, write
from lexicon import pick

COUNT = 1200


def asked(messages):
    """What a conversation asks, however it is written."""
    return "\n".join(m["content"].strip().lower() for m in messages if m["role"] == "user")


def prompts(folder):
    """What the files that ship ask."""
    files = sorted(path for path in folder.glob("*.jsonl") if path.name != "rehearsal_2.jsonl")
    return {asked(json.loads(line)["messages"]) for path in files for line in open(path, encoding="utf-8")}


def messages_of(item, system):
    turns = [{"role": "system", "content": system}] if system else []
    for question, answer in item.turns:
        turns += [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    return turns[:-1]


def more(seen):
    """Half from the whole training mixture, half from the neighbours of the held-back families."""
    rng = random.Random("rehearsal-2-2026")
    rows = []
    while len(rows) < COUNT:
        item = pick(rng, corpus.BAGS[pick(rng, corpus.MOD)])(rng) if len(rows) % 2 else pick(rng, NEAR)(rng)
        system = item.system or (corpus.system_prompt(rng) if rng.random() < 0.2 else None)
        messages = messages_of(item, system)
        if reserved(item) or asked(messages) in seen:
            continue
        seen.add(asked(messages))
        kind, value = item.check or ("contains", "")
        rows.append(rec("rehearsal", "rehearsal", messages, item.turns[-1][1], kind, value))
    return rows


if __name__ == "__main__":
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "../workloads")
    corpus.setup(None)
    write(str(folder / "rehearsal_2.jsonl"), more(prompts(folder)))
