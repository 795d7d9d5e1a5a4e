"""What the generator has to know beside the document.

A JSON schema says nothing of other fields' values, of the last of a list, of the time, and of texts in another language. Requests
that are wrong in one of these ways are left out; each is refused with 400 and its field's name, for which there are tests elsewhere.
Nothing that the document could say belongs here, but for three rules of chat (its tools' two, and how its prompt ends): conditions
multiply, and the generator gives up beyond some dozens of ways to satisfy them all.
"""

import itertools
import json
import os
import time

import requests
import schemathesis

MODEL = os.environ.get("HONE_CONFORMANCE_MODEL")
# The id of the key that all requests come with, and one of the same form that nobody has.
KEY_ID = os.environ["HONE_CONFORMANCE_KEY_ID"]
NO_KEY = KEY_ID[:-1] + ("0" if KEY_ID[-1] != "0" else "1")
ADDRESSES = itertools.count()
PATIENCE_MS = 60_000


send = requests.Session.send


def send_from_elsewhere(self, request, **options):
    """Each request comes from an address of its own: a single one would be told 429 for presenting so many wrong keys. None revokes
    the key that it comes with, which a list of all keys tells: the others would be told 401 and nothing else."""
    if request.method == "DELETE":
        request.url = request.url.replace(KEY_ID, NO_KEY)
    number = next(ADDRESSES)
    request.headers["x-forwarded-for"] = f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"
    return send(self, request, **options)


requests.Session.send = send_from_elsewhere


@schemathesis.hook
def map_body(context, body):
    """Without it nearly all names of models are unknown, and nearly all requests end there."""
    if MODEL and isinstance(body, dict) and isinstance(body.get("model"), str) and body["model"]:
        body = {**body, "model": MODEL}
    return body


@schemathesis.hook
def filter_case(context, case):
    return is_sayable(case.body, case.headers or {})


def is_sayable(body, headers):
    patience = str(headers.get("x-request-timeout-ms", PATIENCE_MS))
    if patience.isdecimal() and 0 < int(patience) < PATIENCE_MS:
        return False  # 504
    return not isinstance(body, dict) or all(rule(body) for rule in RULES)


def names_of_tools(body):
    """Chat's tools have their name in `function`, those of responses have it flat."""
    tools = body.get("tools")
    objects = [tool for tool in tools if isinstance(tool, dict)] if isinstance(tools, list) else []
    functions = [tool["function"] if isinstance(tool.get("function"), dict) else tool for tool in objects]
    return [function["name"] for function in functions if isinstance(function.get("name"), str)]


def tools_have_names_of_their_own(body):
    names = names_of_tools(body)
    return len(names) == len(set(names))


def choice_is_one_of_the_tools(body):
    choice = body.get("tool_choice")
    if choice == "required":
        return bool(body.get("tools"))
    if not isinstance(choice, dict):
        return True
    function = choice.get("function", choice)
    name = function.get("name") if isinstance(function, dict) else None
    return not isinstance(name, str) or name in names_of_tools(body)


def no_grammar_is_beside_tools(body):
    outputs = body.get("structured_outputs")
    grammar = body.get("guided_grammar") or (outputs.get("grammar") if isinstance(outputs, dict) else None)
    return grammar is None or not body.get("tools") or body.get("tool_choice") == "none"


def input_is_more_than_thoughts(body):
    items = body.get("input")
    is_thought = lambda item: isinstance(item, dict) and item.get("type") == "reasoning"
    return not isinstance(items, list) or not items or not all(map(is_thought, items))


def prompt_has_one_end(body):
    return not (body.get("add_generation_prompt") is True and body.get("continue_final_message") is True)


def last_message_goes_on(body):
    messages = body.get("messages")
    if body.get("continue_final_message") is not True or not isinstance(messages, list) or not messages:
        return True
    content = messages[-1].get("content") if isinstance(messages[-1], dict) else None
    parts = [part.get("text") for part in content if isinstance(part, dict)] if isinstance(content, list) else [content]
    return bool("".join(part for part in parts if isinstance(part, str)).strip())


def end_is_to_come(body):
    end = body.get("expires_at")
    return not isinstance(end, (int, float)) or isinstance(end, bool) or end > (time.time() + 60) * 1000


def texts_are_in_their_language(body):
    outputs = body.get("structured_outputs")
    schemas = [body.get("guided_json"), outputs.get("json") if isinstance(outputs, dict) else None]
    return not isinstance(body.get("lines"), str) and all(map(is_schema, schemas))


def is_schema(text):
    if not isinstance(text, str):
        return True
    try:
        return isinstance(json.loads(text), dict)
    except ValueError:
        return False


RULES = [
    tools_have_names_of_their_own,
    choice_is_one_of_the_tools,
    no_grammar_is_beside_tools,
    input_is_more_than_thoughts,
    prompt_has_one_end,
    last_message_goes_on,
    end_is_to_come,
    texts_are_in_their_language,
]
