"""What a scenario measured, and whether it holds its bars."""

from dataclasses import dataclass, field
from typing import Any

from client import Cycle


@dataclass
class Figure:
    """A measured value; with a bar it is held or not."""

    name: str
    value: Any
    bar: str = ""
    held: bool | None = None


@dataclass
class Night:
    """A cycle of a scenario; a clean one learns from true feedback alone and should be promoted."""

    name: str
    clean: bool
    verdict: str
    reason: str
    seconds: float


@dataclass
class Outcome:
    """Figures and cycles of one scenario with one seed."""

    figures: list[Figure] = field(default_factory=list)
    nights: list[Night] = field(default_factory=list)

    def tell(self, name: str, value: Any) -> None:
        """A figure without a bar."""
        self.figures.append(Figure(name, value))

    def bar(self, name: str, value: Any, bar: str, held: bool) -> None:
        """A figure with a bar."""
        self.figures.append(Figure(name, value, bar, held))

    def at_least(self, name: str, value: float, bar: float, unit: str = "%") -> None:
        """The value must be the bar or more."""
        self.bar(name, value, f"≥ {bar:g} {unit}".strip(), value >= bar)

    def at_most(self, name: str, value: float, bar: float, unit: str = "points") -> None:
        """The value must be the bar or less."""
        self.bar(name, value, f"≤ {bar:g} {unit}".strip(), value <= bar)

    def promoted(self, cycle: Cycle, name: str = "promoted") -> None:
        """The cycle must have promoted its candidate."""
        self.bar(name, cycle.verdict, "promoted", cycle.promoted)

    @property
    def passed(self) -> bool:
        return all(figure.held is not False for figure in self.figures)
