/** The playground: a form, the API's answer to it, and the same request as code. */
import { apiURL, createEngine } from "../../../jird.js";
import { asJirdError } from "../../errors.js";
import { eventsOf } from "../../api/sse.js";
import { byId, copyText } from "../dom.js";
import { chosenModel } from "../model_info.js";
import { setUpLanguage, t } from "../strings.js";
import { Answer } from "./answer.js";
import { codeOf } from "./code.js";
import { requestOf } from "./request.js";

const APP = new URL("../../../", import.meta.url).href;
const PATHS = { chat: "chat/completions", completion: "completions" };
const form = /** @type {HTMLFormElement} */ (byId("request"));
const chosen = chosenModel();
let model = chosen.id;
let running = /** @type {AbortController|null} */ (null);

form.addEventListener("input", showCode);
form.addEventListener("submit", (event) => {
  event.preventDefault();
  void run();
});
document.addEventListener("change", (event) => {
  if (/** @type {HTMLInputElement} */ (event.target).name === "way") showCode();
});
byId("stop").addEventListener("click", () => running?.abort());
byId("engine-start").addEventListener("click", () => void start());
byId("copy").addEventListener("click", () => void copy());
for (const [name, value] of Object.entries(chosen.sampling)) {
  /** @type {HTMLInputElement} */ (form.elements.namedItem(name)).value = String(value);
}
await setUpLanguage();
document.title = `${t("playground")} – ${t("appName")}`;
showCode();
void find();

function showState(state, text) {
  byId("engine-state").dataset.state = state;
  byId("engine-state").textContent = text;
  byId("engine-start").hidden = state !== "none" && state !== "failed";
}

/** Whether some tab of the app has a model already. */
async function find() {
  if (!navigator.serviceWorker?.controller) return showState("none", t("playNoModel"));
  const response = await fetch(`${APP}v1/models`).catch(() => null);
  const found = response?.ok ? (await response.json()).data[0] : null;
  if (found) ready(found.id);
  else showState("none", t("playNoModel"));
}

function ready(id) {
  model = id;
  showState("ready", id);
  showCode();
}

/** Loads the model of the chat in this tab. */
async function start() {
  showState("loading", t("playGetting"));
  try {
    const onProgress = ({ label, stage, bytes_done: done, bytes_total: total }) => {
      const part = total ? ` ${Math.floor((100 * done) / total)}%` : "";
      showState("loading", `${t(/** @type {any} */ (`stage_${stage}`)) ?? label}${part}`);
    };
    const engine = await createEngine({ model, onProgress });
    showState("loading", t("playApi"));
    await apiURL();
    ready(engine.model);
  } catch (error) {
    const known = asJirdError(error);
    showState("failed", t("playFailed"));
    new Answer().fail({ ...known.error, status: known.status });
  }
}

async function run() {
  if (running) return;
  running = new AbortController();
  setRunning(true);
  const answer = new Answer();
  try {
    await ask(answer, running.signal);
  } catch (error) {
    const known = asJirdError(error);
    if (!running.signal.aborted) answer.fail({ ...known.error, status: known.status });
  } finally {
    answer.end(running.signal.aborted);
    running = null;
    setRunning(false);
  }
}

async function ask(answer, signal) {
  const { kind, body } = requestOf(form, model);
  await apiURL({ signal });
  const headers = { "content-type": "application/json" };
  const options = { method: "POST", headers, body: JSON.stringify(body), signal };
  const response = await fetch(`${APP}v1/${PATHS[kind]}`, options);
  if (!response.ok) answer.fail({ ...(await response.json()).error, status: response.status });
  else if (!body.stream) answer.add(await response.json());
  else await read(response, answer);
}

async function read(response, answer) {
  for await (const text of eventsOf(response)) {
    const chunk = JSON.parse(text);
    if (chunk.error) answer.fail({ ...chunk.error, status: response.status });
    else answer.add(chunk);
  }
}

function setRunning(busy) {
  byId("run").toggleAttribute("disabled", busy);
  byId("stop").hidden = !busy;
  byId("answer").setAttribute("aria-busy", String(busy));
}

function showCode() {
  const { kind, body } = requestOf(form, model);
  const way = document.querySelector("input[name=way]:checked");
  byId("code").textContent = codeOf(/** @type {any} */ (way).value, { kind, body }, APP);
  byId("input-label").textContent = t(kind === "chat" ? "message" : "playPrompt");
  for (const field of form.querySelectorAll("[data-only]")) {
    /** @type {HTMLElement} */ (field).hidden = kind !== "chat";
  }
}

async function copy() {
  const done = await copyText(byId("code").textContent ?? "");
  byId("copy").textContent = t(done ? "playCopied" : "playNotCopied");
  setTimeout(() => (byId("copy").textContent = t("copy")), 1500);
}
