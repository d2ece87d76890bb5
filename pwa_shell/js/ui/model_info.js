/**
 * What the page says about the default model before anything is loaded, and the sampling its
 * authors advise.
 */
export const DEFAULT_MODEL = Object.freeze({
  id: "smollm2-135m-instruct",
  name: "SmolLM2 135M Instruct",
  bytes: 98e6,
  licence: "Apache-2.0",
  note: "Small and quick. Good for short questions and drafts; check what it claims.",
  // The values of the model card's own example.
  sampling: Object.freeze({ temperature: 0.2, top_p: 0.9 }),
  maxTokens: 1024,
});
