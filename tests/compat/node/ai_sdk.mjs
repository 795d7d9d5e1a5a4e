// The Vercel AI SDK over chat, over responses and as people set it up for other servers, each with an answer, a stream, a tool
// and a schema: node ai_sdk.mjs http://127.0.0.1:8080/v1

import assert from "node:assert/strict";
import { createOpenAI } from "@ai-sdk/openai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { embedMany, generateText, Output, stepCountIs, streamText, tool } from "ai";
import { z } from "zod";

const baseURL = process.argv[2];
const openai = createOpenAI({ baseURL, apiKey: "none" });
const compatible = createOpenAICompatible({ name: "hone", baseURL, includeUsage: true, supportsStructuredOutputs: true });
const models = { chat: openai.chat("hone"), responses: openai.responses("hone"), compatible: compatible("hone") };

const cities = ["Oslo", "Bern"];
const Report = z.object({ city: z.enum(cities), days: z.number().int().min(1).max(7) });
const weather = () =>
  tool({
    description: "Tells the weather of a city.",
    inputSchema: z.object({ city: z.enum(cities) }),
    execute: async ({ city }) => `It rains in ${city}.`,
  });
const prompt = "How is the weather in Oslo?";

/** The parts of a stream by kind; a part that is an error is thrown. */
async function parts(stream) {
  const kinds = new Map();
  for await (const part of stream.fullStream) {
    if (part.type === "error") throw part.error;
    kinds.set(part.type, [...(kinds.get(part.type) ?? []), part]);
  }
  return kinds;
}

async function talk(model) {
  const common = { model, temperature: 0, maxOutputTokens: 100, maxRetries: 0 };
  const whole = await generateText({ ...common, prompt: "922 times 8?" });
  assert.equal(whole.text, "922 * 8 = 7376");
  assert.equal(whole.finishReason, "stop");
  assert.ok(whole.usage.inputTokens > 0 && whole.usage.outputTokens > 0);
  const stream = await parts(streamText({ ...common, prompt: "922 times 8?" }));
  const pieces = stream.get("text-delta").map((part) => part.text);
  assert.equal(pieces.join(""), whole.text);
  assert.ok(pieces.length > 5, `${pieces.length} pieces`);
  assert.ok(stream.get("finish")[0].totalUsage.outputTokens > 0);

  // One step calls, the SDK runs the tool and sends its result back, the next step answers.
  const able = { ...common, prompt, tools: { weather: weather() }, stopWhen: stepCountIs(2) };
  const prepareStep = ({ stepNumber }) => ({ toolChoice: stepNumber === 0 ? "required" : "none" });
  const asked = await generateText({ ...able, prepareStep });
  assert.equal(asked.steps.length, 2);
  const [call] = asked.steps[0].toolCalls;
  assert.equal(call.toolName, "weather");
  assert.equal(asked.steps[0].toolResults[0].output, `It rains in ${call.input.city}.`);
  assert.equal(asked.steps[0].finishReason, "tool-calls");
  const called = await parts(streamText({ ...able, prepareStep }));
  assert.deepEqual(called.get("tool-call")[0].input, call.input);
  assert.ok(called.get("tool-input-delta").length > 3);
  assert.equal(called.get("tool-result")[0].output, asked.steps[0].toolResults[0].output);

  const output = Output.object({ schema: Report, name: "report" });
  const told = await generateText({ ...common, prompt, output });
  Report.parse(told.output);
  const streamed = streamText({ ...common, prompt, output });
  const partial = [];
  for await (const part of streamed.partialOutputStream) partial.push(part);
  assert.deepEqual(partial.at(-1), told.output);
  assert.ok(partial.length > 1, `${partial.length} parts`);
}

for (const [name, model] of Object.entries(models)) {
  await talk(model);
  console.log(`${name} works`);
}
for (const model of [openai.embedding("hone"), compatible.embeddingModel("hone")]) {
  const { embeddings } = await embedMany({ model, values: ["Hi", "Bye"], maxRetries: 0 });
  assert.ok(embeddings.length === 2 && embeddings[0].length > 8);
}
console.log("all good");
