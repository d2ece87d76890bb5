// What the page says of local GGUF files: node gguf_verdicts.mjs <pwa_shell/js/storage> <folder> -> {name: code or "ok"} on stdout.
import { readdirSync, readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";

const [folder, files] = process.argv.slice(2);
const { checkGguf } = await import(pathToFileURL(`${folder}/gguf_header.js`));
const found = {};
for (const name of readdirSync(files)) {
  const blob = new Blob([readFileSync(`${files}/${name}`)]);
  found[name] = await checkGguf(blob, name).then(() => "ok", (error) => error.code ?? String(error.stack));
}
process.stdout.write(JSON.stringify(found));
