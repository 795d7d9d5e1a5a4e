"""One person corrects a few answers in one evening."""

import re
from typing import Iterator

import facts
import measure
import rows
import teach
import wording
from client import Client, Cycle
from context import Run
from rows import Row

UNSEEN = 60


def _questions(family: str, seed: int, taken: set[str]) -> Iterator[Row]:
    """Facts one question each; of a skill whatever comes."""
    if family == "northwind":
        return iter(facts.some(seed, len(facts.FACTS)))
    return rows.stream(family, seed, taken=taken)


def _evening(run: Run, client: Client, family: str, count: int, clean: bool) -> tuple[Cycle, list[Row], list[Row]]:
    """Corrections, and the night after them: the cycle, the taught and the unseen questions."""
    taken: set[str] = set()
    taught = teach.taught(teach.correct(client, _questions(family, run.seed, taken), count))
    taken |= {row.prompt.lower() for row in taught}
    unseen = [] if family == "northwind" else rows.draw(family, run.seed, UNSEEN, unseen=True, taken=taken)
    return run.night(client, f"{count} corrections of {family}", clean), taught, unseen


def _ten(run: Run, family: str, barred: bool) -> None:
    out = run.outcome
    with run.daemon() as client:
        cycle, taught, unseen = _evening(run, client, family, 10, clean=barred)
        right = measure.right(client, taught)
        around = measure.accuracy(client, wording.wrapped(taught, run.seed))
        if barred:
            out.promoted(cycle)
            out.at_least("taught questions right", right, 9, "of 10")
            out.at_least("with a greeting, a please, a lead-in", around, 80)
        else:
            out.tell("promoted", cycle.verdict)
            out.tell("taught questions right", right)
            out.tell("with a greeting, a please, a lead-in", around)
        out.tell("in other words", measure.accuracy(client, wording.reworded(taught, run.seed)))
        if unseen:
            out.tell("unseen", measure.accuracy(client, unseen))
        if barred:
            run.controls_fall(client, 0.5)
        else:
            fall, words = run.controls.fall(client)
            out.tell("controls below the base", fall)
            out.tell("controls", words)


def facts10(run: Run) -> None:
    """10 corrected facts in one evening, one cycle."""
    _ten(run, "northwind", barred=True)


def skill10(run: Run) -> None:
    """10 corrected averages in one evening, one cycle."""
    _ten(run, "averages", barred=True)


def triage10(run: Run) -> None:
    """10 corrected tickets; reported, no bars."""
    _ten(run, "triage", barred=False)


def discounts10(run: Run) -> None:
    """10 corrected discounts; reported, no bars."""
    _ten(run, "discounts", barred=False)


def says_what_is_missing(cycle: Cycle) -> bool:
    """Does a verdict that promotes nothing say how much more it needs?"""
    waits = cycle.verdict in ("held", "skipped")
    return waits and bool(re.search(r"\d", cycle.reason) and re.search(r"more|missing|need|asks for|at least", cycle.reason))


def five(run: Run) -> None:
    """5 corrections, of facts and of averages: right in the morning, or told what is missing."""
    out = run.outcome
    for family in ("northwind", "averages"):
        with run.daemon() as client:
            cycle, taught, _ = _evening(run, client, family, 5, clean=False)
            right = measure.right(client, taught)
            held = right == 5 or says_what_is_missing(cycle)
            out.bar(f"{family}: right of 5", right, "5, or told what is missing", held)
            out.tell(f"{family}: verdict", cycle.verdict)
            if cycle.promoted:
                run.controls_fall(client, 0.5)


SCENARIOS = {"facts10": facts10, "skill10": skill10, "five": five, "triage10": triage10, "discounts10": discounts10}
