"""Corrections in chats that go on, as in every chat window: the bad answer stays in the history."""

import random
from typing import Iterator

import everyday
import measure
import rows
import teach
from client import Client, Messages
from context import Run
from rows import Row

FAMILIES = ["averages", "triage", "discounts"]
CORRECTIONS = 60
UNSEEN = 60


def _chat(client: Client, turns: list[tuple[Row, bool]], most: int) -> int:
    """A chat of these turns, each asked with all that was said before. What is wrong is corrected, at most so often, and the
    chat goes on with the bad answer in it; small talk gets no feedback. How many were corrected."""
    history: Messages = []
    corrected = 0
    for row, is_question in turns:
        history.append({"role": "user", "content": row.prompt})
        answer = client.ask(history)
        history.append({"role": "assistant", "content": answer.text})
        if is_question and corrected < most and not row.right(answer.text):
            client.correct(answer, row.reference)
            corrected += 1
    return corrected


def _chats(run: Run, client: Client, questions: Iterator[Row]) -> None:
    """Chats of 3 to 6 turns, about every fourth of them small talk, until enough was corrected."""
    rng = random.Random(f"chats-{run.seed}")
    talk = everyday.stream(["small_talk"], run.seed, "talk")
    corrected = chats = 0
    while corrected < CORRECTIONS:
        if chats > 3 * CORRECTIONS:
            raise RuntimeError(f"only {corrected} answers were wrong in {chats} chats")
        small = [rng.random() < 0.25 for _ in range(rng.randint(3, 6))]
        turns = [(next(talk), False) if is_talk else (next(questions), True) for is_talk in small]
        corrected += _chat(client, turns, CORRECTIONS - corrected)
        chats += 1
    run.say(f"{corrected} corrections in {chats} chats")


def _arm(run: Run, family: str, goes_on: bool) -> float:
    """Unseen questions right after a night, in per cent."""
    name = "in chats that go on" if goes_on else "in single chats"
    taken: set[str] = set()
    unseen = rows.draw(family, run.seed, UNSEEN, unseen=True, taken=taken)
    questions = rows.stream(family, run.seed, taken=taken)
    with run.daemon() as client:
        if goes_on:
            _chats(run, client, questions)
        else:
            teach.correct(client, questions, CORRECTIONS)
        cycle = run.night(client, f"60 corrections of {family} {name}")
        run.outcome.promoted(cycle, f"{name}: promoted")
        return measure.accuracy(client, unseen)


def conversation(run: Run) -> None:
    """60 corrections in chats that go on, against the same in single chats."""
    family = FAMILIES[run.seed % len(FAMILIES)]
    run.outcome.tell("family", family)
    single = _arm(run, family, goes_on=False)
    running = _arm(run, family, goes_on=True)
    run.outcome.tell("unseen, single chats", single)
    run.outcome.tell("unseen, chats that go on", running)
    run.outcome.at_most("lost by going on", round(single - running, 1), 5)


SCENARIOS = {"conversation": conversation}
