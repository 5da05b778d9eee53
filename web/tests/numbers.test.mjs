// The numbers of the page: raw maps equal those of the same engine compiled for this machine, and what is downloaded is small.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { brotliCompressSync, constants } from "node:zlib";

import { FOLDER, withPage } from "./page.mjs";
import { REFERENCES, explainedBy, references } from "./references.mjs";

/** The largest difference over the largest entry; two float32 programs of the same operators differ by their order of sums. */
const BOUND = 1e-5;

/** What is downloaded before the first model, in bytes, compressed as servers do. */
const MOST_BYTES = 1_500_000;

for (const { files, maps } of references) {
  test(`maps of ${files[0]} are the native ones`, async () => {
    await withPage({ more: REFERENCES }, async (page) => {
      const targets = maps.map(({ target }) => target);
      const got = await page.evaluate(explainedBy, { files, targets });
      for (const [at, expected] of maps.entries()) {
        assert.equal(got[at].class, expected.class);
        assert.equal(got[at].layer, expected.layer);
        assert.deepEqual(got[at].shape, expected.shape);
        const largest = Math.max(...expected.map.map(Math.abs));
        const apart = Math.max(...expected.map.map((number, i) => Math.abs(number - got[at].map[i])));
        console.log(`${files[0]}, ${expected.target}: ${(apart / largest).toExponential(1)} apart`);
        assert.ok(largest > 0 && apart <= BOUND * largest, `${apart} apart, the largest is ${largest}`);
      }
    });
  });
}

test("what is downloaded before a model is small", () => {
  const examples = new Set(["efficientnet_lite0.onnx", "cat_over_coffee.png"]);
  // local.js is for pages that are opened as a file.
  const { files } = JSON.parse(readFileSync(join(FOLDER, "files.json"), "utf8"));
  const sizes = files
    .filter((name) => !examples.has(name))
    .map((name) => {
      const bytes = readFileSync(join(FOLDER, name));
      const params = { [constants.BROTLI_PARAM_SIZE_HINT]: bytes.length };
      return [name, brotliCompressSync(bytes, { params }).length];
    });
  const total = sizes.reduce((sum, [, size]) => sum + size, 0);
  console.log(sizes.map(([name, size]) => `${name} ${size}`).join(", "));
  console.log(`${(total / 1e6).toFixed(2)} MB in all, with brotli`);
  assert.ok(total <= MOST_BYTES, `${total} bytes`);
});
