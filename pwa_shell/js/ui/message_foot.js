/** What stands under a message: its buttons, its place among the branches, its figures. */
import { h, icon, iconButton } from "./dom.js";
import { formatRate, formatSeconds } from "./format.js";
import { t, told } from "./strings.js";

/** @typedef {import("./chat_store.js").Message} Message */

/** @param {string} name icon @param {string} label @param {string} action */
const button = (name, label, action, more = "") =>
  iconButton(name, label, { class: `ghost ${more}`, "data-action": action });

/**
 * @param {Message} message
 * @param {{index: number, all: Message[]}} place among its siblings
 * @returns {HTMLElement}
 */
export function footRow(message, place) {
  const user = message.role === "user";
  const row = h("div", { class: "message-actions" });
  if (place.all.length > 1) row.append(switcher(place));
  if (message.text || user) row.append(button("copy", t("copyMessage"), "copy-message"));
  if (message.text && !user) row.append(button("sound", t("readAloud"), "speak"));
  if (user) row.append(button("edit", t("edit"), "edit", "when-idle"));
  else if (!message.problem) row.append(button("retry", t("retry"), "retry", "when-idle"));
  row.append(button("more", t("more"), "more", "when-idle"));
  if (user) return row;
  if (mayGoOn(message)) {
    const props = { type: "button", class: "button small quiet when-idle", text: t("goOn") };
    row.append(h("button", { ...props, "data-action": "resume", "data-testid": "resume" }));
  }
  row.append(h("span", { class: "stats", "data-testid": "stats", text: statsText(message) }));
  return row;
}

/** Under an answer that another tab writes. */
export function elsewhereRow() {
  const props = { type: "button", class: "button small quiet when-idle", text: t("takeOver") };
  return h("div", { class: "message-actions" },
    h("span", { class: "stats", text: t("otherTabWrites") }),
    h("button", { ...props, "data-action": "takeover", "data-testid": "takeover" }));
}

/** @param {Message} message @returns {boolean} whether there is something to write on from */
function mayGoOn({ role, text, state, finish }) {
  if (role !== "assistant" || !text) return false;
  return state === "stopped" || state === "error" || finish === "length";
}

function switcher({ index, all }) {
  const step = (by, name, label) => {
    const to = all[index + by];
    const props = { class: "ghost when-idle", "data-action": "select", "data-to": to?.id };
    return iconButton(name, label, { ...props, disabled: !to });
  };
  const label = t("branchOf", { index: index + 1, count: all.length });
  return h(
    "span",
    { class: "switcher", role: "group", "aria-label": label, "data-testid": "switcher" },
    step(-1, "left", t("branchBefore")),
    h("span", { "aria-hidden": "true", text: `${index + 1}/${all.length}` }),
    step(1, "right", t("branchAfter")),
  );
}

/**
 * @param {Message} message
 * @returns {string} e.g. "42 tok/s · 0.31 s to first token · 128 tokens"
 */
function statsText(message) {
  const { stats, state, finish, text } = message;
  const parts = [];
  if (stats?.tps) parts.push(formatRate(stats.tps));
  if (stats?.ttft_ms) parts.push(t("firstToken", { time: formatSeconds(stats.ttft_ms / 1000) }));
  if (stats?.prefill_tps) parts.push(t("prefillRate", { rate: formatRate(stats.prefill_tps) }));
  if (stats?.tokens) parts.push(t("tokens", { count: stats.tokens }));
  if (state === "stopped") parts.unshift(t(finish === "interrupted" ? "interrupted" : "stopped"));
  else if (finish === "length") parts.unshift(t("length"));
  else if (state === "done" && !text) parts.unshift(t("empty"));
  // No-break spaces: a narrow line breaks between the parts.
  return parts.map((part) => part.replaceAll(" ", "\u00a0")).join(" · ");
}

/**
 * An error as a person should see it: what happened, what to do, and the code for a report.
 * @param {import("./problem.js").Problem} problem
 * @param {boolean} retry whether a button to try again makes sense
 * @returns {HTMLElement}
 */
export function problemBox(problem, retry) {
  const { what, nextStep } = told(problem);
  const again = retry
    ? h("button", {
        type: "button",
        class: "button small",
        "data-action": "retry",
        text: t("retry"),
      })
    : null;
  return h(
    "div",
    { class: "problem", role: "alert", "data-testid": "error" },
    icon("alert"),
    h(
      "div",
      { class: "problem-text" },
      h("p", { class: "problem-what", dir: "auto", text: what }),
      h("p", { dir: "auto", text: nextStep }),
      h("p", { class: "problem-foot" }, h("code", { text: problem.code }), again),
    ),
  );
}
