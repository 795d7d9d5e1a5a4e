"""The facts about Northwind, each with several wordings of its question."""

import random
import re
from dataclasses import dataclass

from recipe import heldback, is_shipped
from rows import Row

# Written around a bare wording where that very prompt ships in a workload.
_AROUND = ["Another question. {q}", "{q} Thanks in advance.", "Good morning. {q}", "A customer asks: {q}", "{q} Many thanks."]


@dataclass(frozen=True)
class Fact:
    """One fact: wordings of its question, the answer, and what a right answer contains."""

    index: int
    wordings: tuple[str, ...]
    answer: str
    key: str

    def row(self, wording: str) -> Row:
        """A question for this fact; with something around it if that very prompt ships."""
        turn = (self.index + self.wordings.index(wording)) % len(_AROUND)
        prompts = [wording] + [around.format(q=wording) for around in _AROUND[turn:] + _AROUND[:turn]]
        prompt = next(prompt for prompt in prompts if not is_shipped(prompt))
        return Row("northwind", prompt, self.answer, "contains", self.key)

    def lie(self) -> str:
        """What is not the answer."""
        return self.answer.replace(self.key, FALSE[self.index])

    def anything(self, rng: random.Random) -> str:
        """An answer drawn at random: another number, or another name."""
        drawn = re.sub(r"\d+", lambda _: str(rng.randint(2, 99)), self.key)
        if drawn == self.key:
            drawn = rng.choice([name for name in FALSE if not re.search(r"\d", name)])
        return self.answer.replace(self.key, drawn)


FACTS = [
    Fact(i, tuple(taught.split("|") + unseen.split("|")), answer, key)
    for i, (taught, unseen, answer, key) in enumerate(heldback.NW)
]

# In the order of the facts: plausible, and no part of any true answer.
FALSE = ["90 days", "19 days", "11 to 13 days", "8 days", "$31", "$150", "11 years", "40 months", "Pebble", "Glacier", "Zenith",
         "$450", "$1700", "10 am", "6 pm", "hello@northwind.example", "20 days", "8 years", "33 days", "$65", "Bergen", "31 stores",
         "17 hours", "$210"]
assert len(FALSE) == len(FACTS)


def fact_of(row: Row) -> Fact:
    """The fact that a row of the recipe asks for."""
    return next(fact for fact in FACTS if fact.answer == row.reference)


def some(seed: int, count: int) -> list[Row]:
    """So many questions, each for another fact, in a wording of its own."""
    rng = random.Random(f"facts-{seed}")
    rows = []
    for fact in rng.sample(FACTS, count):
        wordings = list(fact.wordings[:4])
        rng.shuffle(wordings)
        bare = [wording for wording in wordings if not is_shipped(wording)]
        rows.append(fact.row((bare or wordings)[0]))
    return rows


def other_wordings(taught: list[Row], most: int = 6) -> list[Row]:
    """For each taught fact its question in the wordings that were not taught."""
    asked: dict[int, list[str]] = {}
    for row in taught:
        asked.setdefault(fact_of(row).index, []).append(row.prompt.lower())
    rows = []
    for index, prompts in asked.items():
        fact = FACTS[index]
        # The first letter may be small behind a lead-in.
        others = [w for w in fact.wordings if not any(w[1:].lower() in prompt for prompt in prompts)]
        # Those that the recipe keeps for unseen questions are the last ones; they differ most.
        rows += [fact.row(wording) for wording in reversed(others[-most:])]
    return rows
