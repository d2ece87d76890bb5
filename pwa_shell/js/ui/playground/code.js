/** A request as code to copy: three ways of asking the same. */

const PATHS = { chat: "chat/completions", completion: "completions" };
const TEXT = {
  chat: ["chunk.choices[0]?.delta.content ?? \"\"", "answer.choices[0].message.content"],
  completion: ["chunk.choices[0]?.text ?? \"\"", "answer.choices[0].text"],
};

/**
 * @param {"jird"|"openai"|"fetch"} way
 * @param {{kind: "chat"|"completion", body: Record<string, any>}} request
 * @param {string} app the app's address
 * @returns {string} a module's text
 */
export function codeOf(way, request, app) {
  return { jird, openai, fetch: plain }[way](request, app);
}

function jird({ kind, body }, app) {
  const { model, ...rest } = body;
  return [
    `import { createEngine } from ${quoted(`${app}jird.js`)};`,
    "",
    `const engine = await createEngine({ model: ${quoted(model)} });`,
    call("engine", kind, rest),
    ...reading(kind, body.stream),
  ].join("\n");
}

function openai({ kind, body }, app) {
  return [
    "// A page of the app's site, while a tab has a model loaded.",
    'import OpenAI from "openai";',
    `import { apiURL } from ${quoted(`${app}jird.js`)};`,
    "",
    "const client = new OpenAI({ baseURL: await apiURL(), apiKey: \"none\",",
    "  dangerouslyAllowBrowser: true }); // nothing is sent anywhere",
    call("client", kind, body),
    ...reading(kind, body.stream),
  ].join("\n");
}

function plain({ kind, body }, app) {
  const read = body.stream
    ? ["const text = response.body.pipeThrough(new TextDecoderStream());",
      "for await (const events of text) console.log(events); // data: {...}, at last data: [DONE]"]
    : ["const answer = await response.json(); // {error: {...}} where response.ok is false",
      `console.log(${TEXT[kind][1]});`];
  return [
    "// A page of the app's site, while a tab has a model loaded.",
    `const response = await fetch(${quoted(`${app}v1/${PATHS[kind]}`)}, {`,
    "  method: \"POST\",",
    "  headers: { \"content-type\": \"application/json\" },",
    `  body: JSON.stringify(${indented(body, 2)}),`,
    "});",
    ...read,
  ].join("\n");
}

function call(object, kind, body) {
  const name = body.stream ? "stream" : "answer";
  const path = kind === "chat" ? "chat.completions" : "completions";
  return `const ${name} = await ${object}.${path}.create(${indented(body, 0)});`;
}

function reading(kind, streams) {
  const [piece, whole] = TEXT[kind];
  if (!streams) return [`console.log(${whole});`];
  return ["for await (const chunk of stream) {", `  console.log(${piece});`, "}"];
}

const quoted = (value) => JSON.stringify(value);

function indented(value, by) {
  const text = JSON.stringify(value, null, 2).replace(/^( *)"([a-z_]+)":/gm, "$1$2:");
  return text.replaceAll("\n", `\n${" ".repeat(by)}`);
}
