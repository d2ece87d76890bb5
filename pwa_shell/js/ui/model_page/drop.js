/** Files that are chosen, or dropped anywhere on the page, folders included: [{path, file}]. */
import { h } from "../dom.js";
import { t } from "../strings.js";

const MOST_FILES = 2000; // a folder dropped by mistake

/** @param {HTMLInputElement} input @returns {{path: string, file: File}[]} */
export function filesOfInput(input) {
  return [...input.files].map((file) => ({ path: file.webkitRelativePath || file.name, file }));
}

/** Listen for files that are dropped anywhere. @param {(found: Promise<any[]>) => void} onFiles */
export function listenForDrops(onFiles) {
  const overlay = h("div", { class: "drop", hidden: true, "aria-hidden": true },
    h("p", { text: t("dropHere") }));
  document.body.append(overlay);
  let depth = 0;
  const show = (shown) => {
    if (!shown) depth = 0;
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
    onFiles(filesOfDrop(event.dataTransfer));
  }));
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
