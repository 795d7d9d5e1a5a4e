"""Tools and structured answers through the openai SDK: python openai_tools.py http://127.0.0.1:8080/v1"""

import json
import sys
from typing import Literal

import openai
from pydantic import BaseModel

client = openai.OpenAI(base_url=sys.argv[1], api_key="none", max_retries=0)
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather of a city.",
        "parameters": {
            "type": "object",
            "properties": {
                "city": {"enum": ["Oslo", "Bern"]},
                "unit": {"enum": ["C", "F"]},
                "days": {"type": "integer", "minimum": 1, "maximum": 7},
            },
            "required": ["city", "unit", "days"],
            "additionalProperties": False,
        },
        "strict": True,
    },
}
STOP = {"type": "function", "function": {"name": "stop"}}
QUESTION = [{"role": "user", "content": "How is the weather in Oslo?"}]
common = {"model": "hone", "messages": QUESTION, "max_tokens": 200, "seed": 3}


def check(call):
    assert call.type == "function" and call.id, call
    arguments = json.loads(call.function.arguments)
    if call.function.name == "stop":
        assert arguments == {}, arguments
        return
    assert call.function.name == "get_weather", call
    assert set(arguments) == {"city", "unit", "days"} and arguments["city"] in ("Oslo", "Bern"), arguments
    assert 1 <= arguments["days"] <= 7, arguments


for temperature in (0, 1):
    # Something must be called.
    answer = client.chat.completions.create(
        **common, tools=[WEATHER, STOP], tool_choice="required", parallel_tool_calls=False, temperature=temperature, n=2
    )
    for choice in answer.choices:
        assert choice.finish_reason == "tool_calls" and choice.message.content is None, choice
        assert len(choice.message.tool_calls) == 1
        check(choice.message.tool_calls[0])
    assert answer.choices[0].message.tool_calls[0].id != answer.choices[1].message.tool_calls[0].id

    # This must be called, and comes in pieces.
    named = {"type": "function", "function": {"name": "get_weather"}}
    stream = client.chat.completions.create(
        **common, tools=[WEATHER, STOP], tool_choice=named, temperature=temperature, stream=True
    )
    name, arguments, ids, reasons, pieces = "", "", [], [], 0
    for chunk in stream:
        choice = chunk.choices[0]
        reasons += [choice.finish_reason] if choice.finish_reason else []
        assert not choice.delta.content, choice
        for call in choice.delta.tool_calls or []:
            assert call.index == 0
            ids += [call.id] if call.id else []
            name += call.function.name or ""
            arguments += call.function.arguments or ""
            pieces += 1
    assert (name, len(ids), reasons) == ("get_weather", 1, ["tool_calls"]) and pieces > 3, (name, ids, reasons)
    assert json.loads(arguments)["city"] in ("Oslo", "Bern"), arguments

    # A schema, streamed and not.
    schema = {
        "type": "object",
        "properties": {
            "verdict": {"enum": ["yes", "no"]},
            "points": {"type": "array", "items": {"type": "integer", "minimum": 0, "maximum": 9}, "minItems": 1, "maxItems": 3},
        },
        "required": ["verdict", "points"],
        "additionalProperties": False,
    }
    form = {"type": "json_schema", "json_schema": {"name": "verdict", "schema": schema, "strict": True}}
    whole = client.chat.completions.create(**common, response_format=form, temperature=temperature, n=2)
    for choice in whole.choices:
        value = json.loads(choice.message.content)
        assert choice.finish_reason == "stop" and value["verdict"] in ("yes", "no") and 1 <= len(value["points"]) <= 3, value
    chunks = client.chat.completions.create(**common, response_format=form, temperature=temperature, stream=True)
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    if temperature == 0:
        assert text == whole.choices[0].message.content, text
    assert set(json.loads(text)) == {"verdict", "points"}, text

# With auto the model may talk; this one has not learned to call.
auto = client.chat.completions.create(**common, tools=[WEATHER], temperature=0)
assert auto.choices[0].message.content or auto.choices[0].message.tool_calls, auto
none = client.chat.completions.create(model="hone", messages=[{"role": "user", "content": "922 times 8?"}], tools=[WEATHER], tool_choice="none", temperature=0)
assert none.choices[0].message.content == "922 * 8 = 7376", none

# What was called comes back with its result.
call = client.chat.completions.create(**common, tools=[WEATHER], tool_choice="required", temperature=0).choices[0].message
history = QUESTION + [call.model_dump(exclude_none=True), {"role": "tool", "tool_call_id": call.tool_calls[0].id, "content": "7 degrees"}]
after = client.chat.completions.create(model="hone", messages=history, tools=[WEATHER], temperature=0, max_tokens=20, store=True)
assert after.choices[0].finish_reason in ("stop", "length", "tool_calls")
kept = client.chat.completions.retrieve(after.id)
assert kept.choices[0].message.content == after.choices[0].message.content


class Person(BaseModel):
    role: Literal["user", "admin"]
    active: bool


parsed = client.chat.completions.parse(**common, response_format=Person, temperature=1)
assert parsed.choices[0].message.parsed.role in ("user", "admin"), parsed

chosen = client.chat.completions.create(**common, temperature=1, extra_body={"structured_outputs": {"choice": ["spam", "ham"]}})
assert chosen.choices[0].message.content in ("spam", "ham"), chosen
old = client.completions.create(model="hone", prompt="Code:", max_tokens=20, temperature=1, extra_body={"guided_regex": "[A-Z]{3}-[0-9]{2}"})
assert len(old.choices[0].text) == 6 and old.choices[0].text[3] == "-", old
scored = client.chat.completions.create(
    **common, temperature=0, logprobs=True, top_logprobs=5, extra_body={"guided_choice": ["spam", "ham"]}
)
first = scored.choices[0].logprobs.content[0].top_logprobs
assert 0.99 < sum(2.718281828 ** entry.logprob for entry in first) <= 1.001, first


def fails(param, **request):
    try:
        client.chat.completions.create(**{**common, **request})
    except openai.BadRequestError as error:
        assert error.param == param, error
        return error.message
    raise AssertionError(f"{request} should be refused")


fails("tool_choice", tools=[WEATHER], tool_choice={"type": "function", "function": {"name": "nothing"}})
bad = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object", "properties": {"a": {"not": {}}}}}}
assert "not" in fails("response_format.json_schema.schema", response_format=bad)
fails("use_beam_search", extra_body={"use_beam_search": True})
hinted = client.chat.completions.with_raw_response.create(
    **{**common, "max_tokens": 1}, prompt_cache_key="k", service_tier="auto", verbosity="low", reasoning_effort="low"
)
assert set(hinted.headers["x-hone-ignored"].split(", ")) == {"prompt_cache_key", "service_tier", "verbosity", "reasoning_effort"}

print("all good")
