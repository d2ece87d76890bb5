/**
 * Steps under a grammar without Python between them: forward, the mask of the grammar's worker, draw. The worker makes a mask
 * while the GPU computes the logits that it is for, and the forward of the next step is submitted right behind a draw: the GPU has the
 * id, and computes while the id comes to us and the mask behind it is made.
 */

/**
 * @param {object} runner of gpu_binding.js
 * @param {Int32Array} before programs of the forward @param {Int32Array} after those of mask and draw
 * @param {Promise} first the first mask's answer, {reply, mask} @param {(token: number) => Promise} ask for the next
 * @param {number} maskBuffer @param {[number, number]} step buffer and offset of the word that is zero before each step
 * @param {number} count steps at most @param {number[]} stops ids after which there is none
 * @param {[number, number, number]} read what a step reads back; of several steps its first word is the id
 * @returns {Promise<{reply: string | null, data: Uint8Array, forwards: number, later: Promise | null}>} what the steps read, the last
 *   answer that was waited for, and how many forwards were submitted: one more than steps where an answer lets nothing pass, or where
 *   one stood behind the draw of a stop, which the GPU may have skipped; fewer steps than `count` where an answer lets nothing pass, behind
 *   a stop, or when the device failed: then `later` is the answer that is still to come. Throws what the runner throws at the first step.
 */
export async function guidedSteps(runner, before, after, first, ask, maskBuffer, step, count, stops, read) {
  const found = [];
  let forwards = 0;
  const done = (reply, later = null) => ({ reply, later, forwards, data: joined(found) });
  const forward = () => { // nothing is read: it is submitted when this returns
    if (forwards++) runner.write(...step, new Uint8Array(4));
    const running = runner.run(before, -1, 0, 0);
    running.catch(() => {}); // heard where it is waited for
    return running;
  };
  for (let answer = first, running = forward(); ;) {
    try {
      await running;
      const { reply, mask } = await answer, { accepted, empty } = JSON.parse(reply);
      if (!accepted || empty) return done(reply);
      runner.write(maskBuffer, 0, mask);
      const last = found.length + 1 >= count, waits = runner.lacks(after); // it would be submitted later than this returns
      const drawn = runner.run(after, ...read);
      running = last || waits ? null : forward();
      const data = await drawn;
      found.push(data);
      const token = new DataView(data.buffer, data.byteOffset).getUint32(0, true);
      if (last || stops.includes(token)) return done(reply);
      answer = ask(token);
      running ??= forward();
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
