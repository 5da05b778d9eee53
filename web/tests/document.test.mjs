// The example of docs/page.md, in a page of its own beside the files that it names.

import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";

import { FOLDER, PHOTOS, ROOT, withPage } from "./page.mjs";

test("the example of the document draws a picture", async () => {
  const document = readFileSync(join(ROOT, "docs/page.md"), "utf8");
  const [, example] = document.match(/```js\n([^]*?)```/);
  const folder = mkdtempSync(join(tmpdir(), "page"));
  try {
    writeFileSync(join(folder, "own.js"), `${example}\nwindow.done = true;\n`);
    const html = '<link rel="icon" href="icon.svg"><canvas width="512" height="512"></canvas><script type="module" src="own.js"></script>';
    writeFileSync(join(folder, "own.html"), html);
    const more = {
      "own.html": join(folder, "own.html"),
      "own.js": join(folder, "own.js"),
      "model.onnx": join(FOLDER, "efficientnet_lite0.onnx"),
      "cat.jpg": join(PHOTOS, "cat_over_coffee.png"),
    };
    await withPage({ more }, async (page, { url }) => {
      await page.goto(`${url}own.html`);
      await page.waitForFunction(() => window.done);
      const colors = await page.evaluate(() => {
        const { data } = document.querySelector("canvas").getContext("2d").getImageData(0, 0, 512, 512);
        return new Set(new Uint32Array(data.buffer)).size;
      });
      assert.ok(colors > 1000, `${colors} colors`);
    });
  } finally {
    rmSync(folder, { recursive: true });
  }
});
