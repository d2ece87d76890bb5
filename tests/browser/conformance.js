/**
 * OpenAI's own client against the API, in a page: one row a feature. A row returns what it found;
 * the Python test says what that must be. `rows` may be added to by other tests.
 */
const ask = (text, more = {}) => ({ model: "tiny", messages: [{ role: "user", content: text }],
  max_tokens: 8, seed: 7, ...more });
const gather = async (stream) => {
  const chunks = [];
  for await (const chunk of stream) chunks.push(chunk);
  return chunks;
};

const weather = { type: "function", function: { name: "weather", strict: true, parameters: {
  type: "object", required: ["place", "days"], additionalProperties: false, properties: {
    place: { type: "string", enum: ["Oslo", "Kyōto"] },
    days: { type: "integer", minimum: 1, maximum: 14 } } } } };
const named = { type: "function", function: { name: "weather" } };
const calling = (more) => ask("weather?", { tools: [weather], max_tokens: 200,
  parallel_tool_calls: false, ...more });

export const rows = {
  async models(client) {
    const ids = [];
    for await (const model of client.models.list()) ids.push(model.id);
    const one = await client.models.retrieve("tiny");
    return { ids, object: one.object, owner: one.owned_by };
  },
  async chat(client) {
    const answer = await client.chat.completions.create(ask("hello"));
    const [choice] = answer.choices;
    return { object: answer.object, role: choice.message.role, text: choice.message.content,
      reason: choice.finish_reason, usage: answer.usage, model: answer.model };
  },
  async seed(client) {
    const texts = [];
    for (const seed of [7, 7, 8]) {
      const answer = await client.chat.completions.create(ask("hello", { seed }));
      texts.push(answer.choices[0].message.content);
    }
    return texts;
  },
  async stream(client) {
    const body = ask("hello", { stream: true, stream_options: { include_usage: true } });
    const chunks = await gather(await client.chat.completions.create(body));
    return { text: chunks.map((chunk) => chunk.choices[0]?.delta.content ?? "").join(""),
      ids: new Set(chunks.map((chunk) => chunk.id)).size, role: chunks[0].choices[0].delta.role,
      reason: chunks.at(-2).choices[0].finish_reason, usage: chunks.at(-1).usage };
  },
  async stop(client) {
    const body = { model: "tiny", prompt: "abc", max_tokens: 24, temperature: 0 };
    const { choices: [free] } = await client.completions.create(body);
    const stop = [...free.text].slice(4, 6).join("");
    const { choices: [cut] } = await client.completions.create({ ...body, stop });
    return { free: free.text, stop, cut: cut.text, reason: cut.finish_reason };
  },
  async logprobs(client) {
    const body = ask("hello", { logprobs: true, top_logprobs: 3, temperature: 0 });
    const { choices: [{ logprobs, message }] } = await client.chat.completions.create(body);
    return { content: logprobs.content, text: message.content };
  },
  async several(client) {
    const answer = await client.chat.completions.create(ask("hello", { n: 2 }));
    const alone = await client.chat.completions.create(ask("hello", { seed: 8 }));
    const chunks = await gather(await client.chat.completions.create(
      ask("hello", { n: 2, stream: true })));
    const streamed = ["", ""];
    for (const { choices: [{ index, delta }] } of chunks) streamed[index] += delta.content ?? "";
    return { texts: answer.choices.map((choice) => choice.message.content),
      alone: alone.choices[0].message.content, streamed, usage: answer.usage };
  },
  async bias(client) {
    const body = ask("hello", { logit_bias: { 65: 100 }, temperature: 0, max_tokens: 3 });
    const { choices: [{ message }] } = await client.chat.completions.create(body);
    return message.content;
  },
  async completions(client) {
    const body = { model: "tiny", prompt: "abc", max_tokens: 5, seed: 3 };
    const whole = await client.completions.create(body);
    const chunks = await gather(await client.completions.create({ ...body, stream: true }));
    return { object: whole.object, text: whole.choices[0].text,
      streamed: chunks.map((chunk) => chunk.choices[0].text).join("") };
  },
  async runner(client) {
    const stream = client.chat.completions.stream(ask("hello")); // the client's own accumulator
    const final = await stream.finalChatCompletion();
    return final.choices[0].message.content;
  },
  async schemas(client, schemas) {
    const found = [];
    for (const schema of schemas) {
      const response_format = { type: "json_schema", json_schema: { name: "x", strict: true, schema } };
      const body = ask("go", { response_format, max_tokens: 120 });
      const { choices: [choice] } = await client.chat.completions.create(body);
      const chunks = await gather(await client.chat.completions.create({ ...body, stream: true }));
      const streamed = chunks.map((chunk) => chunk.choices[0].delta.content ?? "").join("");
      // the client's own accumulator reads objects as they grow, but stumbles over half a number
      const gathered = schema.type === "object"
        ? await client.chat.completions.stream(body).finalContent() : streamed;
      found.push({ text: choice.message.content, reason: choice.finish_reason, streamed, gathered });
    }
    return found;
  },
  /** The call, its result, and the answer; streamed by the client's own accumulator too. */
  async tools(client) {
    const body = calling({ tool_choice: "required" });
    const { choices: [choice] } = await client.chat.completions.create(body);
    const streamed = await client.chat.completions.stream(body).finalMessage();
    const [call] = choice.message.tool_calls;
    const messages = [...body.messages, choice.message,
      { role: "tool", tool_call_id: call.id, content: "sunny" }];
    const last = await client.chat.completions.create(
      ask("", { messages, tools: [weather], tool_choice: "none" }));
    return { reason: choice.finish_reason, content: choice.message.content, call,
      streamed: streamed.tool_calls[0].function, last: last.choices[0].message,
      prompt: last.usage.prompt_tokens };
  },
  /** The client's own loop runs the function. */
  async run_tools(client) {
    const seen = [];
    const tool = structuredClone(weather);
    tool.function.parse = JSON.parse;
    tool.function.function = (args) => { seen.push(args); return "sunny"; };
    const runner = client.chat.completions.runTools(calling({ tools: [tool], tool_choice: named }));
    await runner.done();
    return { seen, result: await runner.finalFunctionToolCallResult() };
  },
  async abort(client) {
    const stream = await client.chat.completions.create(ask("hello", { stream: true,
      max_tokens: 200 }));
    let chunks = 0;
    for await (const _ of stream) if (++chunks === 3) stream.controller.abort();
    const ending = new AbortController();
    const long = client.chat.completions.create(ask("hello", { max_tokens: 200 }),
      { signal: ending.signal });
    setTimeout(() => ending.abort(), 200);
    const { kind } = await window.caught(long);
    const next = await client.chat.completions.create(ask("hello", { max_tokens: 2 }));
    return { chunks, kind, next: next.choices.length };
  },
  async errors(client) {
    const create = (body) => window.caught(client.chat.completions.create(body));
    return { range: await create(ask("x", { temperature: 9 })),
      type: await create({ model: "tiny", messages: "no list" }),
      stream: await create(ask("x", { stream: true, top_p: -1 })),
      options: await create(ask("x", { stream_options: { include_usage: true } })),
      format: await create(ask("x", { response_format: { type: "json_schema", json_schema: 3 } })),
      schema: await create(ask("x", { response_format: { type: "json_schema", json_schema: {
        name: "x", schema: { $ref: "#" } } } })),
      tool: await create(ask("x", { tools: [{ type: "function", function: { name: 5 } }] })),
      choice: await create(calling({ tool_choice: { type: "function", function: { name: "no" } } })),
      long: await create(ask("x".repeat(600))),
      model: await create(ask("x", { model: "gpt-5" })),
      retrieve: await window.caught(client.models.retrieve("gpt-5")),
      route: await window.caught(client.embeddings.create({ model: "tiny", input: "x" })) };
  },
};
