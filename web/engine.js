// What the page asks the web worker for, as promises.
//
// Models and photos have numbers of the engine. It remembers the files behind them, so that a worker that has trapped or was
// stopped is replaced, and its models and photos are opened again when they are needed. Explanations are lost with their worker.

import { startWorker, wasm } from "./assets.js";

/** What the engine says where a call was stopped. */
export class Stopped extends Error {}

/** What the engine says where the worker has trapped, and was replaced. */
export class Replaced extends Error {}

export class Engine {
  #worker;
  #calls = new Map();
  #last = 0;
  #started;
  /** By the number of the engine: how it is opened again, and its number in the worker, if it is open there. */
  #models = new Map();
  #photos = new Map();
  /** By the number of the engine: the number in the worker. */
  #explanations = new Map();
  #onProgress;
  #onReplaced;

  /**
   * @param {object} on
   * @param {(done: number, total: number) => void} [on.progress] how many of how many runs of a long method are done
   * @param {(message: string, isBack: boolean) => void} [on.replaced] the worker has trapped; a new one has been started, unless
   *   the old one never was
   */
  constructor({ progress = () => {}, replaced = () => {} } = {}) {
    this.#onProgress = progress;
    this.#onReplaced = replaced;
    this.#start();
  }

  /** The methods and colormaps: `{version, methods: [{id, name, use, of_input, inferences}], colormaps: [name]}`. */
  tables() {
    return this.#started;
  }

  #start() {
    this.#worker = startWorker();
    this.#worker.addEventListener("message", ({ data }) => this.#answered(data));
    this.#worker.addEventListener("error", (event) => {
      event.preventDefault();
      this.#replace(new Replaced(event.message || "the worker could not be started"));
    });
    this.#started = this.#call("start", wasm());
    // A page that never asks for the tables is told by the calls that follow.
    this.#started.catch(() => {});
  }

  #answered({ id, value, error, fatal, progress }) {
    if (progress) return this.#onProgress(...progress);
    const call = this.#calls.get(id);
    if (!call) return;
    this.#calls.delete(id);
    if (error === undefined) return call.resolve(value);
    call.reject(fatal ? new Replaced(error) : new Error(error));
    if (fatal) this.#replace(new Replaced(error));
  }

  /** Ends the worker and all of its calls, and starts another. */
  #replace(reason) {
    const wasStarting = this.#calls.size > 0 && [...this.#calls.values()].some((call) => call.name === "start");
    this.#worker.terminate();
    const calls = [...this.#calls.values()];
    this.#calls.clear();
    for (const one of [...this.#models.values(), ...this.#photos.values()]) one.opened = undefined;
    this.#explanations.clear();
    for (const call of calls) call.reject(reason);
    // One that cannot even start is not started again and again.
    if (!wasStarting) this.#start();
    if (reason instanceof Replaced) this.#onReplaced(reason.message, !wasStarting);
  }

  #call(name, ...args) {
    const id = ++this.#last;
    return new Promise((resolve, reject) => {
      this.#calls.set(id, { name, resolve, reject });
      this.#worker.postMessage({ id, call: name, args });
    });
  }

  /** Ends what is running: its promise fails with `Stopped`. Models and photos stay; explanations are lost. */
  stop() {
    this.#replace(new Stopped("stopped"));
  }

  /** The number in the worker of a model or a photo, opened again where the worker is new. */
  async #number(table, id) {
    const one = table.get(id);
    if (!one) throw new Error("it was closed");
    const opened = (one.opened ??= one.open());
    try {
      return (await opened).id;
    } catch (error) {
      // The next call tries again.
      if (one.opened === opened) one.opened = undefined;
      throw error;
    }
  }

  /**
   * Opens a model.
   *
   * @param {string} name the path of the model among the files
   * @param {{path: string, blob: Blob}[]} files the model, its external data, labels and configuration
   * @param {object} [settings] what is said of it beside its files, see `ModelSettings` of `crates/gradcam-web/src/request.rs`
   * @returns its description, see `ModelDescription` of `crates/gradcam-web/src/model.rs`
   */
  async open(name, files, settings = {}) {
    const id = ++this.#last;
    const model = { settings };
    model.open = () => this.#call("open", name, files, model.settings);
    model.opened = model.open();
    this.#models.set(id, model);
    try {
      return { ...(await model.opened), id };
    } catch (error) {
      this.#models.delete(id);
      throw error;
    }
  }

  /** Closes a model. */
  async close(id) {
    const opened = this.#models.get(id)?.opened;
    this.#models.delete(id);
    if (opened) await this.#call("close", (await opened).id);
  }

  /** Replaces the settings of a model; gives its new description. */
  async say(id, settings) {
    const number = await this.#number(this.#models, id);
    this.#models.get(id).settings = settings;
    return { ...(await this.#call("say", number, settings)), id };
  }

  /** Decodes a photo: `{id, width, height}`, upright. */
  async addPhoto(blob) {
    const id = ++this.#last;
    const photo = { open: () => this.#call("addPhoto", blob) };
    photo.opened = photo.open();
    this.#photos.set(id, photo);
    try {
      return { ...(await photo.opened), id };
    } catch (error) {
      this.#photos.delete(id);
      throw error;
    }
  }

  /** Forgets a photo. Its explanations stay. */
  async dropPhoto(id) {
    const opened = this.#photos.get(id)?.opened;
    this.#photos.delete(id);
    if (opened) await this.#call("dropPhoto", (await opened).id);
  }

  /** The photo as an ImageData of at most 1024 pixels a side. */
  async show(id) {
    return this.#call("show", await this.#number(this.#photos, id));
  }

  /**
   * Explains a photo.
   *
   * @param {object} request `{model, photo, target, area, map: {layers, method, fuse, seed, samples, budget}}`, see `ExplainRequest`
   * @returns one `{id, heatmaps, summary, milliseconds}`, or several of the target `top:K`; `summary` is the JSON of the command
   */
  async explain(request) {
    const model = await this.#number(this.#models, request.model);
    const photo = await this.#number(this.#photos, request.photo);
    const all = await this.#call("explain", { ...request, model, photo });
    return all.map((explained) => {
      const id = ++this.#last;
      this.#explanations.set(id, explained.id);
      return { ...explained, id };
    });
  }

  #explanation(id) {
    const number = this.#explanations.get(id);
    if (number === undefined) throw new Replaced("the explanation was lost; explain again");
    return number;
  }

  /** Forgets an explanation. */
  async dropExplanation(id) {
    const number = this.#explanations.get(id);
    this.#explanations.delete(id);
    if (number !== undefined) await this.#call("dropExplanation", number);
  }

  /**
   * A heatmap over its photo, as an ImageData of at most 1024 pixels a side.
   *
   * @param {object} style `{kind, colormap, alpha, colorbar}`; kind: alpha, fade, pytorch-grad-cam, contours, cutout, transparent
   */
  async draw(id, heatmap, style) {
    return this.#call("draw", this.#explanation(id), heatmap, style);
  }

  /** A heatmap over its photo at the photo's size, as a Blob with a PNG file. */
  async png(id, heatmap, style) {
    return this.#call("png", this.#explanation(id), heatmap, style);
  }

  /** The raw map of a layer, a Float32Array; its shape is in `summary.layers[layer].shape`. */
  async map(id, layer) {
    return this.#call("map", this.#explanation(id), layer);
  }

  /** A Blob with the model that explains itself. `request`: `{model, targets, heads, fp16, map}`, see `ExportRequest`. */
  async export(request) {
    const model = await this.#number(this.#models, request.model);
    return this.#call("export", { ...request, model });
  }

  /** Milliseconds of plain inferences: `{milliseconds: [number]}`. */
  async plain(model, photo, runs) {
    const numbers = [await this.#number(this.#models, model), await this.#number(this.#photos, photo)];
    return this.#call("plain", ...numbers, runs);
  }
}
