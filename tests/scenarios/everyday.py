"""Questions that the starter answers right, and small talk: what people ask besides, and what a style is taught on."""

import random
import re
from typing import Callable, Iterator

from recipe import core, is_shipped, skills_chat, skills_company, skills_facts, skills_math, skills_word
from rows import OFFSET, Row

_FACTS = [skills_facts.capital, skills_facts.continent, skills_facts.animal, skills_facts.color_of, skills_facts.opposite,
          skills_facts.plurals, skills_facts.job, skills_facts.language]
_SUMS = [skills_math.add, skills_math.sub, skills_math.mul, skills_math.div]
_STORIES = [generator for generator, _ in skills_word.GENS]


def _fact(rng: random.Random) -> core.Item:
    return rng.choice(_FACTS)(rng)


def _sum(rng: random.Random) -> core.Item:
    return rng.choice(_SUMS)(rng)


def _story(rng: random.Random) -> core.Item:
    """A word problem of one step."""
    while True:
        item = rng.choice(_STORIES)(rng)
        if item.fam == "word_problems_1":
            return item


KINDS: dict[str, Callable[[random.Random], core.Item]] = {
    "fact": _fact,
    "company": skills_company.closed_book,
    "sum": _sum,
    "story": _story,
    "true_or_false": skills_facts.truefalse,
    "no_text": skills_chat.no_text,
    "small_talk": skills_chat.intent,
}


def _sound(item: core.Item) -> bool:
    """Can the answer still be checked when other words stand around it?"""
    if item.check is None or item.system or len(item.turns) != 1:
        return False
    kind, value = item.check
    if kind == "exact" or value == "":
        return False
    return kind != "contains" or len(value) <= 25 and not re.search(r"[.?!]$", value)


def stream(kinds: list[str], seed: int, name: str, taken: set[str] | None = None) -> Iterator[Row]:
    """Questions of these kinds in turn, without end; not those of a workload that ships."""
    taken = set() if taken is None else taken
    rng = random.Random(f"everyday-{name}-{seed + OFFSET}")
    while True:
        for kind in kinds:
            for _ in range(20_000):
                item = KINDS[kind](rng)
                prompt, reference = item.turns[0]
                if kind == "small_talk" and item.check and not is_shipped(prompt):
                    break
                if _sound(item) and prompt.lower() not in taken and not is_shipped(prompt):
                    break
            else:
                raise RuntimeError(f"the recipe has no more questions of the kind {kind}")
            taken.add(prompt.lower())
            yield Row(kind, prompt, reference, *item.check)


def draw(kinds: list[str], seed: int, name: str, count: int, taken: set[str] | None = None) -> list[Row]:
    """So many questions."""
    rows = stream(kinds, seed, name, taken)
    return [next(rows) for _ in range(count)]
