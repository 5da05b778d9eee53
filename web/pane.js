// A pane: one model, the photo that all panes show, a layer, a method and a target, and the picture of them.

import { Classes } from "./classes.js";
import { clearWarning, fill, latest, say, warn } from "./dom.js";
import { setUpDownloads } from "./downloads.js";
import { Replaced, Stopped } from "./engine.js";
import { showLacks } from "./lacks.js";
import { LayerTree } from "./layers.js";
import { measured } from "./measure.js";
import { facts } from "./models.js";
import { Picture } from "./picture.js";
import { choicesOf, priceOf, timeOf, titleOf, warningsOf } from "./results.js";

/** Methods above this many inferences have a limit that users can set. */
const LONG = 50;
const FIRST = { target: "argmax", area: undefined, layers: [], method: "", fuse: "mean", budget: undefined };

export class Pane {
  element = document.getElementById("pane").content.cloneNode(true).firstElementChild;
  /** What is asked for: the number of a model, and the fields of `FIRST`. */
  state = { model: undefined, ...FIRST };
  /** The state of the results. */
  #good;
  results = [];
  #shown = { result: 0, heatmap: 0 };
  #photo;
  #isRestoring = false;
  #page;
  #picture;
  #tree;
  #classes;
  #explain = latest(() => this.#explained());

  /** `page` has the engine, the tables, the models, the photos and the style, which all panes share. */
  constructor(page, name) {
    this.#page = page;
    this.element.id = name;
    const title = this.#find(".title");
    title.id = `${name}-title`;
    this.element.setAttribute("aria-labelledby", title.id);
    this.#picture = new Picture(this.element, page.engine, (area) => this.update({ area }));
    this.#classes = new Classes(this.element, (target) => this.update({ target, area: undefined }));
    this.#tree = new LayerTree(this.#find(".layers"), (layers) => this.update({ layers }));
    this.#setUpFields();
    setUpDownloads(this, page);
    this.models();
  }

  #find(selector) {
    return this.element.querySelector(selector);
  }

  #setUpFields() {
    const on = (selector, event, work) => this.#find(selector).addEventListener(event, work);
    const { methods } = this.#page.tables;
    fill(this.#find(".method"), [["", "Default"], ...methods.map(({ id, name }) => [id, name])]);
    on(".method", "change", ({ target }) => this.update({ method: target.value }));
    on(".fuse", "change", ({ target }) => this.update({ fuse: target.value }));
    on(".budget", "change", ({ target }) => this.update({ budget: Number(target.value) || undefined }));
    on(".model", "change", ({ target }) => this.use(Number(target.value)));
    on(".close-model", "click", () => this.#page.models.close(this.state.model));
    on(".stop", "click", () => this.#page.stop());
    on(".measure", "click", () => this.#measure());
    on(".several", "change", ({ target }) => {
      this.#tree.severally(target.checked);
      if (!target.checked && this.state.layers.length > 1) this.update({ layers: this.state.layers.slice(-1) });
    });
    on(".shown", "change", ({ target }) => {
      const [result, heatmap] = target.value.split(" ").map(Number);
      this.#shown = { result, heatmap };
      this.#showResult();
    });
  }

  get #model() {
    return this.#page.models.get(this.state.model);
  }

  /** The explanation that is shown, `{id, heatmaps, summary, milliseconds}`, and which of its heatmaps. */
  get shown() {
    const { result, heatmap } = this.#shown;
    return { explanation: this.results[result], heatmap };
  }

  /** How maps are made, by what is asked for. */
  mapOf({ layers, method, fuse, budget } = this.state) {
    return { layers, method: method || undefined, fuse: layers.length > 1 ? fuse : undefined, budget };
  }

  /** Lists the models anew. */
  models() {
    fill(this.#find(".model"), this.#page.models.choices);
    if (this.state.model !== undefined) this.#find(".model").value = this.state.model;
  }

  /** Changes to another model, or to another state of the same one. */
  use(model, keeps = {}) {
    this.state = { model, ...FIRST, ...keeps };
    this.#good = undefined;
    this.#forget();
    this.models();
    const { description, isBuiltIn } = this.#model;
    this.#classes.offer(description);
    this.#tree.show(description.layers);
    this.#find(".model-name").textContent = description.name;
    this.#find(".facts").replaceChildren(...facts(this.#model));
    this.#find(".close-model").hidden = isBuiltIn;
    showLacks(this.#find(".lacks-form"), this.#model, (settings, error) => this.#say(model, settings, error));
    const lacks = Boolean(description.problem || description.preprocessing?.guess);
    this.#find(".lacks").open = lacks;
    if (lacks) this.#find(".model-panel").open = true;
    this.#picture.takesBoxes = description.head?.kind === "detection";
    this.#find(".area-hint").hidden = !this.#picture.takesBoxes;
    this.#showResult();
    return this.#start();
  }

  async #say(model, settings, error) {
    clearWarning();
    try {
      if (error) throw error;
      await this.#page.models.say(model, settings);
      say("The settings of the model were applied.");
    } catch (failed) {
      this.#failed(failed);
    }
  }

  /** Changes what is asked for. */
  update(change) {
    this.state = { ...this.state, ...change };
    return this.#start();
  }

  /** Explains the photo of the page, which has changed. */
  photo() {
    if (this.state.area) this.state = { ...this.state, area: undefined, target: "argmax" };
    this.#good = undefined;
    return this.#start();
  }

  async #start() {
    clearWarning();
    this.#showAsked();
    if (!this.#page.photos.current || !this.#model) return;
    const { problem } = this.#model.description;
    this.#find(".problem").hidden = !problem;
    this.#find(".problem").textContent = problem ?? "";
    // The problem is that of the default; a layer or a method that is chosen may have none.
    if (problem && this.state.layers.length === 0 && !this.state.method) {
      await this.redraw();
      return warn(problem);
    }
    await this.#explain();
  }

  /** What the fields say is what is asked for, or what is shown after a failure. */
  #showAsked() {
    const { layers, method, fuse, budget } = this.state;
    const info = this.#page.tables.methods.find(({ id }) => id === method);
    const cost = info?.inferences;
    const price = cost ? ` Takes as long as ${priceOf(cost)}.` : "";
    this.#find(".method").value = method;
    this.#find(".use").textContent = info ? `For ${info.use}.${price}` : "Grad-CAM, or what suits the scores of the model.";
    this.#find(".budget-choice").hidden = !(cost > LONG);
    this.#find(".budget").value = budget ?? "";
    this.#find(".fuse").value = fuse;
    this.#find(".fuse-choice").hidden = layers.length < 2;
    this.#find(".layers").disabled = Boolean(info?.of_input);
    this.#find(".why").textContent = info?.of_input ? "This method explains the input, and no layer." : "";
    this.#find(".layer-name").textContent = layers.join(", ") || "default";
    this.#tree.choose(layers);
  }

  async #explained() {
    const asked = this.state;
    const photo = this.#page.photos.current;
    this.#busy(true);
    // The photo is there before its heat.
    if (photo !== this.#photo) await this.redraw();
    try {
      const request = { model: asked.model, photo: photo.id, target: asked.target, area: asked.area, map: this.mapOf(asked) };
      const all = await this.#page.engine.explain(request);
      if (asked.model !== this.state.model || photo !== this.#page.photos.current) return this.#drop(all);
      this.#forget();
      this.results = all;
      this.#photo = photo;
      this.#good = asked;
      this.#isRestoring = false;
      await this.#showResult();
    } catch (error) {
      if (asked.model === this.state.model) await this.#failed(error);
    } finally {
      this.#busy(false);
    }
  }

  /** Says what failed, and goes back to what is shown. */
  async #failed(error) {
    // The page says that a worker was replaced, and asks again for what was lost.
    if (error instanceof Replaced || error instanceof Stopped) return;
    warn(error.message);
    if (this.#good) this.state = this.#good;
    else {
      this.#forget();
      await this.#showResult();
    }
    this.#showAsked();
  }

  /** Explanations were lost with their worker: makes the last good one again. */
  lost() {
    const before = this.#good;
    this.results = [];
    if (!before || this.#isRestoring) return this.#showResult();
    this.#isRestoring = true;
    this.state = before;
    this.#showAsked();
    return this.#explain();
  }

  /** Explanations that nobody looks at any more; those of a worker that was replaced are gone already. */
  #drop(results) {
    for (const one of results) this.#page.engine.dropExplanation(one.id).catch(() => {});
  }

  #forget() {
    this.#drop(this.results);
    this.results = [];
    this.#shown = { result: 0, heatmap: 0 };
  }

  #busy(isBusy) {
    this.element.ariaBusy = String(isBusy);
    this.#find(".busy").hidden = !isBusy;
    this.#find(".runs").textContent = "";
    this.#find("progress").removeAttribute("value");
  }

  /** How many of how many runs of a long method are done. */
  progress(done, total) {
    Object.assign(this.#find("progress"), { max: total, value: done });
    this.#find(".runs").textContent = `${done} of ${total} runs`;
  }

  async #showResult() {
    const { explanation, heatmap } = this.shown;
    const summary = explanation?.summary;
    this.#classes.show(summary);
    const choices = choicesOf(this.results);
    fill(this.#find(".shown"), choices);
    this.#find(".shown").value = `${this.#shown.result} ${this.#shown.heatmap}`;
    this.#find(".shown-choice").hidden = choices.length < 2;
    const title = summary ? titleOf(summary, this.#page.tables.methods) : "No explanation";
    this.#find(".title").textContent = title;
    this.#find(".download-panel").hidden = !summary;
    this.#find(".timing").hidden = !summary;
    this.#find(".caption").textContent = "";
    this.#find(".warnings").replaceChildren(...warningsOf(summary));
    await this.redraw();
    if (!summary) return;
    this.#find(".time").textContent = timeOf(explanation);
    this.#find(".layer-name").textContent = summary.layers.map(({ layer }) => layer).join(", ");
    const where = await this.#picture.where(explanation, heatmap, this.#page.style);
    this.#find(".caption").textContent = where[0].toUpperCase() + where.slice(1) + ".";
    this.#picture.description = `${this.#page.photos.current.name} with heat: ${title}, model ${this.#model.description.name}; ${where}`;
    say(`Explained: ${title}; ${where}.`);
    this.#page.explained(this);
  }

  /** Draws the picture again, such as in another style. */
  async redraw() {
    const photo = this.#page.photos.current;
    if (!photo) return;
    // An explanation is of the photo that was shown when it was made.
    const explanation = photo === this.#photo ? this.shown.explanation : undefined;
    const { hasHeat, style } = this.#page;
    try {
      await this.#picture.draw({ photo, explanation: hasHeat ? explanation : undefined, heatmap: this.shown.heatmap, style });
    } catch (error) {
      await this.#picture.draw({ photo });
      warn(error.message);
    }
    if (!explanation) this.#picture.description = `${photo.name} without heat`;
  }

  /** Measures the explanation that is shown beside a plain prediction. */
  async #measure() {
    const { model, target, area } = this.#good;
    const request = { model, photo: this.#page.photos.current.id, target, area, map: this.mapOf(this.#good) };
    this.#busy(true);
    try {
      this.#find(".time").textContent = await measured(this.#page.engine, request);
      say(this.#find(".time").textContent);
    } catch (error) {
      await this.#failed(error);
    } finally {
      this.#busy(false);
    }
  }

  /** The picture with heat, for the strip of photos. */
  thumbnail() {
    const { explanation, heatmap } = this.shown;
    return explanation && this.#page.engine.draw(explanation.id, heatmap, this.#page.style).catch(() => undefined);
  }
}
