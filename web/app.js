// Starts the page, and leads what users do to where it is done.

import { file } from "./assets.js";
import { setUpCamera } from "./camera.js";
import { className, clearWarning, fill, say, warn } from "./dom.js";
import { Engine, Replaced, Stopped } from "./engine.js";
import { isPicture, listed, transferred } from "./files.js";
import { Models } from "./models.js";
import { keepOffline } from "./offline.js";
import { Pane } from "./pane.js";
import { Photos } from "./photos.js";

const MODEL = "efficientnet_lite0.onnx";
const PHOTO = "cat_over_coffee.png";
const find = (id) => document.getElementById(id);

const engine = new Engine({
  progress: (done, total) => panes.filter((pane) => pane.element.ariaBusy === "true").forEach((pane) => pane.progress(done, total)),
  replaced(message, isBack) {
    warn(`The engine failed${isBack ? " and was started again" : ""}: ${message}`);
    panes.forEach((pane) => pane.lost());
  },
});
const models = new Models(engine);
const photos = new Photos(engine);
const panes = [];

/** What the panes share. */
const page = {
  engine,
  models,
  photos,
  tables: undefined,
  /** How heat is drawn, see `PictureStyle` of `crates/gradcam-web/src/request.rs`; and whether it is. */
  style: {},
  hasHeat: true,
  stop() {
    engine.stop();
    say("Stopped.");
    panes.forEach((pane) => pane.lost());
  },
  /** A pane has a new result: the first one's goes into the strip. */
  async explained(pane) {
    if (pane !== panes[0]) return;
    const photo = photos.current;
    const picture = await pane.thumbnail();
    if (picture && photo === photos.current) await photos.label(photo, picture, className(pane.shown.explanation.summary.class));
  },
};

function readStyle() {
  const kind = find("style").value;
  page.hasHeat = find("heat").checked;
  page.style = {
    kind,
    colormap: find("colormap").value,
    alpha: Number(find("opacity").value),
  };
  const isTint = ["alpha", "fade", "pytorch-grad-cam"].includes(kind);
  find("opacity").disabled = !isTint;
  find("colormap").disabled = !isTint && kind !== "transparent";
}

function setUpStyle() {
  fill(find("colormap"), page.tables.colormaps.map((name) => [name, name]));
  find("colormap").value = "jet";
  readStyle();
  for (const id of ["heat", "style", "colormap", "opacity"])
    find(id).addEventListener("input", () => {
      readStyle();
      panes.forEach((pane) => pane.redraw());
    });
}

/** Files that were dropped, chosen or pasted, for a pane. */
async function take(files, pane = panes[0]) {
  clearWarning();
  const pictures = files.filter(isPicture);
  const others = files.filter((file) => !isPicture(file));
  try {
    if (others.length) {
      const model = await models.take(others, pane.state.model);
      if (model !== undefined && model !== pane.state.model) await pane.use(model);
    }
    if (pictures.length) await photos.add(pictures);
  } catch (error) {
    if (!(error instanceof Replaced || error instanceof Stopped)) warn(error.message);
  }
}

function setUpFiles() {
  const body = document.body;
  const isFiles = (event) => event.dataTransfer?.types.includes("Files");
  addEventListener("dragover", (event) => {
    if (!isFiles(event)) return;
    event.preventDefault();
    body.classList.add("dropping");
  });
  addEventListener("dragleave", (event) => event.relatedTarget || body.classList.remove("dropping"));
  addEventListener("drop", async (event) => {
    if (!isFiles(event)) return;
    event.preventDefault();
    body.classList.remove("dropping");
    const pane = panes.find((one) => one.element.contains(event.target));
    take(await transferred(event.dataTransfer), pane);
  });
  addEventListener("paste", async (event) => {
    if (event.clipboardData.files.length) take(await transferred(event.clipboardData));
  });
  find("open-files").addEventListener("click", () => find("files").click());
  find("files").addEventListener("change", ({ target }) => {
    take(listed(target.files));
    target.value = "";
  });
}

function addPane() {
  const pane = new Pane(page, `pane-${panes.length + 1}`);
  panes.push(pane);
  find("panes").append(pane.element);
  return pane;
}

/** Opens a second pane, or closes it. */
function compare() {
  const second = panes[1];
  find("compare").ariaPressed = String(!second);
  find("panes").classList.toggle("two", !second);
  if (second) {
    panes.pop();
    second.element.remove();
    return panes[0].element.querySelector(".title").scrollIntoView({ block: "nearest" });
  }
  const pane = addPane();
  const close = pane.element.querySelector(".close-pane");
  close.hidden = false;
  close.addEventListener("click", () => {
    compare();
    find("compare").focus();
  });
  const { model, ...state } = panes[0].state;
  // The next best class is what a comparison usually begins with.
  const summary = panes[0].shown.explanation?.summary;
  const other = summary?.top.find(({ index }) => index !== summary.class.index);
  pane.use(model, other ? { ...state, area: undefined, target: String(other.index) } : state);
}

let isExplainingAll = false;

/** Explains all photos as the first pane does, or stops doing so. */
async function explainAll() {
  if (isExplainingAll) return page.stop();
  const button = find("explain-all");
  isExplainingAll = true;
  button.textContent = "Stop";
  const { model, target } = panes[0].state;
  try {
    for (const [at, photo] of photos.all.entries()) {
      say(`Explaining photo ${at + 1} of ${photos.all.length}…`);
      const [one, ...rest] = await engine.explain({ model, photo: photo.id, target, map: panes[0].mapOf() });
      const picture = await engine.draw(one.id, 0, page.style);
      await photos.label(photo, picture, className(one.summary.class));
      for (const { id } of [one, ...rest]) await engine.dropExplanation(id);
    }
    say(`Explained ${photos.all.length} photos.`);
  } catch (error) {
    if (!(error instanceof Replaced || error instanceof Stopped)) warn(error.message);
  }
  isExplainingAll = false;
  button.textContent = "Explain all";
}

const fetched = async (path) => ({ path, blob: await file(path) });

async function start() {
  const files = [fetched(MODEL), fetched(PHOTO)];
  page.tables = await engine.tables();
  find("version").textContent = `Version ${page.tables.version}.`;
  setUpStyle();
  setUpFiles();
  setUpCamera((photo) => take([photo]));
  find("compare").addEventListener("click", compare);
  find("explain-all").addEventListener("click", explainAll);
  photos.addEventListener("select", () => panes.forEach((pane) => pane.photo()));
  models.addEventListener("change", ({ detail: { id, before } }) => {
    const builtIn = models.choices[0]?.[0];
    for (const pane of panes) {
      if (before === undefined || pane.state.model !== before) pane.models();
      else pane.use(id ?? builtIn);
    }
  });
  const [model, photo] = await Promise.all(files);
  const id = await models.open(MODEL, [model], { isBuiltIn: true });
  const pane = addPane();
  pane.use(id);
  find("starting").hidden = true;
  await photos.add([photo]);
}

start().then(keepOffline, (error) => {
  find("starting").hidden = true;
  // That of a worker that did not start is shown already.
  if (!(error instanceof Replaced)) warn(`The page could not start: ${error.message}`);
});
