/** Files that are chosen, or dropped anywhere on the page, folders included: [{path, file}]. */
import { h } from "../dom.js";
import { t } from "../strings.js";

const MOST_FILES = 2000; // a folder dropped by mistake

/** @param {HTMLInputElement} input @returns {{path: string, file: File}[]} */
export function filesOfInput(input) {
  return [...input.files].map((file) => ({ path: file.webkitRelativePath || file.name, file }));
}

/**
 * Listen for files that are dropped anywhere: those of a model go to the Models page, as all do
 * that are dropped there; others beside the message.
 * @param {{shown: () => boolean, model: (found: Promise<any[]>) => void,
 *   text: (files: File[]) => void}} to `shown`: whether the Models page is
 */
export function listenForDrops(to) {
  const told = h("p");
  const overlay = h("div", { class: "drop", hidden: true, "aria-hidden": true }, told);
  document.body.append(overlay);
  let depth = 0;
  const show = (shown) => {
    if (!shown) depth = 0;
    told.textContent = t(to.shown() ? "dropHere" : "dropChat");
    overlay.hidden = !shown;
  };
  const withFiles = (work) => (event) => {
    if (!event.dataTransfer?.types.includes("Files")) return;
    event.preventDefault();
    work(event);
  };
  addEventListener("dragenter", withFiles(() => show(++depth > 0)));
  addEventListener("dragover", withFiles((event) => (event.dataTransfer.dropEffect = "copy")));
  addEventListener("dragleave", withFiles(() => --depth <= 0 && show(false)));
  addEventListener("drop", withFiles((event) => {
    show(false);
    const { items, files } = event.dataTransfer;
    if (to.shown() || ofModel([...items], [...files])) to.model(filesOfDrop({ items, files }));
    else to.text([...files]);
  }));
}

/** Whether a folder, or a file of weights, is among what was dropped. */
function ofModel(items, files) {
  const folder = items.some((item) => item.webkitGetAsEntry?.()?.isDirectory);
  return folder || files.some(({ name }) => /\.(gguf|safetensors)$/i.test(name));
}

/** The entries must be taken before the first await: the list is emptied after the event. */
async function filesOfDrop({ items, files }) {
  const entries = [...items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  if (!entries.length) return [...files].map((file) => ({ path: file.name, file }));
  const found = [];
  for (const entry of entries) await collect(entry, found);
  return found;
}

async function collect(entry, found) {
  if (found.length >= MOST_FILES) return;
  if (entry.isFile) {
    const file = await new Promise((resolve, reject) => entry.file(resolve, reject));
    found.push({ path: entry.fullPath.replace(/^\//, ""), file });
    return;
  }
  const reader = entry.createReader();
  for (;;) {
    // A reader gives at most a hundred entries at a time, and none at the end.
    const some = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
    if (!some.length) return;
    for (const below of some) await collect(below, found);
  }
}
