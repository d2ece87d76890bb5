/** The contract of a storage back end as cases: name -> async (backend, folder). Each works below a folder of its own. */
const PART = 4 << 20;

const fill = (size, seed = 1) => Uint8Array.from({ length: size }, (_, i) => (i * 31 + seed * 7 + (i >> 8)) & 255);

function equal(got, wanted, what = "value") {
  const [a, b] = [got, wanted].map((value) => (ArrayBuffer.isView(value) ? `${value.length} bytes` : JSON.stringify(value)));
  if (a !== b) throw new Error(`${what}: got ${a}, wanted ${b}`);
  if (!ArrayBuffer.isView(got)) return;
  const bad = got.findIndex((byte, i) => byte !== wanted[i]);
  if (bad >= 0) throw new Error(`${what}: byte ${bad} is ${got[bad]}, wanted ${wanted[bad]}`);
}

async function read(file, at, length) {
  const buffer = new Uint8Array(length).fill(99);
  return buffer.subarray(0, await file.readInto(buffer, at));
}

async function written(backend, path, bytes, at = 0) {
  const file = await backend.open(path, { create: true });
  await file.write(bytes, at);
  await file.flush();
  await file.close();
}

async function contents(backend, path) {
  const file = await backend.open(path, { readonly: true });
  const bytes = await read(file, 0, await file.size());
  await file.close();
  return bytes;
}

export const CASES = {
  async "opening what is not there gives null and makes nothing"(backend, folder) {
    equal(await backend.open(`${folder}/none`), null);
    equal(await backend.open(`${folder}/none`, { readonly: true, create: true }), null);
    equal(await backend.list(folder), []);
  },

  async "a new file is empty and listed"(backend, folder) {
    const file = await backend.open(`${folder}/new`, { create: true });
    equal(await file.size(), 0);
    equal(await read(file, 0, 7), new Uint8Array(0));
    await file.close();
    equal(await backend.list(folder), [{ path: `${folder}/new`, size: 0 }]);
  },

  async "bytes of awkward sizes come back"(backend, folder) {
    for (const size of [1, 7, 83, 769, PART - 1, PART, PART + 1]) {
      await written(backend, `${folder}/${size}`, fill(size, size));
      equal(await contents(backend, `${folder}/${size}`), fill(size, size), `size ${size}`);
    }
  },

  async "writes overlay each other across parts"(backend, folder) {
    const wanted = fill(2 * PART + 83);
    await written(backend, `${folder}/f`, wanted);
    for (const [at, size] of [[0, 1], [PART - 7, 83], [2 * PART, 83], [PART, PART], [769, 3]]) {
      const change = fill(size, at % 251);
      wanted.set(change, at);
      await written(backend, `${folder}/f`, change, at);
    }
    equal(await contents(backend, `${folder}/f`), wanted);
  },

  async "chunks may come in any order, and gaps read as zeros"(backend, folder) {
    const file = await backend.open(`${folder}/f`, { create: true });
    await file.write(fill(7), 2 * PART + 1);
    await file.write(fill(83), PART - 80);
    equal(await file.size(), 2 * PART + 8);
    const wanted = new Uint8Array(2 * PART + 8);
    wanted.set(fill(7), 2 * PART + 1);
    wanted.set(fill(83), PART - 80);
    equal(await read(file, 0, wanted.length), wanted);
    await file.close();
  },

  async "reads stop at the end of the file"(backend, folder) {
    await written(backend, `${folder}/f`, fill(83));
    const file = await backend.open(`${folder}/f`);
    equal(await read(file, 80, 769), fill(83).subarray(80));
    equal(await read(file, 83, 1), new Uint8Array(0));
    equal(await read(file, 1000, 1), new Uint8Array(0));
    await file.close();
  },

  async "a view of a larger buffer is written alone"(backend, folder) {
    const large = fill(PART + 100);
    await written(backend, `${folder}/f`, large.subarray(50, 57));
    large.fill(0);
    equal(await contents(backend, `${folder}/f`), fill(PART + 100).subarray(50, 57));
  },

  async "truncate makes shorter, longer and empty"(backend, folder) {
    const file = await backend.open(`${folder}/f`, { create: true });
    await file.write(fill(PART + 769), 0);
    for (const size of [PART + 7, PART, 83, PART + 1, 0]) {
      await file.truncate(size);
      equal(await file.size(), size, "size");
    }
    await file.write(fill(7), 0);
    await file.truncate(PART + 3);
    const wanted = new Uint8Array(PART + 3);
    wanted.set(fill(7));
    equal(await read(file, 0, PART + 3), wanted);
    await file.close();
    equal(await contents(backend, `${folder}/f`), wanted, "after closing");
  },

  async "remove takes a file, or all below a folder, and nothing else"(backend, folder) {
    for (const name of ["a", "b/c", "b/d/e", "b2/f", "bc"]) await written(backend, `${folder}/${name}`, fill(7));
    await backend.remove(`${folder}/b`);
    await backend.remove(`${folder}/a`);
    await backend.remove(`${folder}/not there/at all`);
    equal((await backend.list(folder)).map(({ path }) => path).sort(), [`${folder}/b2/f`, `${folder}/bc`]);
    equal(await backend.open(`${folder}/b/c`), null);
  },

  async "a file that was removed comes back empty"(backend, folder) {
    await written(backend, `${folder}/f`, fill(PART + 1));
    await backend.remove(`${folder}/f`);
    const file = await backend.open(`${folder}/f`, { create: true });
    equal(await file.size(), 0);
    await file.close();
  },

  async "usage is the sum of the sizes"(backend, folder) {
    const before = await backend.usage();
    await written(backend, `${folder}/a`, fill(769));
    await written(backend, `${folder}/b/c`, fill(PART + 1));
    equal((await backend.usage()) - before, 769 + PART + 1);
  },

  async "names may hold what an encoded id holds"(backend, folder) {
    const path = `${folder}/org%2Fname/file.with-dots_and %20`;
    await written(backend, path, fill(3));
    equal(await backend.list(folder), [{ path, size: 3 }]);
    equal(await contents(backend, path), fill(3));
  },

  async "readers share, and see what a writer flushed before they opened"(backend, folder) {
    await written(backend, `${folder}/f`, fill(769));
    const one = await backend.open(`${folder}/f`, { readonly: true });
    const two = await backend.open(`${folder}/f`, { readonly: true });
    equal(await read(one, 0, 769), fill(769));
    equal(await read(two, 0, 769), fill(769));
    await one.close();
    equal(await read(two, 7, 83), fill(769).subarray(7, 90));
    await two.close();
  },
};
