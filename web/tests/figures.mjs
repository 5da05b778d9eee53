// The times of the page, one line for each model: `cargo xtask web --figures`, on a machine that has nothing else to do. Beside
// them those of onnxruntime-web for the same file, as users of it get them: the WebAssembly provider, one thread.

import { join } from "node:path";

import { withPage } from "./page.mjs";
import { REFERENCES, references } from "./references.mjs";

const PAIRS = 7;

console.log(`Chromium, one thread, median of ${PAIRS} runs in turn, milliseconds`);
console.log("| model | start | open | first explanation | explanation | plain inference | explanation / inference | onnxruntime-web: start | inference |");
console.log("|---|---|---|---|---|---|---|---|---|");
const PEER = ["ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm"];
const peer = PEER.map((name) => [`peer/${name}`, join("node_modules/onnxruntime-web/dist", name)]);
const more = { ...REFERENCES, ...Object.fromEntries(peer) };
for (const { files } of references) {
  await withPage({ more }, async (page) => {
    const t = await page.evaluate(timed, { files, pairs: PAIRS });
    const other = await page.evaluate(timedPeer, { files, runs: PAIRS, shape: t.shape });
    const ms = [t.start, t.open, t.first, t.explanation, t.plain].map((time) => time.toFixed(0));
    const others = [other.start, other.plain].map((time) => time.toFixed(0));
    console.log(`| ${files[0]} | ${ms.join(" | ")} | ${t.ratio.toFixed(3)} | ${others.join(" | ")} |`);
  });
}

/** Measures in the page; runs there. */
async function timed({ files, pairs }) {
  const { Engine } = await import("./engine.js");
  const blob = async (path) => (await fetch(path)).blob();
  const dropped = [];
  for (const path of files) dropped.push({ path, blob: await blob(`./references/${path}`) });
  const picture = await blob("./cat_over_coffee.png");
  const median = (times) => times.sort((a, b) => a - b)[times.length >> 1];
  const since = (start) => performance.now() - start;

  let begin = performance.now();
  const engine = new Engine();
  await engine.tables();
  const start = since(begin);
  begin = performance.now();
  const model = await engine.open(files[0], dropped);
  const photo = await engine.addPhoto(picture);
  const open = since(begin);
  begin = performance.now();
  await engine.explain({ model: model.id, photo: photo.id });
  const first = since(begin);
  const explained = [];
  const plain = [];
  const ratios = [];
  for (let pair = 0; pair < pairs; pair++) {
    const [one] = await engine.explain({ model: model.id, photo: photo.id });
    const { milliseconds } = await engine.plain(model.id, photo.id, 1);
    explained.push(one.milliseconds);
    plain.push(milliseconds[0]);
    ratios.push(one.milliseconds / milliseconds[0]);
    await engine.dropExplanation(one.id);
  }
  const shape = model.input.shape.map((size, axis) => size ?? [1, 3, 224, 224][axis]);
  return { start, open, first, explanation: median(explained), plain: median(plain), ratio: median(ratios), shape };
}

/** Measures onnxruntime-web in the page, from nothing to a session, and its runs; runs there. */
async function timedPeer({ files, runs, shape }) {
  const bytes = async (path) => new Uint8Array(await (await fetch(path)).arrayBuffer());
  const [model, ...others] = await Promise.all(files.map((path) => bytes(`./references/${path}`)));
  const externalData = others.map((data, at) => ({ path: files[at + 1], data }));
  const begin = performance.now();
  const ort = await import("./peer/ort.wasm.min.mjs");
  Object.assign(ort.env.wasm, { wasmPaths: new URL("./peer/", location.href).href, numThreads: 1 });
  const session = await ort.InferenceSession.create(model, { executionProviders: ["wasm"], externalData });
  const start = performance.now() - begin;
  const zeros = new Float32Array(shape.reduce((a, b) => a * b));
  const feeds = { [session.inputNames[0]]: new ort.Tensor("float32", zeros, shape) };
  const times = [];
  for (let run = 0; run <= runs; run++) {
    const from = performance.now();
    await session.run(feeds);
    times.push(performance.now() - from);
  }
  times.shift();
  return { start, plain: times.sort((a, b) => a - b)[times.length >> 1] };
}
