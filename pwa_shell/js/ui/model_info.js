/**
 * What the page says about the default model before anything is loaded, and the sampling its
 * authors advise.
 */
export const DEFAULT_MODEL = Object.freeze({
  id: "smollm2-135m-instruct",
  name: "SmolLM2 135M Instruct",
  bytes: 98e6,
  licence: "Apache-2.0",
  note: "defaultNote",
  // The values of the model card's own example.
  sampling: Object.freeze({ temperature: 0.2, top_p: 0.9 }),
  maxTokens: 1024,
});

const KEY = "jird.model";

/** @returns {typeof DEFAULT_MODEL} the model that the person chose last, else the default one */
export function chosenModel() {
  try {
    const row = JSON.parse(localStorage.getItem(KEY) ?? "null");
    return row?.id && row.name ? describe(row) : DEFAULT_MODEL;
  } catch {
    return DEFAULT_MODEL;
  }
}

/**
 * Take a stored model from now on, also after a reload.
 * @param {{id: string, name: string, bytes: number, license: string|null}} row
 */
export function chooseModel(row) {
  const own = row.id === DEFAULT_MODEL.id;
  const { id, name, bytes, license } = row;
  try {
    if (own) localStorage.removeItem(KEY);
    else localStorage.setItem(KEY, JSON.stringify({ id, name, bytes, license }));
  } catch {
    // Without storage the default model is back after a reload.
  }
  return own ? DEFAULT_MODEL : describe(row);
}

/** Sampling is left to the model's own defaults. */
function describe({ id, name, bytes = 0, license }) {
  const { maxTokens } = DEFAULT_MODEL;
  return Object.freeze({ id, name, bytes, licence: license ?? "", note: "chosenNote",
    sampling: Object.freeze({}), maxTokens });
}
