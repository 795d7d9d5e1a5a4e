"""Many people correct a lot, and nobody likes anything."""

import facts
import measure
import rows
import teach
from context import Run

# What PEFT reaches with 400 corrections and 400 rehearsal rows (the starter's card).
BARS = {"averages": 98.5, "discounts": 82.5, "northwind": 58.0, "house_format": 90.5, "triage": 88.5}
EACH, BLOCKS = 80, 5
USERS = [f"user-{i}" for i in range(10)]


def nolikes400(run: Run) -> None:
    """400 corrections by ten people, 80 of each of the five families; no likes."""
    out = run.outcome
    taken: set[str] = set()
    unseen = {family: rows.draw(family, run.seed, 100, unseen=True, taken=taken) for family in BARS}
    # The card's northwind rows keep the taught wordings in half of the questions; these have none of them.
    strange = [fact.row(wording) for fact in facts.FACTS for wording in fact.wordings[4:]]
    streams = {family: rows.stream(family, run.seed, taken=taken) for family in BARS}
    with run.daemon() as client:
        for _ in range(BLOCKS):
            for family in BARS:
                teach.correct(client, streams[family], EACH // BLOCKS, USERS)
        out.promoted(run.night(client, "400 corrections"))
        for family, bar in BARS.items():
            out.at_least(f"{family}: unseen", measure.accuracy(client, unseen[family]), bar)
        out.tell("northwind: only wordings never taught", measure.accuracy(client, strange))
        run.controls_fall(client, 0.5)


SCENARIOS = {"nolikes400": nolikes400}
