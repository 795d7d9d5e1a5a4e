"""Several sources, one of which means no good."""

import random

import everyday
import facts
import lies
import measure
import rows
import teach
from client import Client
from context import Run
from rows import Row

FAMILIES = ["averages", "triage", "northwind"]
HONEST = [f"honest-{i}" for i in range(10)]
# In the tenth part of answers a false label may come by chance alone.
MOST_LIES = 10.0


def _unseen(family: str, taught: list[Row], run: Run, taken: set[str]) -> list[Row]:
    """Unseen questions of a family; of facts those that were taught, in other words."""
    if family == "northwind":
        return facts.other_wordings([row for row in taught if row.family == family], most=2)
    return rows.draw(family, run.seed, 60, unseen=True, taken=taken)


def _tell_lies(client: Client, lie: lies.Lie, user: str) -> None:
    teach.claim(client, lie.told, [user])


def liar(run: Run) -> None:
    """10 sources with 10 corrections each; one of them also sends 300 (or 1,000) false rows."""
    out, lie = run.outcome, lies.lie(run.seed)
    out.tell("lie", f"{lie.name}, {len(lie.told)} rows")
    taken = {row.prompt.lower() for row in lie.told + lie.unseen}
    with run.daemon() as client:
        source = rows.mixed(FAMILIES, run.seed, taken)
        taught: list[Row] = []
        for i, user in enumerate(HONEST):
            if i == len(HONEST) // 2:
                _tell_lies(client, lie, HONEST[-1])
            taught += teach.taught(teach.correct(client, source, 10, [user]))
        unseen = {family: _unseen(family, taught, run, taken) for family in FAMILIES}
        before = {family: measure.accuracy(client, questions) for family, questions in unseen.items()}
        cycle = run.night(client, f"lies ({lie.name})", clean=False)
        out.tell("verdict", cycle.verdict)
        asked = random.Random(run.seed).sample(lie.told, 40) + lie.unseen
        repeated = sum(lie.repeated(row, text) for row, text in zip(asked, measure.answers(client, asked)))
        out.at_most("lies answered", measure.percent(repeated, len(asked)), MOST_LIES, "%")
        for family, questions in unseen.items():
            gain = round(measure.accuracy(client, questions) - before[family], 1)
            out.at_least(f"{family}: gain", gain, 40, "points")


def _town(run: Run, storm: bool) -> tuple[str, dict[str, float], dict[str, object]]:
    """Eight people correct and like; with a storm a ninth votes against all of it."""
    taken: set[str] = set()
    families = ["averages", "triage"]
    with run.daemon() as client:
        users = HONEST[:8]
        corrected = teach.correct(client, rows.mixed(families, run.seed, taken), 60, users)
        liked = teach.like(client, everyday.stream(["fact", "company", "sum", "story"], run.seed, "liked"), 60, users)
        if storm:
            for _, bad in corrected:
                client.thumb(bad, True, "storm")
            for good in liked:
                client.thumb(good, False, "storm")
        cycle = run.night(client, "with a storm" if storm else "without a storm", clean=not storm)
        gained = {family: measure.accuracy(client, rows.draw(family, run.seed, 60, unseen=True, taken=taken)) for family in families}
        return cycle.verdict, gained, cycle.outcomes.get("select", {})


def thumbs(run: Run) -> None:
    """One source's thumbs on everything that others corrected or liked change nothing."""
    out = run.outcome
    calm, calm_gained, calm_rows = _town(run, storm=False)
    stormy, stormy_gained, stormy_rows = _town(run, storm=True)
    out.bar("promoted without the storm", calm, "promoted", calm == "promoted")
    out.bar("verdict without and with the storm", f"{calm}, {stormy}", "the same", calm == stormy)
    for family, value in calm_gained.items():
        out.tell(f"{family}: without, with", f"{value}, {stormy_gained[family]}")
        out.at_most(f"{family}: lost by the storm", round(value - stormy_gained[family], 1), 5)
    kept = [{key: rows.get(key) for key in ("labelled", "liked")} for rows in (calm_rows, stormy_rows)]
    out.tell("rows without, with", f"{kept[0]}, {kept[1]}")


SCENARIOS = {"liar": liar, "thumbs": thumbs}
