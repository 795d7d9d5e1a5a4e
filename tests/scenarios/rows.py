"""Questions of the five families that the starter does not know, fresh from the recipe."""

import random
from dataclasses import dataclass
from typing import Iterator

from recipe import checks, heldback, is_shipped

FAMILIES = {name: generator for name, generator in heldback.HELD}
# The seeds of the shipped workloads are others; so are their rows, and what coincides is drawn again.
OFFSET = 10_000


@dataclass(frozen=True)
class Row:
    """A question, the answer as it should be, and how an answer is checked."""

    family: str
    prompt: str
    reference: str
    kind: str
    value: object

    def right(self, text: str) -> bool:
        return checks.ok({"type": self.kind, "value": self.value}, text)


def stream(family: str, seed: int, unseen: bool = False, taken: set[str] | None = None) -> Iterator[Row]:
    """Rows of a family without end. What is in `taken` is not drawn; what is drawn goes into it.

    Unseen rows use, in part, wordings that never occur among the others, as the shipped held-out rows do.
    """
    taken = set() if taken is None else taken
    rng = random.Random(f"{family}-{seed + OFFSET}-{'unseen' if unseen else 'taught'}")
    missed = 0
    while missed < 100_000:
        prompt, reference, kind, value, _system = FAMILIES[family](rng, unseen)
        key = prompt.lower()
        if key in taken or is_shipped(prompt):
            missed += 1
            continue
        missed = 0
        taken.add(key)
        yield Row(family, prompt, reference, kind, value)
    raise RuntimeError(f"the recipe has no more rows of {family}")


def draw(family: str, seed: int, count: int, unseen: bool = False, taken: set[str] | None = None) -> list[Row]:
    """So many rows of a family."""
    rows = stream(family, seed, unseen, taken)
    return [next(rows) for _ in range(count)]


def mixed(families: list[str], seed: int, taken: set[str] | None = None) -> Iterator[Row]:
    """Rows of several families in turn, without end."""
    taken = set() if taken is None else taken
    streams = [stream(family, seed, taken=taken) for family in families]
    while True:
        for rows in streams:
            yield next(rows)
