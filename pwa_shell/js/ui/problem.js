/**
 * Errors as the page shows them.
 * @typedef {{code: string, message: string, nextStep: string, facts?: Record<string, any>}} Problem
 */
import { answered } from "../silence.js";
import { t, told } from "./strings.js";

/**
 * Codes after which the loaded engine is of no use, so that the next attempt must load it again.
 */
const FATAL = new Set(["E_DEVICE_LOST", "E_NO_ANSWER", "E_OUT_OF_MEMORY", "E_GPU", "E_INTERNAL"]);

const ADAPTER_MS = 30_000; // a GPU process that hangs answers never

/** @param {any} error whatever was thrown @returns {Problem} */
export function toProblem(error) {
  const text = String(error?.message ?? error ?? "Unknown error");
  if (error?.code && typeof error.code === "string") {
    return {
      code: error.code,
      message: text,
      facts: error.facts,
      nextStep: error.next_step ?? error.nextStep ?? "Try again.",
    };
  }
  if (/dynamically imported module|importing a module|Failed to fetch/i.test(text)) {
    return {
      code: "E_NETWORK",
      message: `A part of the app could not be fetched: ${text}`,
      nextStep: "Check the connection to this site and try again.",
      facts: { url: t("partOfApp"), detail: text },
    };
  }
  return {
    code: "E_INTERNAL",
    message: `Something failed inside Jird: ${text}`,
    nextStep: "Reload the page; report it if it repeats.",
    facts: { detail: text },
  };
}

/** @param {any} error @returns {string} in one line, for a note */
export function problemLine(error) {
  const { what, nextStep } = told(toProblem(error));
  return `${what} ${nextStep}`;
}

/** @param {Problem} problem @returns {boolean} */
export function isFatal(problem) {
  return FATAL.has(problem.code);
}

/** @param {any} error @returns {boolean} whether it only says that someone asked to stop */
export function isAbort(error) {
  return error?.name === "AbortError";
}

const asksForReference = () =>
  new URLSearchParams(location.search).get("device") === "reference";

/**
 * Whether this browser can run the engine at all; asked before anything is downloaded.
 * @param {boolean} reference whether the reference device computes, which needs no GPU
 * @returns {Promise<Problem|null>}
 */
export async function findObstacle(reference = asksForReference()) {
  if (!globalThis.isSecureContext) {
    return {
      code: "E_INSECURE_CONTEXT",
      message: `${location.origin} is not a secure address, so the browser hides its GPU from it.`,
      nextStep:
        "Open it over https or as http://localhost; python3 build.py serve --https sets up https.",
      facts: { url: location.origin },
    };
  }
  if (reference) return null;
  const gpu = /** @type {any} */ (navigator).gpu;
  const asked = gpu?.requestAdapter().catch(() => null) ?? Promise.resolve(null);
  const adapter = await answered(asked, ADAPTER_MS, () => null).catch(() => null);
  if (adapter) return null;
  return {
    code: "E_NO_WEBGPU",
    message: t(gpu ? "noAdapter" : "noWebgpu"),
    nextStep:
      "Use Safari 26 or later, or a current Chrome or Edge, " +
      "and check that graphics acceleration is on in its settings.",
  };
}
