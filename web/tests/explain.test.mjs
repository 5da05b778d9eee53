// What the page explains, and how users change that.

import assert from "node:assert/strict";
import { join } from "node:path";
import { test } from "node:test";
import { alerted, choose, difference, drop, explained, FIXTURES, pixels, target, withPage } from "./page.mjs";

test("the built-in model explains the example before anything is dropped", () =>
  withPage({}, async (page) => {
    const labels = await page.locator("#pane-1 .classes .label").allTextContents();
    assert.ok(labels.includes("Egyptian cat"), labels.join());
    assert.ok(labels.includes("espresso"), labels.join());
    assert.match(await page.locator("#pane-1 .title").textContent(), /^espresso \d+ % · Grad-CAM · bn2$/);
    const { width, height } = await pixels(page);
    assert.deepEqual([width, height], [448, 448]);
    assert.equal(await page.locator("#pane-1 .classes [aria-pressed=true]").count(), 1);
  }));

test("the heat moves with the class, from the cat above to the cup below", () =>
  withPage({}, async (page) => {
    await choose(page, "Egyptian cat");
    const cat = await pixels(page);
    const ofCat = await page.getByRole("img", { name: /Egyptian cat/ }).getAttribute("aria-label");
    await choose(page, "espresso");
    const ofCup = await page.getByRole("img", { name: /espresso/ }).getAttribute("aria-label");
    assert.match(ofCat, /most heat is at the top/);
    assert.match(ofCup, /most heat is at the bottom/);
    assert.ok(difference(cat, await pixels(page)) > 5);
    assert.equal(await page.locator("#pane-1 .classes [aria-pressed=true] .label").textContent(), "espresso");
  }));

test("a target is text too, and one that does not fit leaves what was there", () =>
  withPage({}, async (page) => {
    assert.match(await target(page, "285-967", "rather"), /^Egyptian cat .* rather than espresso/);
    assert.match(await target(page, "neg:285", "against"), /^against Egyptian cat/);
    assert.match(await target(page, "tabby", "tabby"), /^tabby/);
    await target(page, "unicorn");
    assert.match(await alerted(page), /unicorn/);
    assert.match(await page.locator("#pane-1 .title").textContent(), /^tabby/);
    await target(page, "top:3", "espresso");
    const shown = page.locator("#pane-1 .shown");
    assert.equal(await shown.locator("option").count(), 3);
    await shown.selectOption({ index: 2 });
    assert.match(await explained(page, "Egyptian cat"), /^Egyptian cat/);
    assert.equal(await page.locator("#alert").textContent(), "");
  }));

test("layers are chosen in the tree, one or several", () =>
  withPage({}, async (page) => {
    const before = await pixels(page);
    await page.locator("#pane-1 .layer-panel > summary").click();
    await page.locator("#pane-1 .layers input[value=blocks]").check();
    assert.match(await explained(page, "blocks"), /· blocks$/);
    assert.ok(difference(before, await pixels(page)) > 1);
    assert.ok(await page.locator("#pane-1 .layers input[value=classifier]").isDisabled());
    await page.getByLabel("Several layers").check();
    await page.locator("#pane-1 .layers input[value=bn2]").check();
    assert.match(await explained(page, "+"), /· blocks \+ bn2$/);
    await page.locator("#pane-1 .fuse").selectOption("none");
    await page.locator("#pane-1 .shown option").nth(1).waitFor({ state: "attached" });
    assert.equal(await page.locator("#pane-1 .shown option").count(), 2);
    await page.getByLabel("Several layers").uncheck();
    assert.match(await explained(page, "bn2"), /· bn2$/);
  }));

test("another method makes another map", () =>
  withPage({}, async (page) => {
    const before = await pixels(page);
    await page.locator("#pane-1 .method").selectOption("layercam");
    assert.match(await explained(page, "LayerCAM"), /· LayerCAM ·/);
    assert.ok(difference(before, await pixels(page)) > 0.5);
    assert.match(await page.locator("#pane-1 .use").textContent(), /^For early layers.* Takes as long as a prediction\.$/);
  }));

test("the picture has styles, and is the photo where the heat is off", () =>
  withPage({}, async (page) => {
    const redrawn = async (change) => {
      const before = await pixels(page);
      await change();
      // A picture is drawn within the patience of the other waits, or the test has failed.
      for (const end = Date.now() + 60_000; Date.now() < end; ) {
        const now = await pixels(page);
        if (difference(before, now) > 0.5) return now;
      }
      throw new Error("the picture stayed as it was");
    };
    const blend = await pixels(page);
    const contours = await redrawn(() => page.locator("#style").selectOption("contours"));
    assert.ok(await page.locator("#opacity").isDisabled());
    const photo = await redrawn(() => page.locator("#heat").uncheck());
    assert.ok(difference(contours, photo) < difference(blend, photo), "lines leave most of the photo");
    await redrawn(() => page.locator("#heat").check());
    await redrawn(() => page.locator("#style").selectOption("alpha"));
    await redrawn(() => page.locator("#colormap").selectOption("viridis"));
    // As much opacity as there is hides the photo: neither of the blends has more of its colors than the other.
    const faint = await redrawn(() => page.locator("#opacity").fill("0.1"));
    assert.ok(difference(faint, photo) < difference(blend, photo));
  }));

test("a model that is dropped on the second pane is compared with that of the first", () =>
  withPage({}, async (page) => {
    await page.locator("#compare").click();
    await explained(page, "", "#pane-2");
    await drop(page, [join(FIXTURES, "zoo/resnet.dynamo.onnx")], "#pane-2 .frame");
    assert.match(await explained(page, "layer3.0", "#pane-2"), /^class \d+/);
    assert.match(await page.locator("#pane-1 .title").textContent(), /^espresso/);
    await page.locator("#pane-2 .close-model").click();
    assert.match(await explained(page, "espresso", "#pane-2"), /^espresso/);
    assert.equal(await page.locator("#pane-1 .model option").count(), 1);
  }));

test("two panes compare classes, layers and methods", () =>
  withPage({}, async (page) => {
    await page.locator("#compare").click();
    const second = await explained(page, "", "#pane-2");
    assert.match(second, /^cup/);
    assert.match(await page.locator("#pane-1 .title").textContent(), /^espresso/);
    await page.locator("#pane-2 .method").selectOption("hirescam");
    assert.match(await explained(page, "HiResCAM", "#pane-2"), /^cup .*HiResCAM/);
    assert.match(await page.locator("#pane-1 .title").textContent(), /Grad-CAM/);
    await page.locator("#pane-2 .close-pane").click();
    assert.equal(await page.locator("#pane-2").count(), 0);
    assert.equal(await page.locator("#compare").getAttribute("aria-pressed"), "false");
  }));

test("what an explanation costs is measured beside a prediction", () =>
  withPage({}, async (page) => {
    await page.locator("#pane-1 .measure").click();
    const time = page.locator("#pane-1 .time", { hasText: "a prediction alone" });
    await time.waitFor();
    assert.match(await time.textContent(), /^[\d.]+ ms; a prediction alone [\d.]+ ms \(medians of 5\)\.$/);
  }));
