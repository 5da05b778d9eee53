// The times of the page, one line for each model: `cargo xtask web --figures`, on a machine that has nothing else to do.

import { withPage } from "./page.mjs";
import { REFERENCES, references } from "./references.mjs";

const PAIRS = 7;

console.log(`Chromium, one thread, median of ${PAIRS} runs in turn, milliseconds`);
console.log("| model | start | open | first explanation | explanation | plain inference | ratio |");
console.log("|---|---|---|---|---|---|---|");
for (const { files } of references) {
  await withPage({ more: REFERENCES }, async (page) => {
    const t = await page.evaluate(timed, { files, pairs: PAIRS });
    const ms = [t.start, t.open, t.first, t.explanation, t.plain].map((time) => time.toFixed(0));
    console.log(`| ${files[0]} | ${ms.join(" | ")} | ${t.ratio.toFixed(3)} |`);
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
  return { start, open, first, explanation: median(explained), plain: median(plain), ratio: median(ratios) };
}
