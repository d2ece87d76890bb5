/**
 * The `data:` payloads of a response's server-sent events, in order, without the final `[DONE]`.
 * @param {Response} response
 * @yields {string}
 */
export async function* eventsOf(response) {
  let rest = "";
  const decoder = new TextDecoder();
  const reader = response.body.getReader();
  try {
    for (let part = await reader.read(); !part.done; part = await reader.read()) {
      const events = (rest + decoder.decode(part.value, { stream: true })).split("\n\n");
      rest = events.pop();
      for (const event of events) {
        if (event.startsWith("data: ") && event !== "data: [DONE]") yield event.slice(6);
      }
    }
  } finally {
    reader.cancel().catch(() => {}); // does nothing after the end
  }
}
