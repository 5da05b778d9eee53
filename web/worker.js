// The web worker: runs the session of gradcam's WebAssembly, one call after the other.
//
// A call is { id, call, args } and its answer { id, value } or { id, error }. Between them come { progress: [done, total] }.
// After a trap, such as a memory that does not grow any more, the answer has { fatal: true }: the session is lost with the worker.

import init, { Session } from "./gradcam_web.js";

let session;
let panic;

globalThis.onGradcamProgress = (done, total) => postMessage({ progress: [done, total] });
globalThis.onGradcamPanic = (message) => {
  panic = message;
};

/** A picture of the session as the browser's. */
function imageData(picture) {
  const { width, height } = picture;
  const pixels = new Uint8ClampedArray(picture.take().buffer);
  picture.free();
  return new ImageData(pixels, width, height);
}

const parsed = (json) => JSON.parse(json);
const asked = (request) => JSON.stringify(request);

const CALLS = {
  /** @param {Blob} [wasm] the WebAssembly, where it cannot be read from the folder of this file */
  async start(wasm) {
    const bytes = await wasm?.arrayBuffer();
    await init({ module_or_path: bytes ?? new URL("gradcam_web_bg.wasm", import.meta.url) });
    session = new Session();
    return parsed(Session.tables());
  },
  open: (name, files, settings) =>
    parsed(
      session.open(
        name,
        files.map((file) => file.path),
        files.map((file) => file.blob),
        asked(settings),
      ),
    ),
  close: (model) => session.close(model),
  say: (model, settings) => parsed(session.say(model, asked(settings))),
  addPhoto: async (blob) => parsed(session.addPhoto(new Uint8Array(await blob.arrayBuffer()))),
  dropPhoto: (photo) => session.dropPhoto(photo),
  show: (photo) => imageData(session.show(photo)),
  explain: (request) => parsed(session.explain(asked(request))),
  dropExplanation: (explanation) => session.dropExplanation(explanation),
  draw: (explanation, heatmap, style) =>
    imageData(session.draw(explanation, heatmap, asked(style))),
  png: (explanation, heatmap, style) =>
    new Blob([session.png(explanation, heatmap, asked(style))], { type: "image/png" }),
  map: (explanation, layer) => session.map(explanation, layer),
  export: (request) => new Blob([session.export(asked(request))]),
  plain: (model, photo, runs) => parsed(session.plain(model, photo, runs)),
};

/** Whether the session cannot go on after an error: WebAssembly has trapped, or has no memory. */
const isFatal = (error) => error instanceof WebAssembly.RuntimeError || error instanceof RangeError;

/** A trap without a message: an allocation that failed, which aborts. */
const outOfMemory = (error) =>
  `WebAssembly stopped (${error.message}), probably for want of memory: a page has 4 GB for everything`;

async function answer({ id, call, args }) {
  try {
    postMessage({ id, value: await CALLS[call](...args) });
  } catch (error) {
    const fatal = isFatal(error);
    const message = fatal ? (panic ?? outOfMemory(error)) : (error?.message ?? String(error));
    postMessage({ id, error: message, fatal });
  }
}

// One after the other: a session is asked by one call at a time.
let queue = Promise.resolve();
addEventListener("message", ({ data }) => {
  queue = queue.then(() => answer(data));
});
