"""Responses and embeddings through the openai SDK: python openai_responses.py http://127.0.0.1:8080/v1"""

import json
import math
import sys

import openai

client = openai.OpenAI(base_url=sys.argv[1], api_key="none", max_retries=0)
QUESTION = "922 times 8?"

answer = client.responses.create(model="hone", input=QUESTION, temperature=0)
assert answer.output_text == "922 * 8 = 7376", answer
assert answer.status == "completed" and answer.usage.total_tokens == answer.usage.input_tokens + answer.usage.output_tokens
assert answer.output[0].type == "message" and answer.output[0].content[0].type == "output_text"

kinds = []
text = ""
with client.responses.stream(model="hone", input=QUESTION, temperature=0) as stream:
    for event in stream:
        kinds.append(event.type)
        if event.type == "response.output_text.delta":
            text += event.delta
    final = stream.get_final_response()
assert text == answer.output_text == final.output_text, (text, final)
assert kinds[0] == "response.created" and kinds[-1] == "response.completed", kinds

numbers = [event.sequence_number for event in client.responses.create(model="hone", input=QUESTION, stream=True)]
assert numbers == list(range(len(numbers)))

kept = client.responses.retrieve(answer.id)
assert kept.output_text == answer.output_text and kept.usage == answer.usage
more = client.responses.create(model="hone", input="And 3 times 4?", previous_response_id=answer.id, temperature=0)
assert more.previous_response_id == answer.id and more.usage.input_tokens > answer.usage.input_tokens
asked = list(client.responses.input_items.list(more.id, order="asc", limit=2))
assert [item.type for item in asked] == ["message"] * 3, asked
assert [item.role for item in asked] == ["user", "assistant", "user"], asked
assert [item.content[0].text for item in asked] == [QUESTION, answer.output_text, "And 3 times 4?"], asked
client.responses.delete(answer.id)
try:
    client.responses.retrieve(answer.id)
    raise AssertionError("it is deleted")
except openai.NotFoundError:
    pass

WEATHER = {
    "type": "function", "name": "weather", "description": "How it is outside", "strict": True,
    "parameters": {"type": "object", "properties": {"city": {"type": "string", "enum": ["Oslo", "Bern"]}},
                   "required": ["city"], "additionalProperties": False},
}
history = [{"role": "user", "content": "Is it cold in Oslo?"}]
asked = client.responses.create(model="hone", input=history, tools=[WEATHER], tool_choice="required", temperature=0)
call = asked.output[0]
assert call.type == "function_call" and call.name == "weather", asked
assert json.loads(call.arguments)["city"] in ("Oslo", "Bern")
history += [item.model_dump() for item in asked.output]
history.append({"type": "function_call_output", "call_id": call.call_id, "output": "3 degrees"})
told = client.responses.create(model="hone", input=history, tools=[WEATHER], max_output_tokens=40)
assert told.output, told

arguments = ""
with client.responses.stream(model="hone", input="Is it cold in Oslo?", tools=[WEATHER], tool_choice="required",
                             parallel_tool_calls=False, temperature=0) as stream:
    for event in stream:
        if event.type == "response.function_call_arguments.delta":
            arguments += event.delta
    final = stream.get_final_response()
assert final.output[0].arguments == arguments and json.loads(arguments), final

SCHEMA = {"type": "object", "properties": {"cold": {"type": "boolean"}}, "required": ["cold"], "additionalProperties": False}
formed = client.responses.create(
    model="hone", input="Is it cold?", text={"format": {"type": "json_schema", "name": "s", "schema": SCHEMA, "strict": True}}
)
assert isinstance(json.loads(formed.output_text)["cold"], bool)

try:
    client.responses.create(model="hone", input=QUESTION, background=True)
    raise AssertionError("background is not supported")
except openai.BadRequestError as error:
    assert error.param == "background", error

# The SDK asks for base64 by itself and unpacks it.
vectors = client.embeddings.create(model="hone", input=["The sun is a star.", "The sun is a big star.", "12 + 5"])
assert [entry.index for entry in vectors.data] == [0, 1, 2] and vectors.usage.prompt_tokens > 0
plain = client.embeddings.create(model="hone", input="The sun is a star.", encoding_format="float")
assert all(abs(a - b) < 1e-6 for a, b in zip(plain.data[0].embedding, vectors.data[0].embedding, strict=True))


def cosine(a, b):
    return sum(x * y for x, y in zip(a, b)) / math.sqrt(sum(x * x for x in a) * sum(y * y for y in b))


star, big, sum_ = (entry.embedding for entry in vectors.data)
assert cosine(star, big) > cosine(star, sum_), (cosine(star, big), cosine(star, sum_))

print("all good")
