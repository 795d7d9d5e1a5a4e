"""Agents' frameworks, each with an answer, a stream, a tool and a schema: python frameworks.py http://127.0.0.1:8080/v1"""

import asyncio
import os
import sys
from typing import Literal

from pydantic import BaseModel, Field

ADDRESS = sys.argv[1]
os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # else it asks the internet for prices
ASKED = "How is the weather in Oslo?"


class Report(BaseModel):
    """A report on a city's weather."""

    city: Literal["Oslo", "Bern"]
    days: int = Field(ge=1, le=7)


def weather(city: Literal["Oslo", "Bern"]) -> str:
    """Tells the weather of a city."""
    return f"It rains in {city}."


TOOL = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "Tells the weather of a city.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"enum": ["Oslo", "Bern"]}},
            "required": ["city"],
        },
    },
}


def langchain():
    from langchain_core.messages import HumanMessage, ToolMessage
    from langchain_core.tools import tool
    from langchain_openai import ChatOpenAI, OpenAIEmbeddings

    model = ChatOpenAI(model="hone", base_url=ADDRESS, api_key="none", temperature=0, max_tokens=100, max_retries=0)
    whole = model.invoke("922 times 8?")
    assert whole.content == "922 * 8 = 7376", whole
    pieces = [piece.content for piece in model.stream("922 times 8?")]
    assert "".join(pieces) == whole.content and len(pieces) > 5, pieces

    able = model.bind_tools([tool(weather)], tool_choice="required")
    asked = able.invoke(ASKED)
    call = asked.tool_calls[0]
    assert call["name"] == "weather" and call["args"]["city"] in ("Oslo", "Bern"), asked
    result = ToolMessage(weather(**call["args"]), tool_call_id=call["id"])
    assert isinstance(model.invoke([HumanMessage(ASKED), asked, result]).content, str)

    report = model.with_structured_output(Report, method="json_schema").invoke(ASKED)
    assert isinstance(report, Report), report
    # Without this it counts tokens by a table that it gets from the internet.
    embeddings = OpenAIEmbeddings(model="hone", base_url=ADDRESS, api_key="none", check_embedding_ctx_length=False)
    vectors = embeddings.embed_documents(["Hi", "Bye"])
    assert len(vectors) == 2 and len(vectors[0]) == len(vectors[1]) > 8


def litellm():
    import litellm as lite

    common = {"model": "openai/hone", "api_base": ADDRESS, "api_key": "none", "temperature": 0, "max_tokens": 100}
    question = [{"role": "user", "content": "922 times 8?"}]
    whole = lite.completion(messages=question, **common).choices[0].message.content
    assert whole == "922 * 8 = 7376", whole
    pieces = [chunk.choices[0].delta.content or "" for chunk in lite.completion(messages=question, stream=True, **common)]
    assert "".join(pieces) == whole and len(pieces) > 5, pieces

    question = [{"role": "user", "content": ASKED}]
    message = lite.completion(messages=question, tools=[TOOL], tool_choice="required", **common).choices[0].message
    call = message.tool_calls[0]
    assert call.function.name == "weather", message
    result = {"role": "tool", "tool_call_id": call.id, "content": "It rains."}
    again = lite.completion(messages=[*question, message.model_dump(), result], tools=[TOOL], tool_choice="none", **common)
    assert isinstance(again.choices[0].message.content, str)
    answer = lite.completion(messages=question, response_format=Report, **common).choices[0].message.content
    Report.model_validate_json(answer)


def instructor():
    import instructor as ins
    import openai

    client = openai.OpenAI(base_url=ADDRESS, api_key="none", max_retries=0)
    for mode in (ins.Mode.TOOLS, ins.Mode.JSON_SCHEMA):
        report = ins.from_openai(client, mode=mode).chat.completions.create(
            model="hone",
            messages=[{"role": "user", "content": ASKED}],
            response_model=Report,
            temperature=0,
            max_tokens=100,
            max_retries=0,
        )
        assert isinstance(report, Report), report


def pydantic_ai():
    from pydantic_ai import Agent, NativeOutput, ToolOutput
    from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
    from pydantic_ai.providers.openai import OpenAIProvider

    provider = OpenAIProvider(base_url=ADDRESS, api_key="none")
    settings = {"temperature": 0, "max_tokens": 100}
    for kind in (OpenAIChatModel, OpenAIResponsesModel):
        model = kind("hone", provider=provider)
        whole = Agent(model, model_settings=settings).run_sync("922 times 8?").output
        assert whole == "922 * 8 = 7376", (kind, whole)

        async def streamed(model=model):
            async with Agent(model, model_settings=settings).run_stream("922 times 8?") as stream:
                return [piece async for piece in stream.stream_text(delta=True, debounce_by=None)]

        pieces = asyncio.run(streamed())
        assert "".join(pieces) == whole and len(pieces) > 5, (kind, pieces)
        for output in (NativeOutput(Report), ToolOutput(Report)):
            report = Agent(model, output_type=output, model_settings=settings).run_sync(ASKED).output
            assert isinstance(report, Report), (kind, output, report)


for framework in (langchain, litellm, instructor, pydantic_ai):
    framework()
    print(framework.__name__, "works")
print("all good")
