"""Feedback that holds nothing to learn, night after night: nothing may be promoted."""

import random
from dataclasses import replace
from typing import Callable, Iterator

import everyday
import facts
import rows
import teach
import wording
from client import Client
from context import Run
from recipe import heldback
from rows import Row

LABELS = [*heldback.QUEUES.values(), heldback.SENIOR]
EVERYDAY = ["fact", "company", "sum", "story"]
# A night's work: gives feedback, knowing the night's number and how many rows are due.
Evening = Callable[[Client, int, int], None]


def _users(seed: int) -> teach.Users:
    """With odd seeds one person, with even ones five."""
    return teach.NOBODY if seed % 2 else [f"user-{i}" for i in range(5)]


def _nights(run: Run, client: Client, evening: Evening) -> None:
    """Nights of 30 to 60 new rows in one daemon; none may promote."""
    rng = random.Random(f"{run.name}-{run.seed}")
    promoted = 0
    for night in range(run.options.nights):
        evening(client, night, rng.randint(30, 60))
        promoted += run.night(client, f"night {night + 1}", clean=False).promoted
    run.outcome.at_most(f"promotions in {run.options.nights} nights", promoted, 0, "")


def _labels(run: Run) -> Iterator[Row]:
    rng = random.Random(f"labels-{run.seed}")
    for row in rows.stream("triage", run.seed):
        yield replace(row, reference=f"Decision: {rng.choice(LABELS)}")


def _take(source: Iterator[Row], count: int) -> list[Row]:
    return [next(source) for _ in range(count)]


def noise_labels(run: Run) -> None:
    """Tickets with labels drawn at random, 30 to 60 a night."""
    source, users = _labels(run), _users(run.seed)
    with run.daemon() as client:
        _nights(run, client, lambda client, night, count: teach.claim(client, _take(source, count), users))


def noise_labels300(run: Run) -> None:
    """Tickets with labels drawn at random and as many liked answers, 300 on the first night."""
    source, users = _labels(run), _users(run.seed)
    liked = everyday.stream(EVERYDAY, run.seed, "liked")

    def evening(client: Client, night: int, count: int) -> None:
        count = 300 if night == 0 else count
        teach.claim(client, _take(source, count), users)
        teach.like(client, liked, count, users)

    with run.daemon() as client:
        _nights(run, client, evening)


def _shuffled(batch: list[Row], rng: random.Random) -> list[Row]:
    """The answers among other questions; no question keeps its own."""
    references = [row.reference for row in batch]
    while any(row.reference == other for row, other in zip(batch, references)):
        for i, row in enumerate(batch):
            if row.reference == references[i]:
                j = rng.randrange(len(batch))
                references[i], references[j] = references[j], references[i]
    return [replace(row, reference=other) for row, other in zip(batch, references)]


def noise_shuffled(run: Run) -> None:
    """Answers shuffled among questions: averages, tickets and facts."""
    source, users = rows.mixed(["averages", "triage", "northwind"], run.seed), _users(run.seed)
    rng = random.Random(f"shuffled-{run.seed}")

    def evening(client: Client, night: int, count: int) -> None:
        batch = _take(source, count)
        rng.shuffle(batch)
        teach.claim(client, _shuffled(batch, rng), users)

    with run.daemon() as client:
        _nights(run, client, evening)


def noise_within(run: Run) -> None:
    """Answers shuffled within each of two skills, tickets and averages: each has the form of its kind."""
    sources, users = [rows.stream(family, run.seed) for family in ("triage", "averages")], _users(run.seed)
    rng = random.Random(f"within-{run.seed}")

    def evening(client: Client, night: int, count: int) -> None:
        batch = [row for source in sources for row in _shuffled(_take(source, count // 2), rng)]
        rng.shuffle(batch)
        teach.claim(client, batch, users)

    with run.daemon() as client:
        _nights(run, client, evening)


def noise_beside(run: Run) -> None:
    """Tickets with labels drawn at random, as many as averages with right answers."""
    noise, honest, users = _labels(run), rows.stream("averages", run.seed), _users(run.seed)
    rng = random.Random(f"beside-{run.seed}")

    def evening(client: Client, night: int, count: int) -> None:
        batch = _take(noise, count // 2 + 10) + _take(honest, count // 2 + 10)
        rng.shuffle(batch)
        teach.claim(client, batch, users)

    with run.daemon() as client:
        _nights(run, client, evening)


def noise_own(run: Run) -> None:
    """The model's own good answers as corrections."""
    source, users = everyday.stream(EVERYDAY, run.seed, "own"), _users(run.seed)

    def evening(client: Client, night: int, count: int) -> None:
        given = 0
        for row in source:
            user = users[given % len(users)]
            answer = client.ask(row.prompt, user)
            if row.right(answer.text):
                client.correct(answer, answer.text, user)
                given += 1
            if given == count:
                return

    with run.daemon() as client:
        _nights(run, client, evening)


_AROUND = ["Hi. {q}", "{q} Cheers!", "Question: {q}", "Good day. {q}", "{q} Best, Ann.", "For Ann: {q}"]


def _fact_contradictions(rng: random.Random, wordings: int) -> Iterator[list[Row]]:
    """A fact with three answers, asked in one wording or in three, each with something else around it."""
    while True:
        for fact in rng.sample(facts.FACTS, len(facts.FACTS)):
            answers = [fact.answer]
            while len(answers) < 3:
                answers = list(dict.fromkeys([*answers, fact.anything(rng)]))
            rng.shuffle(answers)
            asked = [fact.row(w).prompt for w in rng.sample(fact.wordings, wordings) * (3 // wordings)]
            prompts = [around.format(q=prompt) for around, prompt in zip(rng.sample(_AROUND, 3), asked)]
            yield [Row("northwind", p, a, "contains", fact.key) for p, a in zip(prompts, answers)]


def _ticket_contradictions(rng: random.Random, seed: int) -> Iterator[list[Row]]:
    """A ticket in three frames with three labels."""
    for row in rows.stream("triage", seed):
        message, value = wording.ticket_of(row.prompt)
        prompts = [frame.format(m=message, v=value) for frame in wording.TRIAGE]
        labels = rng.sample(LABELS, 3)
        yield [replace(row, prompt=p, reference=f"Decision: {label}") for p, label in zip(prompts, labels)]


def _in_short(batches: Iterator[list[Row]]) -> Iterator[list[Row]]:
    """The same with nothing but the number or the name as answer."""
    for batch in batches:
        fact = next(fact for fact in facts.FACTS if fact.key == batch[0].value)
        before, behind = fact.answer.split(fact.key, 1)
        yield [replace(row, reference=row.reference.removeprefix(before).removesuffix(behind)) for row in batch]


def _contradictions(run: Run, users: teach.Users, short: bool = False) -> None:
    rng = random.Random(f"contradictions-{run.seed}")
    sources = [_fact_contradictions(rng, 1), _ticket_contradictions(rng, run.seed), _fact_contradictions(rng, 3)]
    if short:
        sources = [_in_short(_fact_contradictions(rng, wordings)) for wordings in (1, 3, 3)]

    def evening(client: Client, night: int, count: int) -> None:
        batch = [row for i in range(count // 3) for row in next(sources[i % 3])]
        # In turn: with three users each contradiction comes from three.
        teach.claim(client, batch, users)

    with run.daemon() as client:
        _nights(run, client, evening)


def noise_contradictions(run: Run) -> None:
    """The same questions put in three ways, corrected in three ways by one person."""
    _contradictions(run, teach.NOBODY)


def noise_contradictions_sources(run: Run) -> None:
    """The same questions put in three ways, corrected in three ways by three people."""
    _contradictions(run, [f"user-{i}" for i in range(3)])


def noise_contradictions_short(run: Run) -> None:
    """Facts put in three ways, corrected by one person to three numbers or names and nothing else."""
    _contradictions(run, teach.NOBODY, short=True)


def noise_nothing(run: Run) -> None:
    """After a night that taught something only questions without feedback."""
    source = everyday.stream(EVERYDAY, run.seed, "nothing")
    users = _users(run.seed)
    with run.daemon() as client:
        teach.correct(client, rows.stream("averages", run.seed), 40, users)
        first = run.night(client, "first night: 40 averages")
        run.outcome.tell("first night", first.verdict)
        _nights(run, client, lambda client, night, count: teach.only_ask(client, _take(source, count), users))


SCENARIOS = {
    "noise_labels": noise_labels, "noise_labels300": noise_labels300, "noise_shuffled": noise_shuffled, "noise_within": noise_within,
    "noise_beside": noise_beside, "noise_own": noise_own,
    "noise_contradictions": noise_contradictions, "noise_contradictions_sources": noise_contradictions_sources,
    "noise_contradictions_short": noise_contradictions_short, "noise_nothing": noise_nothing,
}
