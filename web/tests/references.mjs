// Models, and the maps that they give natively, as the example `page_references` of gradcam-web writes them.

import { readFileSync } from "node:fs";
import { join } from "node:path";

if (!process.env.REFERENCES) throw new Error("REFERENCES names no folder; `cargo xtask web --check` makes it");

/** For each model its files, and of each target the class, the layer and the raw map. */
export const references = JSON.parse(readFileSync(join(process.env.REFERENCES, "references.json"), "utf8"));

/** The files of all models, by their path in the folder of the page. */
export const REFERENCES = Object.fromEntries(
  references.flatMap(({ files }) => files.map((name) => [`references/${name}`, join(process.env.REFERENCES, name)])),
);

/** Explains the photo of the page for some targets, with an engine of its own; runs in the page. */
export async function explainedBy({ files, targets }) {
  const { Engine } = await import("./engine.js");
  const blob = async (path) => (await fetch(path)).blob();
  const engine = new Engine();
  const dropped = [];
  for (const path of files) dropped.push({ path, blob: await blob(`./references/${path}`) });
  const model = await engine.open(files[0], dropped);
  if (model.problem) throw new Error(model.problem);
  const photo = await engine.addPhoto(await blob("./cat_over_coffee.png"));
  const all = [];
  for (const target of targets) {
    for (const one of await engine.explain({ model: model.id, photo: photo.id, target })) {
      const [{ layer, shape }] = one.summary.layers;
      all.push({ class: one.summary.class.index, layer, shape, map: [...(await engine.map(one.id, 0))] });
    }
  }
  return all;
}
