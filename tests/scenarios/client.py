"""What a user of the API does, in one call each."""

import http.client
import json
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Callable, Iterable, TypeVar

BASE = "hone:base"
LIVE = "hone"
MAX_TOKENS = 192
AT_ONCE = 16

Messages = list[dict[str, str]]
T = TypeVar("T")
R = TypeVar("R")


@dataclass
class Answer:
    """An answer of the chat endpoint."""

    id: str
    text: str
    adapter: str


@dataclass
class Cycle:
    """How a cycle ended."""

    verdict: str
    reason: str
    seconds: float
    outcomes: dict[str, Any]
    candidate: str

    @property
    def promoted(self) -> bool:
        return self.verdict == "promoted"


class Client:
    """Talks to one daemon."""

    def __init__(self, port: int):
        self.port = port

    def call(self, method: str, path: str, body: Any = None, user: str | None = None) -> tuple[int, dict[str, str], Any]:
        """One request: status, headers, body. A full queue is waited for, as clients do."""
        headers = {"content-type": "application/json"}
        if user:
            headers["x-hone-user"] = user
        text = None if body is None else json.dumps(body)
        for _ in range(60):
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=600)
            try:
                connection.request(method, path, text, headers)
                reply = connection.getresponse()
                raw = reply.read().decode()
            finally:
                connection.close()
            if reply.status != 429:
                break
            time.sleep(1)
        try:
            value = json.loads(raw)
        except ValueError:
            value = raw
        return reply.status, {k.lower(): v for k, v in reply.getheaders()}, value

    def must(self, method: str, path: str, body: Any = None, user: str | None = None) -> tuple[dict[str, str], Any]:
        """Like `call`, but anything except success is an error."""
        status, headers, value = self.call(method, path, body, user)
        if not 200 <= status < 300:
            raise RuntimeError(f"{method} {path}: HTTP {status}: {value}")
        return headers, value

    def ready(self) -> bool:
        try:
            return self.call("GET", "/readyz")[0] == 200
        except OSError:
            return False

    def ask(self, messages: Messages | str, user: str | None = None) -> Answer:
        """A user asks; the daemon may keep it."""
        return self._chat(messages, LIVE, user, {"user": user} if user else {})

    def probe(self, messages: Messages | str, model: str = LIVE) -> Answer:
        """Asks to measure: nothing of it is kept."""
        return self._chat(messages, model, None, {"store": False})

    def _chat(self, messages: Messages | str, model: str, user: str | None, more: dict[str, Any]) -> Answer:
        if isinstance(messages, str):
            messages = [{"role": "user", "content": messages}]
        body = {"model": model, "messages": messages, "temperature": 0, "max_tokens": MAX_TOKENS, **more}
        headers, value = self.must("POST", "/v1/chat/completions", body, user)
        text = value["choices"][0]["message"]["content"] or ""
        return Answer(value["id"], text, headers.get("x-hone-adapter", ""))

    def correct(self, answer: Answer, text: str, user: str | None = None) -> None:
        """Says what would have been right."""
        self._feedback(answer, "demonstration", text, user)

    def thumb(self, answer: Answer, good: bool, user: str | None = None) -> None:
        """Likes an answer, or not."""
        self._feedback(answer, "thumbs", good, user)

    def _feedback(self, answer: Answer, metric: str, value: Any, user: str | None) -> None:
        body = {"inference_id": answer.id, "metric_name": metric, "value": value}
        self.must("POST", "/v1/feedback", body, user)

    def live(self) -> str:
        """The adapter that answers, or `base`."""
        return self.probe("Hi").adapter

    def cycle(self, timeout: float = 6 * 3600) -> Cycle:
        """Runs a cycle to its end."""
        start = time.monotonic()
        _, view = self.must("POST", "/v1/cycles", {})
        while view["status"] in ("queued", "running"):
            if time.monotonic() - start > timeout:
                raise RuntimeError(f"cycle {view['id']} did not end within {timeout:.0f} s")
            time.sleep(0.3)
            _, view = self.must("GET", f"/v1/cycles/{view['id']}")
        verdict = view["verdict"] or view["status"]
        return Cycle(verdict, view["reason"] or "", time.monotonic() - start, view.get("outcomes") or {}, view.get("candidate") or "")


def together(work: Callable[[T], R], items: Iterable[T]) -> list[R]:
    """Does the same for many, some at once; the results are in the order of the items."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return list(pool.map(work, items))
