"""Corrections that only change how right answers sound."""

import random
from typing import Callable

import everyday
import measure
import styles
from client import Client, together
from context import Run
from rows import Row
from styles import Style

UNSEEN = 60
# Who asks for "the number only" wants no style.
_PLAIN = ("only", "just the", "one word", "short")


def _questions(style: Style, seed: int, name: str, count: int, taken: set[str]) -> list[Row]:
    rows: list[Row] = []
    for row in everyday.stream(style.kinds, seed, name, taken):
        if not any(word in row.prompt.lower() for word in _PLAIN):
            rows.append(row)
        if len(rows) == count:
            break
    return rows


def _rewrite(client: Client, style: Style, rows: list[Row], count: int, rng: random.Random) -> None:
    """Corrects right answers that do not show the style to ones that do."""
    given = 0
    while given < count:
        batch, rows = rows[: count - given], rows[count - given :]
        if not batch:
            raise RuntimeError(f"only {given} of {count} answers were right")
        for row, answer in zip(batch, together(lambda row: client.ask(row.prompt), batch)):
            if row.right(answer.text) and not style.seen(answer.text):
                client.correct(answer, style.rewrite(row, answer.text, rng), None)
                given += 1


def _style(run: Run, style: Style, count: int, most_lost: float) -> None:
    out = run.outcome
    taken: set[str] = set()
    unseen = _questions(style, run.seed, "unseen", UNSEEN, taken)
    with run.daemon() as client:
        before = measure.answers(client, unseen)
        rows = _questions(style, run.seed, "taught", 3 * count, taken)
        _rewrite(client, style, rows, count, random.Random(f"{run.name}-{run.seed}"))
        cycle = run.night(client, f"{count} corrections of style")
        after = measure.answers(client, unseen)
    was, now = (measure.percent(sum(row.right(text) for row, text in zip(unseen, texts)), UNSEEN) for texts in (before, after))
    out.promoted(cycle)
    out.tell("shown before", measure.shown(before, style.seen))
    out.at_least("shown", measure.shown(after, style.seen), 80)
    out.tell("content right before, after", f"{was}, {now}")
    out.at_most("content lost", round(was - now, 1), most_lost)


def _scenario(make: Callable[[int], Style], count: int, most_lost: float, what: str) -> Callable[[Run], None]:
    def scenario(run: Run) -> None:
        _style(run, make(run.seed), count, most_lost)

    scenario.__doc__ = f"{count} right answers corrected to {what}, in varied words."
    return scenario


_STYLES = {
    "greeting": (styles.greeting, "a greeting with the shop's name"),
    "short": (styles.short, "one short sentence"),
    "formal": (styles.formal, "a formal tone"),
}
SCENARIOS = {
    f"style_{name}{suffix}": _scenario(make, count, most_lost, what)
    for suffix, count, most_lost in (("", 60, 15), ("150", 150, 5))
    for name, (make, what) in _STYLES.items()
}
