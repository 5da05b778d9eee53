// Who can use the page: keyboards, screen readers, phones; light and dark.

import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { test } from "node:test";
import { explained, withPage } from "./page.mjs";

const AXE = createRequire(import.meta.url).resolve("axe-core/axe.min.js");
const SIZES = {
  desktop: { viewport: { width: 1280, height: 900 } },
  phone: { viewport: { width: 360, height: 780 }, hasTouch: true, isMobile: true },
};

/** What axe-core finds to be serious or critical. */
async function faults(page) {
  await page.evaluate(async (url) => {
    if (globalThis.axe) return;
    // As a file of the page, because its policy allows no other scripts.
    const script = Object.assign(document.createElement("script"), { src: url });
    document.head.append(script);
    await new Promise((resolve) => script.addEventListener("load", resolve));
  }, "axe.min.js");
  return page.evaluate(async () => {
    const { violations } = await globalThis.axe.run();
    return violations
      .filter(({ impact }) => impact === "serious" || impact === "critical")
      .map(({ id, nodes }) => `${id}: ${nodes.map((node) => `${node.target} ${node.failureSummary}`).join("; ")}`);
  });
}

/** Opens all that can be opened; the tree of layers grows while it is opened. */
const openAll = (page) =>
  page.waitForFunction(() => {
    const closed = document.querySelectorAll("details:not([open])");
    for (const details of closed) details.open = true;
    return closed.length === 0;
  });

for (const [size, options] of Object.entries(SIZES))
  for (const colorScheme of ["light", "dark"])
    test(`axe finds nothing serious: ${size}, ${colorScheme}`, () =>
      withPage({ ...options, colorScheme, more: { "axe.min.js": AXE } }, async (page) => {
        assert.deepEqual(await faults(page), []);
        await openAll(page);
        await page.locator("#pane-1 .target").fill("unicorn");
        await page.locator("#pane-1 .target-form button").click();
        await page.locator("#alert p").waitFor();
        await page.locator("#compare").click();
        await explained(page, "", "#pane-2");
        assert.deepEqual(await faults(page), [], "with two panes, a message and all that opens");
        await page.locator("#pane-1 .onnx").click();
        assert.deepEqual(await faults(page), [], "with the dialog");
      }));

test("a class is explained by the keyboard alone", () =>
  withPage({}, async (page) => {
    await page.keyboard.press("Tab");
    assert.equal(await page.evaluate(() => document.activeElement.className), "skip");
    await page.keyboard.press("Enter");
    const focused = () => page.evaluate(() => document.activeElement.textContent.trim().replace(/\s+/g, " "));
    for (let presses = 0; !(await focused()).startsWith("Egyptian cat"); presses++) {
      assert.ok(presses < 40, "the class is not reached by the Tab key");
      await page.keyboard.press("Tab");
      const outline = await page.evaluate(() => getComputedStyle(document.activeElement).outlineStyle);
      assert.notEqual(outline, "none", `no focus is seen at ${await focused()}`);
    }
    await page.keyboard.press("Enter");
    await explained(page, "Egyptian cat");
    assert.match(await focused(), /^Egyptian cat/, "the focus stays where it was");
    assert.match(await page.getByRole("status").first().textContent(), /Explained: Egyptian cat/);
  }));

test("a phone shows all of it without sideways scrolling, in sizes for fingers", () =>
  withPage(SIZES.phone, async (page) => {
    await openAll(page);
    const [wide, small] = await page.evaluate(() => {
      const controls = [...document.querySelectorAll("button, select, summary, input:not([type=checkbox], [type=radio])")];
      const shown = controls.filter((one) => one.checkVisibility() && one.getClientRects().length);
      const low = shown.filter((one) => one.getBoundingClientRect().height < 44);
      return [document.documentElement.scrollWidth, low.map((one) => `${one.tagName} ${one.className} ${one.id}`)];
    });
    assert.ok(wide <= 360, `${wide} pixels`);
    assert.deepEqual(small, []);
  }));
