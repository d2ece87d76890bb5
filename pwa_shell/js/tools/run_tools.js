/**
 * `engine.chat.completions.runTools(body, options)`: asks, runs the calls, and asks again until the
 * model answers.
 */
import { jirdError } from "../errors.js";
import { described, failed, roundMessages, runCall } from "./calls.js";

const MAX_STEPS = 8;

/**
 * @param {{create: (body: any, options?: any) => Promise<any>}} completions
 * @param {any} body a request that does not stream; `tools` are `{name, description, parameters,
 *   run(args, {signal}), limitMs}`
 * @param {{maxSteps?: number, signal?: AbortSignal, allow?: (call: any) =>
 *   boolean|Promise<boolean>, onCall?: (call: any) => void}} [options]
 *   `allow` may refuse a call; `onCall` hears of each with
 *   its `result` and `ok`
 * @returns {Promise<{completion: any, messages: any[], steps: number}>} the last answer, and the
 *   whole conversation. At the step limit the model is asked to answer without tools.
 */
export async function runTools(completions, body, options = {}) {
  const { maxSteps = MAX_STEPS, signal = new AbortController().signal, allow, onCall } = options;
  const tools = toolMap(body?.tools);
  if (body.stream) {
    throw jirdError("E_BAD_REQUEST", { param: "stream", got: "true", wanted: "false, or create" });
  }
  const messages = [...(body.messages ?? [])];
  for (let steps = 0; ; steps++) {
    const last = steps >= maxSteps;
    const request = { ...body, messages, tools: [...tools.values()].map(described) };
    if (last) request.tool_choice = "none";
    const completion = await completions.create(request, { signal });
    const { message } = completion.choices[0];
    const calls = (message.tool_calls ?? []).map(({ id, function: made }) => ({ id, ...made }));
    if (!calls.length) {
      messages.push(message);
      return { completion, messages, steps };
    }
    for (const call of calls) {
      const allowed = allow ? await allow(call) : true;
      const { ok, content } = allowed ? await runCall(tools, call, signal)
        : failed("the person refused this call");
      Object.assign(call, { ok, result: content });
      onCall?.(call);
    }
    messages.push(...roundMessages(message.content ?? "", calls));
  }
}

function toolMap(given) {
  const wanted = "a list of {name, description, parameters, run}";
  if (!Array.isArray(given) || given.some((tool) => typeof tool?.run !== "function")) {
    throw jirdError("E_BAD_REQUEST", { param: "tools", got: typeof given, wanted });
  }
  return new Map(given.map((tool) => [tool.name, tool]));
}
