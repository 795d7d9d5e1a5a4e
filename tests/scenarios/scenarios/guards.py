"""Any model: one that only learned is promoted, one that ruined the rest is not."""

import facts
import measure
import plain_english
import teach
from client import Client, Cycle
from context import Run
from rows import Row

CORRECTIONS = 10
# No rehearsal and ten times the rate: the ten answers are learned, and everything else goes.
RUINOUS = "[training]\nkl_weight = 0.0\nlearning_rate = 0.01\n"


def _evening(run: Run, client: Client, name: str, clean: bool) -> tuple[Cycle, list[Row]]:
    taught = teach.taught(teach.correct(client, iter(facts.some(run.seed, len(facts.FACTS))), CORRECTIONS))
    return run.night(client, name, clean), taught


def _only_learns(run: Run) -> None:
    out = run.outcome
    with run.daemon() as client:
        cycle, taught = _evening(run, client, "with the defaults", clean=True)
        out.promoted(cycle)
        out.at_least("taught questions right", measure.right(client, taught), 9, "of 10")
        out.at_most("plain English less likely than to the base", plain_english.fall(client), 2, "%")


def _ruins(run: Run) -> None:
    out = run.outcome
    with run.daemon(RUINOUS) as client:
        cycle, _ = _evening(run, client, "with ruinous training", clean=False)
        out.bar("ruined: verdict", cycle.verdict, "rejected", cycle.verdict == "rejected")
        out.bar("ruined: who serves", client.live(), "base", client.live() == "base")
        out.tell("ruined: why", cycle.reason)
        fall = plain_english.fall(client, f"hone:{cycle.candidate}")
        out.tell("ruined: plain English less likely", f"{fall} %")


def guards(run: Run) -> None:
    """10 facts with the defaults, and with training that ruins; for --model."""
    _only_learns(run)
    _ruins(run)


SCENARIOS = {"guards": guards}
