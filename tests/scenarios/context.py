"""What a scenario is given: a seed, daemons, the controls, and a place to tell how it goes."""

import json
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from client import Client, Cycle
from daemon import Daemon
from measure import Controls
from outcome import Night, Outcome


@dataclass
class Options:
    """The settings of the command line."""

    hone: Path
    controls: int = 100
    nights: int = 3
    settings: str = ""
    model: Path | None = None
    keep: bool = False


@dataclass
class Run:
    """One scenario with one seed."""

    name: str
    seed: int
    options: Options
    controls: Controls
    outcome: Outcome = field(default_factory=Outcome)
    daemons: list[Daemon] = field(default_factory=list)
    start: float = field(default_factory=time.monotonic)

    def say(self, text: str) -> None:
        """A line of progress."""
        print(f"  {self.name} seed {self.seed} [{time.monotonic() - self.start:5.0f} s] {text}", file=sys.stderr, flush=True)

    def daemon(self, settings: str = "") -> Daemon:
        """A daemon of its own, with more settings if they are given; killed at the end of the `with` block."""
        options = self.options
        model = f"[model]\nsource = {json.dumps(str(options.model.resolve()))}\n" if options.model else ""
        daemon = Daemon(options.hone, model + options.settings + settings, options.keep)
        self.daemons.append(daemon)
        return daemon

    def night(self, client: Client, name: str, clean: bool = True) -> Cycle:
        """A cycle; it is told and counted."""
        cycle = client.cycle()
        self.outcome.nights.append(Night(name, clean, cycle.verdict, cycle.reason, round(cycle.seconds, 1)))
        self.say(f"{name}: {cycle.verdict} in {cycle.seconds:.0f} s: {cycle.reason}")
        return cycle

    def controls_fall(self, client: Client, most: float) -> None:
        """The controls must not fall by more than so many points below the base. Three rows may always: with the few rows of
        `--quick` they are more points than the bar; with 100 of each file they are 0.25."""
        fall, words = self.controls.fall(client)
        most = max(most, round(100 * 3 / len(self.controls.rows), 2))
        self.outcome.at_most("controls below the base", fall, most)
        self.outcome.tell("controls", words)
