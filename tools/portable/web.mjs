// Runs a model in onnxruntime-web, one thread of WebAssembly: node web.mjs PACKAGES MODEL X.npy FOLDER.
//
// PACKAGES is the folder where npm has installed onnxruntime-web. Each output becomes a file of numbers, INDEX.bin, and a row of
// the JSON on standard output.
import { readFileSync, writeFileSync } from "node:fs";
import { pathToFileURL } from "node:url";

const [packages, model, input, folder] = process.argv.slice(2);
const dist = `${packages}/node_modules/onnxruntime-web/dist`;
const ort = await import(pathToFileURL(`${dist}/ort.wasm.min.mjs`).href);
ort.env.wasm.numThreads = 1;
ort.env.wasm.wasmPaths = { wasm: pathToFileURL(`${dist}/ort-wasm-simd-threaded.wasm`).href, mjs: pathToFileURL(`${dist}/ort-wasm-simd-threaded.mjs`).href };
ort.env.wasm.wasmBinary = readFileSync(`${dist}/ort-wasm-simd-threaded.wasm`);
const session = await ort.InferenceSession.create(new Uint8Array(readFileSync(model)), { executionProviders: ["wasm"], logSeverityLevel: 3 });
const file = readFileSync(input);
const header = file.subarray(10, 10 + file.readUInt16LE(8)).toString();
const shape = header.match(/'shape': \(([^)]*)\)/)[1].split(",").filter((size) => size.trim()).map(Number);
const bytes = file.buffer.slice(file.byteOffset + 10 + file.readUInt16LE(8), file.byteOffset + file.length);
const made = await session.run({ [session.inputNames[0]]: new ort.Tensor("float32", new Float32Array(bytes), shape) });
const outputs = session.outputNames.map((name, index) => {
  const { data, dims, type } = made[name];
  writeFileSync(`${folder}/${index}.bin`, new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
  return { name, shape: dims, type };
});
console.log(JSON.stringify(outputs));
