"""A real daemon with a data folder of its own: started on a free port, killed with all its children."""

import atexit
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

from client import Client

SETTINGS = "[schedule]\nenabled = false\n"
_running: list["Daemon"] = []


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


class Daemon:
    """`hone serve` with default settings; only the nightly schedule is off, since scenarios start their cycles."""

    def __init__(self, hone: Path, settings: str = "", keep: bool = False):
        self.folder = Path(tempfile.mkdtemp(prefix="hone-scenario-"))
        self.keep = keep
        self.log = self.folder / "log.txt"
        self.said = ""
        config = self.folder / "hone.toml"
        config.write_text(SETTINGS + settings)
        port = _free_port()
        command = [hone, "--data-dir", self.folder / "data", "--config", config, "serve", "--listen", f"127.0.0.1:{port}"]
        with open(self.log, "wb") as log:
            # A session of its own: a kill of the group takes the training child with it.
            self.process = subprocess.Popen(
                command, cwd=self.folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        _running.append(self)
        self.client = Client(port)
        self._wait_until_ready()

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + 180
        while not self.client.ready():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the daemon is not ready; it says:\n{self.last_words()}")
            time.sleep(0.1)

    def last_words(self, lines: int = 30) -> str:
        """The end of its log."""
        try:
            return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])
        except OSError:
            return ""

    def stop(self) -> None:
        """Kills the daemon and its children; its folder goes unless it is to be kept."""
        if self in _running:
            _running.remove(self)
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait()
        self.said = self.last_words()
        if not self.keep:
            shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> Client:
        return self.client

    def __exit__(self, *_: object) -> None:
        self.stop()


def stop_all() -> None:
    """Kills every daemon that still runs."""
    for daemon in list(_running):
        daemon.stop()


def _ended(number: int, _frame: object) -> None:
    raise SystemExit(128 + number)


def always_clean_up() -> None:
    """Makes sure that no daemon outlives this program, however it ends (but for a kill -9)."""
    atexit.register(stop_all)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _ended)
