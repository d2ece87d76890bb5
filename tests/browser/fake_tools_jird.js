// Stands in for jird.js where answers call tools: `globalThis.fakeTools` = {rounds: [[call]],
// final}, one entry
// of `rounds` for each round; then, and where no tools are offered, it says `final`.
const options = () => ({ rounds: [], final: "The end.", ...globalThis.fakeTools });

function* chunks(body) {
  const { rounds, final } = options();
  const asked = body.messages.findLastIndex(({ role }) => role === "user");
  const round = body.messages.slice(asked).filter((message) => message.tool_calls).length;
  const calls = body.tool_choice === "none" || !body.tools ? null : rounds[round];
  if (!calls) {
    yield { delta: { content: final } };
    return yield { delta: {}, finish_reason: "stop" };
  }
  yield { delta: { content: `Step ${round + 1}.` } };
  for (const [index, { name, args }] of calls.entries()) {
    const text = typeof args === "string" ? args : JSON.stringify(args ?? {});
    const id = `call_${round}_${index}`;
    const begun = { index, id, type: "function", function: { name, arguments: "" } };
    yield { delta: { tool_calls: [begun] } };
    for (const part of [text.slice(0, 3), text.slice(3)]) {
      yield { delta: { tool_calls: [{ index, function: { arguments: part } }] } };
    }
  }
  yield { delta: {}, finish_reason: "tool_calls" };
}

async function* replay(body, signal) {
  for (const choice of chunks(body)) {
    await new Promise((resolve) => setTimeout(resolve, 2));
    if (signal?.aborted) return;
    yield { choices: [{ index: 0, ...choice }] };
  }
}

export const catalog = async () => null;

export async function createEngine({ onProgress }) {
  onProgress?.({ stage: "ready", bytes_done: 0, bytes_total: 0 });
  globalThis.requests = [];
  const create = async (body, { signal } = {}) => {
    globalThis.requests.push(structuredClone(body));
    return replay(body, signal);
  };
  return { chat: { completions: { create } }, stats: async () => ({}), unload: async () => {} };
}
