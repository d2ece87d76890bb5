/** The form's fields as a request's body: what is empty is left to the model. */

const NUMBERS = ["temperature", "top_p", "max_tokens", "seed", "n"];

/**
 * @param {HTMLFormElement} form
 * @param {string} model
 * @returns {{kind: "chat"|"completion", body: Record<string, any>}}
 */
export function requestOf(form, model) {
  const fields = new FormData(form);
  const text = (name) => String(fields.get(name) ?? "");
  const kind = text("kind") === "chat" ? "chat" : "completion";
  /** @type {Record<string, any>} */
  const body = { model };
  if (kind === "chat") {
    const system = text("system") ? [{ role: "system", content: text("system") }] : [];
    body.messages = [...system, { role: "user", content: text("input") }];
  } else {
    body.prompt = text("input");
  }
  for (const name of NUMBERS) {
    const given = text(name).trim();
    if (given !== "") body[name] = numberOf(given);
  }
  if (text("stop") !== "") body.stop = text("stop");
  if (fields.has("logprobs")) Object.assign(body, LOGPROBS[kind]);
  if (fields.has("stream")) body.stream = true;
  return { kind, body };
}

const LOGPROBS = { chat: { logprobs: true, top_logprobs: 3 }, completion: { logprobs: 3 } };

/** What is no number is sent as it is, so that the API says what is wrong with it. */
function numberOf(text) {
  const number = Number(text);
  return Number.isFinite(number) ? number : text;
}
