"""Chat, streams, errors and models through the openai SDK: python openai_sdk.py http://127.0.0.1:8080/v1"""

import sys

import openai

client = openai.OpenAI(base_url=sys.argv[1], api_key="none", max_retries=0)
QUESTION = [{"role": "user", "content": "922 times 8?"}]

answer = client.chat.completions.create(model="hone", messages=QUESTION, temperature=0)
assert answer.choices[0].message.content == "922 * 8 = 7376", answer
assert answer.choices[0].message.role == "assistant" and answer.choices[0].finish_reason == "stop"
assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens
assert answer._request_id, "no x-request-id"

stream = client.chat.completions.create(
    model="hone", messages=QUESTION, temperature=0, stream=True, stream_options={"include_usage": True}
)
chunks = list(stream)
text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
assert text == "922 * 8 = 7376", text
usage = chunks[-1].usage
assert chunks[-1].choices == [] and usage.total_tokens == answer.usage.total_tokens, chunks[-1]
# The prompt was computed for the first answer.
assert usage.prompt_tokens_details.cached_tokens > 0 == answer.usage.prompt_tokens_details.cached_tokens, usage
assert [c.choices[0].finish_reason for c in chunks if c.choices and c.choices[0].finish_reason] == ["stop"]
assert len({c.id for c in chunks}) == 1 and len(chunks) > 5

raw = client.chat.completions.with_raw_response.create(model="hone:base", messages=QUESTION, max_tokens=2)
assert raw.headers["x-hone-adapter"] == "base"

several = client.chat.completions.create(model="hone", messages=QUESTION, n=2, logprobs=True, top_logprobs=3, max_tokens=4)
assert [c.index for c in several.choices] == [0, 1]
assert len(several.choices[0].logprobs.content[0].top_logprobs) == 3

old = client.completions.create(model="hone", prompt="The sun", max_tokens=3, temperature=0)
assert old.choices[0].text and old.object == "text_completion"

models = [m.id for m in client.models.list()]
assert "hone" in models or models, models
assert client.models.retrieve(models[0]).id == models[0]


def fails(kind, **request):
    try:
        client.chat.completions.create(**{"model": "hone", "messages": QUESTION, **request})
    except kind as error:
        assert error.body["message"], error
        return error
    raise AssertionError(f"{request} should raise {kind.__name__}")


assert fails(openai.NotFoundError, model="gpt-9").code == "model_not_found"
assert fails(openai.BadRequestError, messages=[]).param == "messages"
assert fails(openai.BadRequestError, temperature=-1).param == "temperature"
assert fails(openai.BadRequestError, messages=[{"role": "user", "content": "word " * 4000}]).code == "context_length_exceeded"

print("all good")
