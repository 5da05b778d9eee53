// The page from a file share: opened as a file, without a server.

import assert from "node:assert/strict";
import { cpSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { pathToFileURL } from "node:url";

import { FOLDER, choose, explained, withPage } from "./page.mjs";

test("a page that is opened as a file explains its example, and another class", async () => {
  const folder = mkdtempSync(join(tmpdir(), "page of a share "));
  try {
    cpSync(FOLDER, folder, { recursive: true });
    await withPage({ url: pathToFileURL(join(folder, "index.html")).href }, async (page) => {
      assert.match(await explained(page), /^espresso/);
      assert.match(await choose(page, "Egyptian cat"), /^Egyptian cat/);
    });
  } finally {
    rmSync(folder, { recursive: true });
  }
});
