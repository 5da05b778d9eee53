// The files beside the page. A page that is opened as a file has another module in the place of this one, because browsers give
// it no files: `cargo xtask web` writes it into local.js.

/** A file of the folder, as a Blob. */
export async function file(name) {
  const answer = await fetch(new URL(name, import.meta.url));
  if (!answer.ok) throw new Error(`${name}: ${answer.status} ${answer.statusText}`);
  return answer.blob();
}

/** A worker that runs worker.js. */
export const startWorker = () => new Worker(new URL("worker.js", import.meta.url), { type: "module" });

/** The WebAssembly for the worker; none where the worker reads it itself, while it arrives. */
export const wasm = () => undefined;
