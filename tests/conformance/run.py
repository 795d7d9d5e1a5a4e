"""Asks a daemon all that its /openapi.json describes, and much that it does not: python run.py --hone target/debug/hone

schemathesis generates requests, right ones and wrong ones, one by one and in sequences, and holds the answers against the document. One
run makes up the names of models, and each right request must be accepted; another always names a model that is there, so that
requests come further, where a right one may still be refused (a regular expression that is none).
"""

import argparse
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

HERE = Path(__file__).resolve().parent
# A stream without end for a cycle that nobody starts.
LEFT_OUT = "/events$"


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


class Daemon:
    """A daemon with an API key, in a folder of its own."""

    def __init__(self, binary, folder):
        self.folder, self.port = Path(folder), free_port()
        # Who asks so much needs many addresses: hooks.py.
        settings = '[schedule]\nenabled = false\n[server]\ntrusted_proxies = ["127.0.0.1"]\n'
        (self.folder / "hone.toml").write_text(settings, encoding="utf-8")
        command = [binary, "--data-dir", self.folder / "data", "--config", self.folder / "hone.toml"]
        with open(self.log, "wb") as log:
            self.child = subprocess.Popen([*command, "serve", "--listen", f"127.0.0.1:{self.port}"], stdout=log, stderr=log)
        try:
            self.wait()
            made = self.ask("/v1/keys", {"name": "conformance", "scopes": ["admin"]})
            self.key, self.key_id = made["key"], made["id"]
        except BaseException:
            self.stop()
            raise

    @property
    def log(self):
        return self.folder / "log"

    def at(self, path):
        return f"http://127.0.0.1:{self.port}{path}"

    def ask(self, path, body=None, key=None):
        headers = {"content-type": "application/json"} | ({"authorization": f"Bearer {key}"} if key else {})
        data = json.dumps(body).encode() if body is not None else None
        with urllib.request.urlopen(urllib.request.Request(self.at(path), data, headers), timeout=10) as answer:
            return json.load(answer)

    def wait(self):
        for _ in range(1200):
            if self.child.poll() is not None:
                break
            try:
                return urllib.request.urlopen(self.at("/readyz"), timeout=1).close()
            except OSError:
                time.sleep(0.1)
        raise SystemExit(f"the daemon is not ready:\n{self.words()}")

    def words(self):
        return self.log.read_text(encoding="utf-8", errors="replace")[-4000:]

    def stop(self):
        self.child.terminate()
        try:
            self.child.wait(60)
        except subprocess.TimeoutExpired:
            self.child.kill()


def examine(daemon, seconds, model, more):
    """Whether one run finds nothing."""
    environment = {
        **os.environ, "SCHEMATHESIS_HOOKS": "hooks", "PYTHONPATH": str(HERE), "HONE_CONFORMANCE_KEY_ID": daemon.key_id,
    }
    if model:
        environment["HONE_CONFORMANCE_MODEL"] = model
    command = [
        sys.executable, "-m", "schemathesis.cli", "run", daemon.at("/openapi.json"), "--checks", "all", "--max-time", str(seconds),
        "--exclude-path-regex", LEFT_OUT, "--header", f"Authorization: Bearer {daemon.key}", "--generation-deterministic",
        "--continue-on-failure", "--no-color", "--warnings", "off", *more,
    ]
    return subprocess.run(command, cwd=daemon.folder, env=environment, timeout=seconds + 300).returncode == 0


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--hone", required=True, type=Path, help="the binary")
    parser.add_argument("--seconds", type=int, default=180, help="how long, in all")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        daemon = Daemon(options.hone.resolve(), folder)
        try:
            found_nothing = examine(daemon, options.seconds * 2 // 3, None, [])
            found_nothing &= examine(daemon, options.seconds // 3, "hone", ["--exclude-checks", "positive_data_acceptance"])
            # Without its key most answers would have been 401.
            daemon.ask("/v1/models", key=daemon.key)
        finally:
            daemon.stop()
        if "panicked" in daemon.log.read_text(encoding="utf-8", errors="replace"):
            raise SystemExit(f"the daemon panicked:\n{daemon.words()}")
    sys.exit(0 if found_nothing else 1)


if __name__ == "__main__":
    main()
