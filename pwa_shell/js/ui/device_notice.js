/** Tells a person when the engine had to change how it works: safe mode, a shorter context. */
import { byId } from "./dom.js";
import { t } from "./strings.js";
import { toast } from "./toast.js";

/**
 * @param {any} device of `stats()`
 * @returns {string} what is told, in the page's language; empty where all is as asked for
 */
export function noticeText(device) {
  const { notice, told } = device ?? {};
  if (!notice) return "";
  return told ? (t(/** @type {any} */ (`deviceNotice_${told.kind}`), told) ?? notice) : notice;
}

/**
 * Looks after each load and each answer.
 * @param {import("./app.js").App} app
 */
export function followDevice(app) {
  let said = "";
  const look = async () => {
    if (app.session.state !== "ready") return;
    const engine = await app.session.ensure().catch(() => null);
    const stats = await Promise.resolve(engine?.stats?.()).catch(() => null);
    const text = noticeText(stats?.device);
    if (!text || text === said) return;
    said = text;
    const run = () => byId("diagnostics").click();
    toast(text, { label: t("diagnostics"), run }, { lasting: true });
    app.announcer.say(text);
  };
  app.session.on("state", (state) => (state === "ready" ? look() : (said = "")));
  app.talk.on("end", look);
  look();
}
