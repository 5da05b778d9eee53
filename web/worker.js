// The web worker: holds the state of the page, in gradcam's WebAssembly, and answers one call after the other.
//
// A call is { id, call, args } and its answer { id, value } or { id, error }. Between them come { progress: [done, total] }.
// After a trap, such as a memory that does not grow any more, the answer has { fatal: true }: the state is lost with the worker.

import init, { PageState } from "./gradcam_web.js";

let state;
let panic;

globalThis.onGradcamProgress = (done, total) => postMessage({ progress: [done, total] });
globalThis.onGradcamPanic = (message) => {
  panic = message;
};

/** A picture of gradcam as the browser's. */
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
    state = new PageState();
    return parsed(PageState.tables());
  },
  open: (name, files, settings) =>
    parsed(
      state.open(
        name,
        files.map((file) => file.path),
        files.map((file) => file.blob),
        asked(settings),
      ),
    ),
  close: (model) => state.close(model),
  say: (model, settings) => parsed(state.say(model, asked(settings))),
  addPhoto: async (blob) => parsed(state.addPhoto(new Uint8Array(await blob.arrayBuffer()))),
  dropPhoto: (photo) => state.dropPhoto(photo),
  show: (photo) => imageData(state.show(photo)),
  explain: (request) => parsed(state.explain(asked(request))),
  dropExplanation: (explanation) => state.dropExplanation(explanation),
  draw: (explanation, heatmap, style) =>
    imageData(state.draw(explanation, heatmap, asked(style))),
  png: (explanation, heatmap, style) =>
    new Blob([state.png(explanation, heatmap, asked(style))], { type: "image/png" }),
  map: (explanation, layer) => state.map(explanation, layer),
  export: (request) => new Blob([state.export(asked(request))]),
  plain: (model, photo, runs) => parsed(state.plain(model, photo, runs)),
};

/** Whether the state cannot go on after an error: WebAssembly has trapped, or has no memory. */
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

// One after the other: the state is asked by one call at a time.
let queue = Promise.resolve();
addEventListener("message", ({ data }) => {
  queue = queue.then(() => answer(data));
});
