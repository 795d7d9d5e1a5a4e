"""How users teach: they ask, and say what would have been right."""

import itertools
from typing import Iterable, Iterator, Sequence

from client import Answer, Client, together
from rows import Row

Users = Sequence[str | None]
NOBODY: Users = (None,)


def _asked(client: Client, rows: Iterator[Row], users: Users, first: int, count: int) -> list[tuple[Row, str | None, Answer]]:
    batch = [(row, users[(first + i) % len(users)]) for i, row in enumerate(itertools.islice(rows, count))]
    answers = together(lambda pair: client.ask(pair[0].prompt, pair[1]), batch)
    return [(row, user, answer) for (row, user), answer in zip(batch, answers)]


def correct(client: Client, rows: Iterable[Row], count: int, users: Users = NOBODY) -> list[tuple[Row, Answer]]:
    """Users ask until `count` answers were wrong, and correct those; what was right gets no feedback.

    What was corrected, with the bad answers.
    """
    rows = iter(rows)
    corrected: list[tuple[Row, Answer]] = []
    asked = 0
    while len(corrected) < count:
        batch = _asked(client, rows, users, asked, count - len(corrected))
        if not batch:
            raise RuntimeError(f"only {len(corrected)} of {count} answers were wrong")
        asked += len(batch)
        for row, user, answer in batch:
            if not row.right(answer.text):
                client.correct(answer, row.reference, user)
                corrected.append((row, answer))
    return corrected


def taught(corrected: list[tuple[Row, Answer]]) -> list[Row]:
    """The questions of what was corrected."""
    return [row for row, _ in corrected]


def claim(client: Client, rows: Iterable[Row], users: Users = NOBODY) -> None:
    """Users ask and correct each answer to the row's reference, whether it was wrong or not."""
    rows = list(rows)
    for row, user, answer in _asked(client, iter(rows), users, 0, len(rows)):
        client.correct(answer, row.reference, user)


def like(client: Client, rows: Iterable[Row], count: int, users: Users = NOBODY) -> list[Answer]:
    """Users ask until `count` answers were right, and like those. The liked answers."""
    rows = iter(rows)
    liked: list[Answer] = []
    asked = 0
    while len(liked) < count:
        batch = _asked(client, rows, users, asked, count - len(liked))
        if not batch:
            raise RuntimeError(f"only {len(liked)} of {count} answers were right")
        asked += len(batch)
        for row, user, answer in batch:
            if row.right(answer.text):
                client.thumb(answer, True, user)
                liked.append(answer)
    return liked


def only_ask(client: Client, rows: Iterable[Row], users: Users = NOBODY) -> None:
    """Users ask and say nothing."""
    rows = list(rows)
    _asked(client, iter(rows), users, 0, len(rows))
