/** Every text in English: the table whose keys all languages have. */
import chat from "./chat.js";
import check from "./check.js";
import diagnostics from "./diagnostics.js";
import models from "./models.js";
import page from "./page.js";
import playground from "./playground.js";
import settings from "./settings.js";
import tools from "./tools.js";
import voice from "./voice.js";

export default { ...page, ...chat, ...settings, ...models, ...tools, ...diagnostics, ...playground, ...check,
  ...voice };
export { default as errors } from "./errors.js";
