/** The engine's side of grammar_worker.js: questions as JSON text, with a time limit each. */
const WORKER = new URL("../grammar_worker.js", import.meta.url);

/**
 * Starts the worker.
 * @returns {{ask(question: string, seconds: number): Promise<{reply: string, mask?: Uint8Array}>,
 *   close(): void}} `ask` never rejects: a worker that fails answers {error}, one that is late {late}.
 */
export function openGrammar() {
  const worker = new Worker(WORKER, { type: "module" });
  const waiting = new Map(); // id -> {resolve, timer}
  let ids = 0;

  const answer = (id, reply, mask) => {
    const { resolve, timer } = waiting.get(id) ?? {};
    waiting.delete(id);
    clearTimeout(timer);
    resolve?.({ reply, mask });
  };
  const failAll = (reply) => {
    for (const id of [...waiting.keys()]) answer(id, JSON.stringify(reply));
  };
  worker.onmessage = ({ data: { id, reply, mask } }) => answer(id, reply, mask);
  worker.onerror = (event) => failAll({ error: event.message ?? "the grammar's worker could not start" });

  const ask = (question, seconds) => new Promise((resolve) => {
    const id = ++ids;
    const timer = setTimeout(() => answer(id, JSON.stringify({ late: true })), 1000 * seconds);
    waiting.set(id, { resolve, timer });
    worker.postMessage({ id, question });
  });
  return {
    ask,
    asker: (matcher, seconds) => (token) => ask(JSON.stringify({ op: "step", matcher, token }), seconds),
    close: () => {
      worker.terminate();
      failAll({ error: "it was closed" });
    },
  };
}
