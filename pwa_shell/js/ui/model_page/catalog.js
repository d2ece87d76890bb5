/**
 * The models that can be had by name, before any is downloaded: this site's own, which a small file
 * lists, then the offers of app/catalog.py with what fits this device, which need Python.
 */
import { siteSpec } from "../../model_files.js";
import { hubBase, tokenOfHub } from "./hub_access.js";

const SITE = new URL("../../../", import.meta.url).href;

/**
 * @typedef {{id: string, name: string, license: string, bytes: number, approximate?: boolean,
 *   quant?: string, context?: number, modalities?: string[], fit?: any, budget?: number,
 *   spec?: any, hub?: string|null}} Offer `id` is the one in the storage; `spec` or `hub` says
 *   where it is
 */

/** @returns {Promise<Offer[]>} this site's models */
export async function siteOffers() {
  const response = await fetch(`${SITE}models/index.json`);
  if (!response.ok) return [];
  const { models } = await response.json();
  return models.map((row) => {
    const { id, name, license, bytes } = row;
    return { id, name, license, bytes, spec: siteSpec(row, SITE) };
  });
}

/**
 * The site's offers with what Python knows of them, and the hub's.
 * @param {Offer[]} site
 * @param {{rows: any[], budget?: number}} catalog of `catalog()` in jird.js
 * @returns {Offer[]}
 */
export function joinOffers(site, { rows, budget }) {
  const known = rows.map((row) => {
    const own = site.find((offer) => offer.id === row.id);
    const hub = row.source?.repo ? row.source.model : null;
    const bytes = own?.bytes ?? row.bytes;
    return { ...row, id: hub ?? row.id, budget, hub, spec: own?.spec, bytes };
  });
  const others = site.filter((offer) => !known.some(({ id }) => id === offer.id));
  return [...others, ...known.filter((offer) => offer.spec || offer.hub)];
}

/**
 * What to download for an offer.
 * @param {Offer} offer
 * @param {import("./library.js").ModelsLibrary} library
 */
export async function specOf(offer, library) {
  if (offer.spec) return offer.spec;
  const spec = await library.resolve({ model: offer.hub, base: hubBase(), token: tokenOfHub() });
  return { ...spec, name: offer.name };
}
