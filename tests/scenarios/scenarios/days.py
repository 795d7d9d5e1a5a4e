"""One person teaches another skill every day."""

import random

import facts
import measure
import rows
import teach
import wording
from client import Client
from context import Run
from rows import Row

FAMILIES = ["averages", "northwind", "triage", "house_format", "discounts"]
CORRECTIONS = 30
UNSEEN = 60


def _questions(run: Run, family: str, taught: list[Row], taken: set[str]) -> list[Row]:
    """What yesterday's family is measured on: unseen questions; of facts those taught, in other words."""
    if family == "northwind":
        return facts.other_wordings(taught, most=3)
    return rows.draw(family, run.seed, UNSEEN, unseen=True, taken=taken)


def _day(run: Run, client: Client, family: str, taken: set[str]) -> list[Row]:
    """Corrections in the evening, a cycle, and yesterday's family in the morning: the questions it is measured on."""
    out = run.outcome
    taught = teach.taught(teach.correct(client, rows.stream(family, run.seed, taken=taken), CORRECTIONS))
    questions = _questions(run, family, taught, taken)
    before = measure.accuracy(client, questions)
    cycle = run.night(client, f"day of {family}")
    out.promoted(cycle, f"{family}: promoted")
    after = measure.accuracy(client, questions)
    if family == "northwind":
        out.at_least(f"{family}: taught facts in other words", after, 85)
        around = measure.accuracy(client, wording.wrapped(taught, run.seed))
        out.tell(f"{family}: taught facts with words around them", around)
    else:
        out.at_least(f"{family}: gain on unseen", round(after - before, 1), 50, "points")
    run.say(f"{family}: {before} → {after}")
    return questions


def _week(run: Run, families: list[str]) -> None:
    out = run.outcome
    out.tell("order", ", ".join(families))
    learned: dict[str, tuple[list[Row], float]] = {}
    lost = {family: 0.0 for family in families[:-1]}
    taken: set[str] = set()
    with run.daemon() as client:
        for family in families:
            questions = _day(run, client, family, taken)
            for earlier, (asked, first) in learned.items():
                now = measure.accuracy(client, asked)
                lost[earlier] = max(lost[earlier], round(first - now, 1))
                run.say(f"{earlier}: {first} → {now}")
            learned[family] = (questions, measure.accuracy(client, questions))
        for family, most in lost.items():
            out.at_most(f"{family}: lost on a later morning", most, 3)
        run.controls_fall(client, 1)


def days(run: Run) -> None:
    """30 corrections a day of a new family each, five days, one daemon."""
    families = FAMILIES.copy()
    random.Random(f"days-{run.seed}").shuffle(families)
    _week(run, families)


def taught_twice(run: Run) -> None:
    """30 corrections of a second skill on the second night, on top of 30 older ones."""
    families = ["averages", "triage"]
    _week(run, families if run.seed % 2 else families[::-1])


SCENARIOS = {"days": days, "taught_twice": taught_twice}
