// What can be kept: the picture, the raw map, the summary, and the model that explains itself.

import { bytes, save, say, warn } from "./dom.js";
import { Replaced, Stopped } from "./engine.js";
import { nameOf } from "./models.js";
import { npy } from "./npy.js";

const dialog = document.getElementById("export");
const form = dialog.querySelector("form");
const made = dialog.querySelector(".made");

/** The work of the export dialog for the pane that opened it. */
let exportNow = async () => {};

dialog.querySelector(".cancel").addEventListener("click", () => dialog.close());
form.addEventListener("submit", (event) => {
  event.preventDefault();
  exportNow();
});

/** Sets up the buttons of a pane. */
export function setUpDownloads(pane, page) {
  const find = (selector) => pane.element.querySelector(selector);
  const on = (selector, work) =>
    find(selector).addEventListener("click", async () => {
      try {
        await work(pane.shown);
      } catch (error) {
        if (!(error instanceof Replaced || error instanceof Stopped)) warn(error.message);
      }
    });
  on(".png", async ({ explanation, heatmap }) => {
    const png = await page.engine.png(explanation.id, heatmap, page.style);
    save(png, `${fileName(page, explanation)}.png`);
  });
  on(".npy", async ({ explanation, heatmap }) => {
    const { layers } = explanation.summary;
    // A heatmap of several layers has several raw maps.
    const all = explanation.heatmaps === layers.length ? [heatmap] : layers.keys();
    for (const at of all) {
      const numbers = await page.engine.map(explanation.id, at);
      save(npy(numbers, layers[at].shape), `${fileName(page, explanation)}.${safe(layers[at].layer)}.npy`);
    }
  });
  on(".json", ({ explanation }) => {
    const text = JSON.stringify({ model: page.models.get(pane.state.model).description.name, ...explanation.summary }, null, 1);
    save(new Blob([text], { type: "application/json" }), `${fileName(page, explanation)}.json`);
  });
  on(".onnx", () => openExport(pane, page));
}

const safe = (text) => text.replace(/[^\p{L}\p{N}.]+/gu, "_").replace(/^_|_$/g, "");

/** As the files of the command line: the photo, and the number and the label of the class. */
function fileName({ photos }, { summary }) {
  const { index, label } = summary.class;
  const photo = photos.current.name.split("/").at(-1).replace(/\.[^.]+$/, "");
  return `${photo}.${index}${label ? `-${safe(label)}` : ""}`;
}

function openExport(pane, page) {
  const { target, area, model } = pane.state;
  // A file holds no box of a photo.
  const isFixed = !area && target !== "argmax";
  const now = form.querySelector(".now");
  now.hidden = !isFixed;
  now.querySelector("span").textContent = `what is explained now: ${target}`;
  form.querySelector(`[value=${isFixed ? "now" : "argmax"}]`).checked = true;
  made.textContent = "";
  const { files } = page.models.get(model);
  const before = files.reduce((sum, file) => sum + file.blob.size, 0);
  exportNow = async () => {
    const data = new FormData(form);
    const asked = data.get("target");
    made.textContent = "Exporting…";
    form.ariaBusy = "true";
    try {
      const blob = await page.engine.export({
        model,
        targets: [asked === "now" ? target : asked],
        heads: data.has("cam-only") ? "cam-only" : "all",
        fp16: data.has("fp16"),
        map: pane.mapOf(),
      });
      const name = `${nameOf(page.models.get(model))}.explained.onnx`;
      save(blob, name);
      made.textContent = `${name} has ${bytes(blob.size)}; the files of the model have ${bytes(before)}.`;
      say(made.textContent);
    } catch (error) {
      made.textContent = error.message;
    } finally {
      form.ariaBusy = "false";
    }
  };
  dialog.showModal();
}
