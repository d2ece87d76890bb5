/** Where hub models come from, and the token for it; js/hub_token.js keeps that. */
import { readToken, saveToken } from "../../hub_token.js";
import { hubToken } from "../../model_files.js";
import { HUB } from "../../storage/hub.js";

const HUB_KEY = "jird.hub";

/** @returns {string} address of the hub */
export function hubBase() {
  try {
    return localStorage.getItem(HUB_KEY) || HUB;
  } catch {
    return HUB;
  }
}

/**
 * Take another hub; the token of the one before is forgotten, as it is nobody else's.
 * @param {string} url empty: the usual hub
 * @returns {boolean} whether it can be an address
 */
export function setHubBase(url) {
  const text = url.trim() || HUB;
  if (!URL.canParse(text) || !/^https?:$/.test(new URL(text).protocol)) return false;
  if (new URL(text).origin !== new URL(hubBase()).origin) saveToken("");
  try {
    localStorage.setItem(HUB_KEY, text);
    return true;
  } catch {
    return false;
  }
}

/** {value, origin} for the hub in use, or null. */
export function tokenOfHub() {
  return hubToken(readToken(), hubBase());
}

/** The token for a download: those of the site and of other addresses need none. */
export function tokenFor(spec) {
  return spec.source && spec.source.kind !== "hub" ? null : tokenOfHub();
}
