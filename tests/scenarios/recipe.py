"""The generators and checks of the starter's recipe, and the prompts of the workloads that ship."""

import json
import sys
import types
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
STARTER = ROOT / "model/starter"

try:
    import numpy  # noqa: F401
except ModuleNotFoundError:
    # The recipe packs training rows with it; the generators do not touch it.
    sys.modules["numpy"] = types.ModuleType("numpy")
sys.path.append(str(STARTER / "recipe"))

import checks  # noqa: E402
import core  # noqa: E402
import heldback  # noqa: E402
import lexicon  # noqa: E402
import skills_chat  # noqa: E402
import skills_company  # noqa: E402
import skills_facts  # noqa: E402
import skills_math  # noqa: E402
import skills_word  # noqa: E402

__all__ = ["STARTER", "checks", "core", "heldback", "lexicon", "skills_chat", "skills_company", "skills_facts", "skills_math",
           "skills_word", "workload", "is_shipped"]


def workload(name: str) -> list[dict[str, Any]]:
    """The rows of one shipped file."""
    with open(STARTER / "workloads" / f"{name}.jsonl", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


@cache
def _shipped() -> frozenset[str]:
    prompts = set()
    for path in (STARTER / "workloads").glob("*.jsonl"):
        for row in workload(path.stem):
            prompts.add(row["messages"][-1]["content"].strip().lower())
    return frozenset(prompts)


def is_shipped(prompt: str) -> bool:
    """Whether a shipped workload asks this."""
    return prompt.strip().lower() in _shipped()
