"""What an adapter can: shares of right answers, and what the controls lost."""

import hashlib
import json
import os
import tempfile
from pathlib import Path
from typing import Any, Callable

from client import BASE, LIVE, Client, together
from recipe import STARTER, checks, workload
from rows import Row


def percent(part: int, whole: int) -> float:
    """A share in per cent."""
    return round(100 * part / whole, 1) if whole else 0.0


def answers(client: Client, rows: list[Row], model: str = LIVE) -> list[str]:
    """What a model says to each question."""
    return together(lambda row: client.probe(row.prompt, model).text, rows)


def right(client: Client, rows: list[Row], model: str = LIVE) -> int:
    """How many it answers right."""
    return sum(row.right(text) for row, text in zip(rows, answers(client, rows, model)))


def accuracy(client: Client, rows: list[Row], model: str = LIVE) -> float:
    """The share that it answers right, in per cent."""
    return percent(right(client, rows, model), len(rows))


def shown(texts: list[str], detect: Callable[[str], bool]) -> float:
    """The share of texts in which something shows, in per cent."""
    return percent(sum(map(detect, texts)), len(texts))


class Controls:
    """Skills that must stay. The base is asked once for each binary; its score is kept in a folder of the system."""

    def __init__(self, hone: Path, rows: int):
        self.rows: list[dict[str, Any]] = []
        for path in sorted((STARTER / "workloads").glob("control_*.jsonl")):
            self.rows += workload(path.stem)[:rows]
        digest = hashlib.sha256(hone.read_bytes()).hexdigest()[:16]
        folder = Path(os.environ.get("XDG_CACHE_HOME") or tempfile.gettempdir()) / "hone-scenarios"
        self.cache = folder / f"controls-{digest}-{len(self.rows)}.json"

    def _right(self, client: Client, model: str) -> list[bool]:
        texts = together(lambda row: client.probe(row["messages"], model).text, self.rows)
        return [checks.ok(row["check"], text) for row, text in zip(self.rows, texts)]

    def _base(self, client: Client) -> list[bool]:
        if not self.cache.exists():
            right = self._right(client, BASE)
            self.cache.parent.mkdir(parents=True, exist_ok=True)
            self.cache.write_text(json.dumps(right))
        return json.loads(self.cache.read_text())

    def fall(self, client: Client) -> tuple[float, str]:
        """Points that the live adapter is below the base over all control rows, and the figures in words."""
        if client.live() == "base":
            return 0.0, "the base serves"
        base, live = self._base(client), self._right(client, LIVE)
        families: dict[str, int] = {}
        for row, before, after in zip(self.rows, base, live):
            families[row["family"]] = families.get(row["family"], 0) + before - after
        worst, lost = max(families.items(), key=lambda pair: pair[1])
        before, after = (100 * sum(part) / len(self.rows) for part in (base, live))
        words = f"{before:.2f} → {after:.2f}" + (f", most lost: {worst} {lost} rows" if lost > 0 else "")
        return round(before - after, 2), words
