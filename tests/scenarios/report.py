"""The results as lines, as a Markdown table and as JSON."""

from dataclasses import asdict, dataclass
from typing import Any

from outcome import Outcome


@dataclass
class Result:
    """One scenario with one seed."""

    scenario: str
    seed: int
    outcome: Outcome
    seconds: float
    error: str = ""
    last_words: str = ""

    @property
    def passed(self) -> bool:
        return not self.error and self.outcome.passed


def line(result: Result) -> str:
    """One compact line."""
    word = "ERROR" if result.error else "pass" if result.passed else "FAIL"
    parts = [
        f"{figure.name} {figure.value}" + ("" if figure.held is not False else f" (bar {figure.bar})")
        for figure in result.outcome.figures
    ]
    parts += result.error.splitlines()[-1:]
    return f"{word:5} {result.scenario} seed {result.seed}, {result.seconds:.0f} s: {'; '.join(parts)}"


def _cell(text: Any) -> str:
    return str(text).replace("|", "\\|").replace("\n", " ")


def _rows(results: list[Result]) -> list[str]:
    names: dict[str, str] = {}
    for result in results:
        for figure in result.outcome.figures:
            names[figure.name] = figure.bar or names.get(figure.name, "")
    lines = []
    for name, bar in names.items():
        found = [next((f for f in result.outcome.figures if f.name == name), None) for result in results]
        cells = [_cell(figure.value) if figure else "—" for figure in found]
        judged = [figure.held for figure in found if figure and figure.held is not None]
        held = f"{sum(judged)} of {len(judged)}" if judged else ""
        lines.append(f"| {_cell(name)} | {_cell(bar)} | {' · '.join(cells)} | {held} |")
    return lines


def refused(results: list[Result]) -> tuple[int, int]:
    """Of the clean cycles, how many were not promoted."""
    clean = [night for result in results for night in result.outcome.nights if night.clean]
    return sum(night.verdict != "promoted" for night in clean), len(clean)


def table(results: list[Result]) -> str:
    """All figures, the seeds side by side; then the cycles."""
    by_name: dict[str, list[Result]] = {}
    for result in results:
        by_name.setdefault(result.scenario, []).append(result)
    lines = ["| scenario | bar | measured, by seed | held |", "|---|---|---|---|"]
    for name, some in by_name.items():
        seeds = ", ".join(str(result.seed) for result in some)
        passed = sum(result.passed for result in some)
        lines.append(f"| **{name}** (seeds {seeds}) | | {sum(r.seconds for r in some):.0f} s | **{passed} of {len(some)}** |")
        lines += _rows(some)
        lines += [f"| error, seed {r.seed} | | {_cell(r.error.splitlines()[-1])} | |" for r in some if r.error]
    lines += ["", "| cycle | seed | verdict | seconds | reason |", "|---|---|---|---|---|"]
    for result in results:
        for night in result.outcome.nights:
            lines.append(
                f"| {result.scenario}: {_cell(night.name)} | {result.seed} | {night.verdict} | {night.seconds:.0f} | {_cell(night.reason)} |"
            )
    wrong, clean = refused(results)
    if clean:
        lines += ["", f"Clean cycles refused: {wrong} of {clean} (bar: at most 1 of 20)."]
    return "\n".join(lines)


def as_json(results: list[Result]) -> list[dict[str, Any]]:
    """Everything."""
    return [{"passed": result.passed, **asdict(result)} for result in results]
