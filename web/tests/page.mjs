// Opens the page in Chromium, and does with it what users do.
//
// PAGE is the folder of the page, as `cargo xtask web` writes it; CHROMIUM the browser, /usr/bin/chromium by default.

import assert from "node:assert/strict";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { chromium } from "playwright-core";
import { serve } from "./server.mjs";

if (!process.env.PAGE) throw new Error("PAGE names no folder; set it to the one that `cargo xtask web` writes");

export const FOLDER = process.env.PAGE;
/** The folder of the repository; the tests are run from a copy of theirs. */
export const ROOT = process.env.ROOT ?? fileURLToPath(new URL("../../", import.meta.url));
export const FIXTURES = join(ROOT, "crates/testkit/fixtures/");
export const PHOTOS = join(ROOT, "crates/gradcam-cli/assets/");

const OPTIONS = [
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
  "--use-fake-device-for-media-stream",
  "--use-fake-ui-for-media-stream",
];

/** A model that is read, compiled and run while other work has the processor. */
const PATIENCE = 60_000;

/**
 * Runs `work` with the page, and checks that it asked no other host and wrote no error.
 *
 * @param {object} options those of a browser context, and
 * @param {string} [options.url] its address where it is not served
 * @param {string} [options.base] the path below which the page is served
 * @param {Record<string, string>} [options.more] files in place of those of the page
 * @param {boolean} [options.fails] whether the page is to fail; else it has explained its example
 */
export async function withPage(options, work) {
  const { url, base = "/", more, fails = false, ...context } = options;
  const server = await serve(FOLDER, base, more);
  const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: OPTIONS });
  try {
    const opened = await browser.newContext({ acceptDownloads: true, ...context });
    opened.setDefaultTimeout(PATIENCE);
    const page = await opened.newPage();
    const errors = [];
    const elsewhere = [];
    const address = url ?? server.url;
    const own = [new URL(".", address).href, `blob:${new URL(address).origin}/`];
    page.on("console", (message) => message.type() === "error" && errors.push(message.text()));
    page.on("pageerror", (error) => errors.push(error.message));
    opened.on("request", (request) => {
      const asked = request.url();
      if (!own.some((start) => asked.startsWith(start))) elsewhere.push(asked);
    });
    await page.goto(address);
    if (!fails) await explained(page);
    await work(page, { url: server.url, context: opened, server });
    assert.deepEqual(elsewhere, [], "requests beyond the folder of the page");
    if (!fails) assert.deepEqual(errors, [], "errors in the console");
  } finally {
    await browser.close();
    await server.close();
  }
}

/** Waits until a pane has an explanation, and gives its title. */
export async function explained(page, title = "", pane = "#pane-1") {
  await page.waitForFunction(
    ([selector, part]) => {
      const element = document.querySelector(selector);
      const done = element?.getAttribute("aria-busy") === "false" && element.querySelector(".caption").textContent;
      return done && element.querySelector(".title").textContent.includes(part);
    },
    [pane, title],
  );
  return page.locator(`${pane} .title`).textContent();
}

/** Explains a class of the list. */
export async function choose(page, label, pane = "#pane-1") {
  await page.locator(`${pane} .classes button`, { hasText: label }).first().click();
  return explained(page, label, pane);
}

/** Explains a target by its text. */
export async function target(page, text, title) {
  await page.locator("#pane-1 .target").fill(text);
  await page.locator("#pane-1 .target-form button").click();
  return title === undefined ? undefined : explained(page, title);
}

/** Drops files and folders, by their paths on the disk, as the file manager does. */
export async function drop(page, paths, onto = "#pane-1 .frame") {
  await page.locator(onto).scrollIntoViewIfNeeded();
  const { x, y } = await page.locator(onto).boundingBox();
  const session = await page.context().newCDPSession(page);
  const data = { items: [], files: paths, dragOperationsMask: 1 };
  for (const type of ["dragEnter", "dragOver", "drop"])
    await session.send("Input.dispatchDragEvent", { type, x: x + 20, y: y + 20, data });
  await session.detach();
}

/** The text of the alert, once there is one. */
export async function alerted(page) {
  const alert = page.locator("#alert p");
  await alert.first().waitFor();
  return (await alert.allTextContents()).join("\n");
}

/** The pixels of a pane's picture. */
export function pixels(page, pane = "#pane-1") {
  return page.evaluate((selector) => {
    const canvas = document.querySelector(`${selector} canvas`);
    const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
    return { width: canvas.width, height: canvas.height, data: Array.from(data) };
  }, pane);
}

/** The mean difference of two pictures of one size, of 255. */
export function difference(a, b) {
  assert.deepEqual([a.width, a.height], [b.width, b.height]);
  return a.data.reduce((sum, value, at) => sum + Math.abs(value - b.data[at]), 0) / a.data.length;
}

/** Clicks what saves a file, and gives its name and bytes. */
export async function download(page, selector) {
  const [saved] = await Promise.all([page.waitForEvent("download"), page.locator(selector).click()]);
  const chunks = [];
  for await (const chunk of await saved.createReadStream()) chunks.push(chunk);
  return { name: saved.suggestedFilename(), bytes: Buffer.concat(chunks) };
}
