/** The hub's address and the token for it: shown as kept or not, never shown again. */
import { readToken, saveToken } from "../../hub_token.js";
import { HUB } from "../../storage/hub.js";
import { h } from "../dom.js";
import { t } from "../strings.js";
import { hubBase, setHubBase } from "./hub_access.js";

export class AccessForm {
  constructor() {
    const props = { class: "field", autocomplete: "off", autocapitalize: "none" };
    this.token = /** @type {HTMLInputElement} */ (h("input",
      { ...props, id: "hub-token", type: "password", "data-testid": "hub-token" }));
    this.hub = /** @type {HTMLInputElement} */ (h("input", { ...props, id: "hub-address",
      type: "url", placeholder: HUB, "data-testid": "hub-address", value: hubBase() }));
    this.keep = this.#button("tokenSave", "token-keep", () => this.#save());
    this.forget = this.#button("tokenForget", "token-forget", () => this.#forget());
    this.kept = h("p", { class: "token-kept", "data-testid": "token-kept" });
    this.node = h("div", { class: "access-form" },
      h("label", { for: "hub-address", text: t("hubAddress") }), this.hub,
      h("label", { for: "hub-token", text: t("hubToken") }),
      h("div", { class: "add-line" }, this.token, this.keep),
      h("small", { text: t("tokenHint") }),
      h("div", { class: "token-line" }, this.kept, this.forget));
    this.hub.addEventListener("change", () => {
      if (!setHubBase(this.hub.value)) this.hub.value = hubBase();
      this.#show();
    });
    this.token.addEventListener("keydown", (event) => event.key === "Enter" && this.#save());
    this.#show();
  }

  #button(text, testid, click) {
    const props = { type: "button", class: "button plain", "data-testid": testid };
    return h("button", { ...props, text: t(text), on: { click } });
  }

  #save() {
    if (!this.token.value.trim()) return this.token.focus();
    saveToken(this.token.value);
    this.token.value = "";
    this.#show();
  }

  #forget() {
    saveToken("");
    this.#show();
    this.token.focus();
  }

  #show() {
    const kept = Boolean(readToken());
    this.kept.textContent = kept ? t("tokenKept") : "";
    this.forget.hidden = !kept;
  }
}
