// What happens to long work and to a worker that fails; the page without a network.

import assert from "node:assert/strict";
import { cp, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { alerted, choose, explained, FOLDER, target, withPage } from "./page.mjs";

test("a long method is stopped, and the page goes on", () =>
  withPage({}, async (page) => {
    await choose(page, "Egyptian cat");
    await page.locator("#pane-1 .method").selectOption("scorecam");
    await page.locator("#pane-1 .runs", { hasText: /[1-9]\d* of \d+ runs/ }).waitFor();
    await page.locator("#pane-1 .stop").click();
    assert.match(await explained(page, "Grad-CAM"), /^Egyptian cat .* Grad-CAM/);
    assert.equal(await page.locator("#pane-1 .method").inputValue(), "");
    assert.equal(await page.locator("#alert").textContent(), "");
    await choose(page, "espresso");
  }));

test("a worker that has trapped is replaced, and the page says so", async () => {
  const folder = await mkdtemp(join(tmpdir(), "gradcam-page-"));
  const worker = join(folder, "worker.js");
  // A module whose function is `unreachable`, called for one target.
  const trap = [0, 97, 115, 109, 1, 0, 0, 0, 1, 4, 1, 96, 0, 0, 3, 2, 1, 0, 7, 5, 1, 1, 116, 0, 0, 10, 5, 1, 3, 0, 0, 11];
  const added = `
const trap = new WebAssembly.Instance(new WebAssembly.Module(new Uint8Array([${trap}]))).exports.t;
const explain = CALLS.explain;
CALLS.explain = (request) => (request.target === "neg:0" ? trap() : explain(request));
`;
  await writeFile(worker, (await readFile(join(FOLDER, "worker.js"), "utf8")) + added);
  try {
    await withPage({ more: { "worker.js": worker }, serviceWorkers: "block" }, async (page) => {
      await choose(page, "Egyptian cat");
      await target(page, "neg:0");
      assert.match(await alerted(page), /started again: .*unreachable/);
      assert.match(await explained(page, "Egyptian cat"), /^Egyptian cat/);
      await choose(page, "espresso");
    });
  } finally {
    await rm(folder, { recursive: true });
  }
});

test("a worker that does not start is said", () =>
  withPage({ more: { "gradcam_web_bg.wasm": join(FOLDER, "icon.svg") }, serviceWorkers: "block", fails: true }, async (page) => {
    assert.match(await alerted(page), /WebAssembly/);
    assert.ok(await page.locator("#starting").isHidden());
  }));

test("the page works without a network, below any path", () =>
  withPage({ base: "/some/where/" }, async (page, { context, url, server }) => {
    await page.locator("#offline").waitFor();
    await server.close();
    await context.setOffline(true);
    await page.goto(url);
    await explained(page, "espresso");
    await choose(page, "Egyptian cat");
  }));

test("a newer version of the page comes with the reload after the next", async () => {
  const folder = await mkdtemp(join(tmpdir(), "gradcam-page-"));
  try {
    const list = JSON.parse(await readFile(join(FOLDER, "files.json"), "utf8"));
    const [newer, app] = ["files.json", "results.js"].map((name) => join(folder, name));
    const more = {};
    await withPage({ more }, async (page) => {
      await page.locator("#offline").waitFor();
      await writeFile(newer, JSON.stringify({ ...list, version: "newer" }));
      const text = await readFile(join(FOLDER, "results.js"), "utf8");
      await writeFile(app, text.replace("` rather than ", "` and not "));
      Object.assign(more, { "files.json": newer, "results.js": app });
      await page.reload();
      await explained(page);
      await page.locator("#status", { hasText: "newer version" }).waitFor();
      await target(page, "285-967", "rather than");
      await page.reload();
      await explained(page);
      await target(page, "285-967", "and not");
    });
  } finally {
    await rm(folder, { recursive: true });
  }
});
