/** Tools by the names that a person reads. */
import { t } from "../strings.js";

/** @param {string} name @returns {string} a tool that the model made up keeps the name it has */
export function toolName(name) {
  return t(`toolName_${name}`) ?? name;
}
