// What is dropped, and what is downloaded.

import assert from "node:assert/strict";
import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { inflateSync } from "node:zlib";
import { outputs, withExternalData } from "./onnx.mjs";
import { alerted, choose, download, drop, explained, FIXTURES, FOLDER, PHOTOS, withPage } from "./page.mjs";

const MODEL = join(FOLDER, "efficientnet_lite0.onnx");
let folder;

before(async () => {
  folder = await mkdtemp(join(tmpdir(), "gradcam-page-"));
});
after(() => rm(folder, { recursive: true }));

const file = async (name, content) => {
  const path = join(folder, name);
  await writeFile(path, content);
  return path;
};

/** Checks that a message is shown, and that the page goes on with what it had. */
async function isRefused(page, message) {
  assert.match(await alerted(page), message);
  assert.equal(await page.locator("#pane-1 .model option").count(), 1);
  await choose(page, "Egyptian cat");
  assert.equal(await page.locator("#alert").textContent(), "");
  await choose(page, "espresso");
}

test("what is no model is named, and the page goes on", () =>
  withPage({}, async (page) => {
    await drop(page, [join(FIXTURES, "bad_models/cut_in_half.onnx")]);
    await isRefused(page, /cut_in_half\.onnx/);
    await drop(page, [await file("network.pth", Buffer.from("PK\x03\x04 and more of an archive"))]);
    await isRefused(page, /network\.pth.*PyTorch|network\.pth.*zip/is);
    await drop(page, [await file("model.bin", "no model at all")]);
    await isRefused(page, /model\.bin/);
    await drop(page, [await file("no-picture.png", "no picture")]);
    await isRefused(page, /no-picture\.png/);
    await drop(page, [await file("notes.txt", "one line of text\n")]);
    await isRefused(page, /notes\.txt/);
  }));

test("a model with external data is dropped as two files or as a folder", async () => {
  const { model, data } = withExternalData(await readFile(MODEL), "weights.data");
  assert.ok(data.length > 9e6 && model.length < 1e5, `${model.length} and ${data.length} bytes`);
  const inside = join(folder, "external");
  await mkdir(inside);
  await writeFile(join(inside, "split.onnx"), model);
  await writeFile(join(inside, "weights.data"), data);
  await withPage({}, async (page) => {
    const expected = await page.locator("#pane-1 .classes").textContent();
    await drop(page, [join(inside, "split.onnx"), join(inside, "weights.data")]);
    await page.locator("#pane-1 .model-name", { hasText: "split.onnx" }).waitFor();
    await explained(page, "espresso");
    assert.equal(await page.locator("#pane-1 .classes").textContent(), expected);
    await drop(page, [inside]);
    await page.locator("#pane-1 .model-name", { hasText: "external/split.onnx" }).waitFor();
    await explained(page, "espresso");
    assert.equal(await page.locator("#pane-1 .classes").textContent(), expected);
  });
  await withPage({}, async (page) => {
    await drop(page, [join(inside, "split.onnx")]);
    assert.match(await alerted(page), /weights\.data/);
    // What it lacked is dropped after it.
    await drop(page, [join(inside, "weights.data")]);
    await page.locator("#pane-1 .model-name", { hasText: "split.onnx" }).waitFor();
    await explained(page, "espresso");
    assert.equal(await page.locator("#alert").textContent(), "");
  });
});

test("what a file lacks is asked for, with the guess, and can be said", () =>
  withPage({}, async (page) => {
    await drop(page, [join(FIXTURES, "zoo/resnet.dynamo.onnx")]);
    await page.locator("#pane-1 .model-name", { hasText: "resnet" }).waitFor();
    await explained(page, "class");
    const form = page.locator("#pane-1 .lacks-form");
    assert.ok(await form.isVisible());
    assert.equal(await form.getByLabel("Mean").inputValue(), "0.485, 0.456, 0.406");
    assert.match(await form.textContent(), /a guess/);
    await form.getByLabel("Mean").fill("one half");
    await form.getByRole("button", { name: "Apply" }).click();
    assert.match(await alerted(page), /Mean is "one half"; write numbers/);
    await form.getByLabel("Mean").fill("0.5");
    await form.getByRole("button", { name: "Apply" }).click();
    await page.waitForFunction(() => document.querySelector("#pane-1 [name=mean]").value === "0.5, 0.5, 0.5");
    await explained(page, "class");
    assert.match(await form.locator(".field", { hasText: "Mean" }).textContent(), /said here/);
    const labels = (name, count) => file(name, Array.from({ length: count }, (_, at) => `label ${at}`).join("\n"));
    await drop(page, [await labels("labels.txt", 2000)]);
    assert.match(await alerted(page), /labels\.txt: it has no label for each of the 10 classes/);
    await explained(page, "class");
    await drop(page, [await labels("any name.txt", 10)]);
    assert.match(await explained(page, "label"), /^label \d /);
    assert.match(await form.locator(".field", { hasText: "Mean" }).textContent(), /said here/);
  }));

test("a detector's objects are explained by a box in the picture", () =>
  withPage({}, async (page) => {
    await drop(page, [join(FIXTURES, "heads/yolov8.onnx")]);
    await page.locator("#pane-1 .model-name", { hasText: "yolov8" }).waitFor();
    await explained(page);
    const box = await page.locator("#pane-1 canvas").boundingBox();
    await page.mouse.move(box.x + 30, box.y + 30);
    await page.mouse.down();
    await page.mouse.move(box.x + 200, box.y + 160);
    await page.mouse.up();
    await page.waitForFunction(() => document.querySelector("#pane-1").getAttribute("aria-busy") === "false");
    const { bytes } = await download(page, "#pane-1 .json");
    assert.match(JSON.parse(bytes).target, /box/);
  }));

test("photos stand in a strip with their heat and their class", () =>
  withPage({}, async (page) => {
    await drop(page, [join(PHOTOS, "cat_beside_coffee.png"), join(FIXTURES, "networks/cat_over_coffee_224.png")]);
    await page.locator("#photos li").nth(2).waitFor();
    assert.equal(await page.locator("#photos [aria-pressed=true]").getAttribute("title"), "cat_beside_coffee.png");
    await explained(page);
    await page.locator("#explain-all").click();
    await page.locator("#status", { hasText: "Explained 3 photos." }).waitFor();
    for (const caption of await page.locator("#photos .caption").allTextContents()) assert.doesNotMatch(caption, /png/);
    await page.locator("#photos .thumbnail").nth(2).click();
    await explained(page);
    assert.equal(await page.locator("#pane-1 canvas").getAttribute("width"), "224");
    await page.getByRole("button", { name: "Remove networks/cat_over_coffee_224.png" }).or(page.getByRole("button", { name: "Remove cat_over_coffee_224.png" })).click();
    assert.equal(await page.locator("#photos li").count(), 2);
  }));

test("a photo is taken with the camera", () =>
  withPage({ permissions: ["camera"] }, async (page) => {
    await page.locator("#open-camera").click();
    await page.waitForFunction(() => document.querySelector("#camera video").videoWidth > 0);
    await page.locator("#camera .take").click();
    await page.locator("#photos li").nth(1).waitFor();
    await explained(page);
    assert.equal(await page.locator("#photos [aria-pressed=true]").getAttribute("title"), "camera-1.png");
  }));

test("picture, raw map and summary are saved as files", () =>
  withPage({}, async (page) => {
    const json = await download(page, "#pane-1 .json");
    const summary = JSON.parse(json.bytes);
    assert.equal(json.name, "cat_over_coffee.967-espresso.json");
    assert.equal(summary.class.label, "espresso");
    const png = await download(page, "#pane-1 .png");
    assert.deepEqual(png.bytes.subarray(0, 8), Buffer.from([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]));
    assert.deepEqual([png.bytes.readUInt32BE(16), png.bytes.readUInt32BE(20)], [448, 448]);
    const npy = await download(page, "#pane-1 .npy");
    const { shape, numbers } = readNpy(npy.bytes);
    assert.deepEqual(shape, summary.layers[0].shape);
    assert.deepEqual(numbers, await rawMap(page));
    assert.equal(Math.max(...numbers), Math.fround(summary.layers[0].raw_max));
  }));

/** Shape and numbers of a .npy file: https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html */
function readNpy(bytes) {
  assert.equal(bytes.subarray(0, 6).toString("latin1"), "\x93NUMPY");
  const start = 10 + bytes.readUInt16LE(8);
  assert.equal(start % 64, 0);
  const header = bytes.subarray(10, start).toString();
  assert.match(header, /'descr': '<f4', 'fortran_order': False/);
  const shape = header.match(/'shape': \(([^)]*)\)/)[1].split(",").filter(Boolean).map(Number);
  const numbers = Array.from({ length: (bytes.length - start) / 4 }, (_, at) => bytes.readFloatLE(start + 4 * at));
  assert.equal(numbers.length, shape.reduce((a, b) => a * b));
  return { shape, numbers };
}

/** The map of the built-in model and the example, by an engine of its own. */
function rawMap(page) {
  return page.evaluate(async () => {
    const here = (name) => new URL(name, document.baseURI).href;
    const { Engine } = await import(here("engine.js"));
    const blob = async (name) => (await fetch(here(name))).blob();
    const engine = new Engine();
    const path = "efficientnet_lite0.onnx";
    const { id: model } = await engine.open(path, [{ path, blob: await blob(path) }]);
    const { id: photo } = await engine.addPhoto(await blob("cat_over_coffee.png"));
    const [{ id }] = await engine.explain({ model, photo });
    return Array.from(await engine.map(id, 0));
  });
}

test("the model that explains itself is saved, and explained again", () =>
  withPage({}, async (page) => {
    await page.locator("#pane-1 .onnx").click();
    const whole = await download(page, "#export [type=submit]");
    assert.equal(whole.name, "efficientnet_lite0.explained.onnx");
    assert.deepEqual(outputs(whole.bytes), ["logits", "gradcam.map", "gradcam.heatmap", "gradcam.class"]);
    assert.match(await page.locator("#export .made").textContent(), /has [\d.]+ MB; the files of the model have [\d.]+ MB/);
    await page.getByLabel("own outputs").check();
    const alone = await download(page, "#export [type=submit]");
    assert.deepEqual(outputs(alone.bytes), ["gradcam.map", "gradcam.heatmap", "gradcam.class"]);
    await page.locator("#export .cancel").click();
    await drop(page, [await file("again.onnx", whole.bytes)]);
    await page.locator("#pane-1 .model-name", { hasText: "again.onnx" }).waitFor();
    assert.match(await explained(page, "espresso"), /^espresso/);
    assert.match(await page.locator("#pane-1 .facts").textContent(), /has one already/);
  }));

test("the exported model is smaller with weights of 16 bits", () =>
  withPage({}, async (page) => {
    await drop(page, [join(FIXTURES, "zoo/hf_dinov2.dynamo.onnx")]);
    await page.locator("#pane-1 .model-name", { hasText: "dinov2" }).waitFor();
    await explained(page);
    await page.locator("#pane-1 .onnx").click();
    const whole = await download(page, "#export [type=submit]");
    await page.getByLabel("16-bit").check();
    const half = await download(page, "#export [type=submit]");
    assert.ok(half.bytes.length < whole.bytes.length * 0.95, `${half.bytes.length} of ${whole.bytes.length} bytes`);
  }));
