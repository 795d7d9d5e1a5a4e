// The openai SDK for Node, with an answer, a stream, tools, schemas, responses and errors:
// node openai.mjs http://127.0.0.1:8080/v1

import assert from "node:assert/strict";
import OpenAI from "openai";
import { zodResponseFormat, zodTextFormat, zodFunction } from "openai/helpers/zod";
import { z } from "zod";

const client = new OpenAI({ baseURL: process.argv[2], apiKey: "none", maxRetries: 0 });
const cities = ["Oslo", "Bern"];
const Question = z.object({ city: z.enum(cities), days: z.number().int().min(1).max(7) });
const Report = z.object({ city: z.enum(cities), rain: z.boolean(), hours: z.array(z.number().int().min(0).max(23)).min(1).max(3) });
const weather = zodFunction({ name: "weather", description: "Tells the weather of a city.", parameters: Question });
const messages = [{ role: "user", content: "How is the weather in Oslo?" }];
const sum = [{ role: "user", content: "922 times 8?" }];
const common = { model: "hone", max_tokens: 200, temperature: 0, seed: 3 };

async function answers() {
  const whole = await client.chat.completions.create({ ...common, messages: sum });
  assert.equal(whole.choices[0].message.content, "922 * 8 = 7376");
  const stream = await client.chat.completions.create({
    ...common, messages: sum, stream: true, stream_options: { include_usage: true },
  });
  let [text, pieces, usage] = ["", 0, null];
  for await (const chunk of stream) {
    text += chunk.choices[0]?.delta.content ?? "";
    pieces += chunk.choices.length;
    usage = chunk.usage ?? usage;
  }
  assert.equal(text, whole.choices[0].message.content);
  assert.ok(pieces > 5, `${pieces} pieces`);
  assert.equal(usage.total_tokens, whole.usage.total_tokens);
}

async function tools(temperature) {
  const ask = { ...common, messages, tools: [weather], temperature };
  const whole = await client.chat.completions.create({ ...ask, tool_choice: "required", parallel_tool_calls: false });
  const [call, ...others] = whole.choices[0].message.tool_calls;
  assert.equal(whole.choices[0].finish_reason, "tool_calls");
  assert.deepEqual([call.function.name, others], ["weather", []]);
  const asked = Question.parse(JSON.parse(call.function.arguments));

  // The SDK's own reader puts the pieces of a stream together.
  const named = { type: "function", function: { name: "weather" } };
  const stream = client.chat.completions.stream({ ...ask, tool_choice: named });
  let pieces = 0;
  stream.on("tool_calls.function.arguments.delta", () => (pieces += 1));
  const streamed = (await stream.finalChatCompletion()).choices[0].message.tool_calls[0];
  assert.ok(pieces > 3, `${pieces} pieces`);
  assert.ok(cities.includes(streamed.function.parsed_arguments.city));

  // What was called comes back with its result.
  const result = { role: "tool", tool_call_id: call.id, content: `It rains in ${asked.city}.` };
  const after = await client.chat.completions.create({
    ...ask, messages: [...messages, whole.choices[0].message, result], tool_choice: "none", max_tokens: 20,
  });
  assert.equal(typeof after.choices[0].message.content, "string");
}

async function schemas(temperature) {
  const ask = { ...common, messages, temperature, response_format: zodResponseFormat(Report, "report") };
  const parsed = (await client.chat.completions.parse(ask)).choices[0].message.parsed;
  Report.parse(parsed);
  const stream = client.chat.completions.stream(ask);
  const streamed = (await stream.finalChatCompletion()).choices[0].message.parsed;
  Report.parse(streamed);
  if (temperature === 0) assert.deepEqual(streamed, parsed);
}

async function responses() {
  const { max_tokens: max_output_tokens, seed: _, ...rest } = common;
  const ask = { ...rest, max_output_tokens };
  const whole = await client.responses.create({ ...ask, input: "922 times 8?" });
  assert.equal(whole.output_text, "922 * 8 = 7376");
  const stream = await client.responses.create({ ...ask, input: "922 times 8?", stream: true });
  let [text, kinds] = ["", new Set()];
  for await (const event of stream) {
    kinds.add(event.type);
    if (event.type === "response.output_text.delta") text += event.delta;
  }
  assert.equal(text, whole.output_text);
  assert.ok(kinds.has("response.created") && kinds.has("response.completed"), [...kinds].join());
  const report = await client.responses.parse({ ...ask, input: messages, text: { format: zodTextFormat(Report, "report") } });
  Report.parse(report.output_parsed);
  const tool = { type: "function", name: "weather", strict: true, parameters: weather.function.parameters };
  const called = await client.responses.create({ ...ask, input: messages, tools: [tool], tool_choice: "required" });
  const call = called.output.find((item) => item.type === "function_call");
  Question.parse(JSON.parse(call.arguments));
  const result = { type: "function_call_output", call_id: call.call_id, output: "It rains." };
  const after = await client.responses.create({
    ...ask, previous_response_id: called.id, input: [result], tools: [tool], tool_choice: "none", max_output_tokens: 20,
  });
  assert.equal(typeof after.output_text, "string");
}

async function embeddings() {
  // The SDK asks for base64 by itself.
  const { data } = await client.embeddings.create({ model: "hone", input: ["Hi", "Bye"] });
  assert.equal(data.length, 2);
  assert.ok(data[0].embedding.length > 8 && data[0].embedding.length === data[1].embedding.length);
  assert.ok(data[0].embedding.every(Number.isFinite));
}

async function errors() {
  const wrong = client.chat.completions.create({ ...common, messages, use_beam_search: true });
  await assert.rejects(wrong, (error) => error instanceof OpenAI.BadRequestError && error.param === "use_beam_search");
  const unknown = client.chat.completions.create({ ...common, messages, model: "nobody" });
  await assert.rejects(unknown, (error) => error instanceof OpenAI.NotFoundError && error.code === "model_not_found");
}

await answers();
for (const temperature of [0, 1]) {
  await tools(temperature);
  await schemas(temperature);
}
await responses();
await embeddings();
await errors();
console.log("all good");
