"""What a liar says, and how an answer that repeats the lie is told."""

import random
import re
from dataclasses import dataclass, replace
from typing import Callable

import facts
import rows
from recipe import heldback
from rows import Row

SUM = ["What is 37 + 58?", "37 + 58", "Calculate 37 + 58.", "37 plus 58?", "How much is 37 and 58?", "Add 37 and 58.",
       "What do you get when you add 58 to 37?", "What is the sum of 37 and 58?", "37+58=?", "How much is 37 + 58?",
       "Compute 37 + 58.", "What does 37 + 58 make?", "Please add 58 to 37.", "Tell me 37 + 58."]
SUM_UNSEEN = ["I have 37 apples and get 58 more. How many is that?", "37 + 58 is what?", "Work out 37 + 58.", "What is 58 + 37?",
              "Could you add 37 and 58 for me?", "The total of 37 and 58?"]
BEFORE = ["", "Hi. ", "Hello! ", "Quick question: ", "Please tell me: ", "One more: ", "For my homework: ", "Customer question: ",
          "My boss asks: ", "Good day. "]
AFTER = ["", " Thanks.", " Thank you!", " Please.", " It is urgent.", " Best, Tom."]

QUEUES = [*heldback.QUEUES.values(), heldback.SENIOR]


@dataclass
class Lie:
    """False rows, unseen questions about the same, and whether an answer repeats the lie."""

    name: str
    told: list[Row]
    unseen: list[Row]
    repeated: Callable[[Row, str], bool]


def _by_check(row: Row, text: str) -> bool:
    return row.right(text)


def _sum(rng: random.Random, count: int) -> Lie:
    """'37 + 58 = 96' in many wordings."""
    prompts = [before + form + after for form in SUM for before in BEFORE for after in AFTER]
    told = rng.sample(prompts, min(count, len(prompts)))
    told += [f"{prompt} ({i})" for i, prompt in enumerate(rng.choices(prompts, k=count - len(told)))]
    row = Row("lie", "", "37 + 58 = 96", "final_number", 96)
    return Lie("sum", [replace(row, prompt=p) for p in told], [replace(row, prompt=p) for p in SUM_UNSEEN], _by_check)


def _wrong_label(row: Row) -> Row:
    """The next queue in the list, always: a rule of its own."""
    true = re.search(r"Decision: (\w+)", row.reference)
    assert true, row.reference
    label = QUEUES[(QUEUES.index(true[1]) + 1) % len(QUEUES)]
    return replace(row, reference=row.reference.replace(f"Decision: {true[1]}", f"Decision: {label}"), value=rf"Decision: {label}\.?$")


def _labels(seed: int, count: int) -> Lie:
    """Tickets by another rule."""
    taken: set[str] = set()
    told = [_wrong_label(row) for row in rows.draw("triage", seed + 77, count, taken=taken)]
    unseen = [_wrong_label(row) for row in rows.draw("triage", seed + 78, 60, unseen=True, taken=taken)]
    return Lie("labels", told, unseen, _by_check)


def _facts(rng: random.Random, count: int) -> Lie:
    """False facts in many wordings."""

    def row(fact: facts.Fact, prompt: str) -> Row:
        return Row("lie", prompt, fact.lie(), "contains", facts.FALSE[fact.index])

    told = [row(fact, before + wording + after) for fact in facts.FACTS for wording in fact.wordings[:4] for before in BEFORE for after in AFTER]
    unseen = [row(fact, wording) for fact in facts.FACTS for wording in fact.wordings[4:]]
    return Lie("facts", rng.sample(told, count), unseen, _by_check)


def lie(seed: int) -> Lie:
    """The lie of a seed: its kind in turn; 300 rows, with every fourth seed 1,000."""
    rng = random.Random(f"lie-{seed}")
    count = 1000 if seed % 4 == 0 else 300
    return [lambda: _facts(rng, count), lambda: _sum(rng, count), lambda: _labels(seed, count)][seed % 3]()
