/**
 * Steps under a grammar without Python between them: forward, the mask of the grammar's worker, draw. The worker makes a mask
 * while the GPU computes the logits that it is for.
 */

/**
 * @param {object} runner of gpu_binding.js
 * @param {Int32Array} before programs of the forward @param {Int32Array} after those of mask and draw
 * @param {Promise} first the first mask's answer, {reply, mask} @param {(token: number) => Promise} ask for the next
 * @param {number} maskBuffer @param {[number, number]} step buffer and offset of the word that is zero before each step
 * @param {number} count steps at most @param {number[]} stops ids after which there is none
 * @param {[number, number, number]} read what a step reads back; of several steps its first word is the id
 * @returns {Promise<{reply: string | null, data: Uint8Array, later: Promise | null}>} what the steps read, and the last answer that was
 *   waited for; fewer than `count` where an answer lets nothing pass, behind a stop, or when the device failed: then `later` is the
 *   answer that is still to come. Throws what the runner throws at the first step.
 */
export async function guidedSteps(runner, before, after, first, ask, maskBuffer, step, count, stops, read) {
  const found = [];
  const done = (reply, later = null) => ({ reply, later, data: joined(found) });
  for (let answer = first; ;) {
    try {
      await runner.run(before, -1, 0, 0); // nothing is read: it is submitted when this returns
      const { reply, mask } = await answer, { accepted, empty } = JSON.parse(reply);
      if (!accepted || empty) return done(reply);
      runner.write(maskBuffer, 0, mask);
      const data = await runner.run(after, ...read);
      found.push(data);
      const token = new DataView(data.buffer, data.byteOffset).getUint32(0, true);
      if (found.length >= count || stops.includes(token)) return done(reply);
      answer = ask(token);
      runner.write(...step, new Uint8Array(4));
    } catch (error) {
      if (!found.length) throw error;
      return done(null, answer); // the next call tells what failed
    }
  }
}

function joined(parts) {
  if (parts.length === 1) return parts[0];
  const out = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    out.set(part, at);
    at += part.length;
  }
  return out;
}
