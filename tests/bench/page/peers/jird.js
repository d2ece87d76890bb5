/** Jird as its users get it: `createEngine` of the built site, its own worker and storage. */
export async function open({ site }) {
  const { createEngine } = await import(`${site}jird.js`);
  const engine = await createEngine({});
  const { device, dispatches_per_token, load_ms } = await engine.stats();
  const version = await (await fetch(`${site}version.json`)).json();
  return {
    info: { version: `${version.version} (${version.build.slice(0, 8)})`, path: "WebGPU",
      f16: device.f16, dispatches_per_token, load_ms },
    async generate({ ids: prompt }, max_tokens, onTokens) {
      const body = { prompt, max_tokens, temperature: 0, stream: true, return_token_ids: true };
      for await (const chunk of await engine.completions.create(body)) {
        const count = chunk.choices[0]?.token_ids?.length;
        if (count) onTokens(count);
      }
    },
    async memory() {
      return { gpu: (await engine.stats()).bytes };
    },
    async stats() {
      const { submits_per_token, python_ms_per_token, decode_tps } = await engine.stats();
      return { submits_per_token, python_ms_per_token, decode_tps };
    },
  };
}
