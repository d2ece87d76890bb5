/** The start-up self-test of a first load, and with ?whole all of it; posts both to tests/bench/selftest.py, which serves this page. */
import { createEngine } from "../jird.js";

const whole = new URLSearchParams(location.search).has("whole");

async function measure() {
  const engine = await createEngine({ model: new URL("../model/", location.href).href, context: 128 });
  const ready_ms = performance.now();
  const { device, load_ms } = await engine.stats();
  return { user_agent: navigator.userAgent, device, ready_ms, load_ms, whole: whole ? await engine.selftest() : null };
}

const answer = await measure().catch((error) => ({ error: String(error), stack: error.stack }));
await fetch("result", { method: "POST", body: JSON.stringify(answer) });
