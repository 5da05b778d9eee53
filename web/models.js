// The models that are open, and what the page says of them.

import { about, bytes, clearWarning, element, say, stem, warn } from "./dom.js";
import { Replaced } from "./engine.js";
import { isCompanion, isLabels, isModel, isNamedLabels, mayBeData } from "./files.js";

/** What is shown of a model that the files leave open; `change` is sent when a model comes, changes or goes. */
export class Models extends EventTarget {
  #engine;
  /** Each `{description, files, settings, isBuiltIn}`, by the number of the engine. */
  #all = new Map();
  /** The files that were dropped with a model that could not be opened: the next ones may be what it lacked. */
  #unopened = [];

  constructor(engine) {
    super();
    this.#engine = engine;
  }

  get(id) {
    return this.#all.get(id);
  }

  /** `[id, name]` of each, for a select. */
  get choices() {
    const name = ({ description, isBuiltIn }) => description.name + (isBuiltIn ? " (built in)" : "");
    return [...this.#all].map(([id, model]) => [id, name(model)]);
  }

  #changed(id, before) {
    this.dispatchEvent(new CustomEvent("change", { detail: { id, before } }));
  }

  /** Opens the model `path` of some files. */
  async open(path, files, { settings = {}, isBuiltIn = false } = {}) {
    const description = await this.#engine.open(path, files, settings);
    this.#all.set(description.id, { description, files, settings, isBuiltIn });
    this.#changed(description.id);
    return description.id;
  }

  async close(id) {
    this.#all.delete(id);
    this.#changed(undefined, id);
    await this.#engine.close(id);
  }

  /** Replaces what is said of a model beside its files. What makes it worse is taken back. */
  async say(id, settings) {
    const model = this.get(id);
    const description = await this.#engine.say(id, settings);
    if (description.problem && !model.description.problem) {
      await this.#engine.say(id, model.settings);
      throw new Error(description.problem);
    }
    Object.assign(model, { description, settings });
    this.#changed(id, id);
  }

  /**
   * Takes files that are no photos: opens the models among them, or adds them to `current`.
   *
   * @returns the number of the model to show, if one was opened
   */
  async take(files, current) {
    const models = files.filter(isModel);
    const unopened = this.#unopened;
    if (models.length) return this.#openAll(models, files.filter((file) => !isModel(file)));
    const earlier = unopened.filter(isModel);
    if (earlier.length && files.every(mayBeData)) return this.#openAll(earlier, [...unopened.filter((file) => !isModel(file)), ...files]);
    const strange = files.filter((file) => !isCompanion(file));
    // The library says what such a file is.
    if (strange.length) return this.#openAll(strange, files.filter(isCompanion));
    return this.#add(current, files);
  }

  async #openAll(models, companions) {
    clearWarning();
    let first;
    const failed = [];
    for (const { path, blob } of models) {
      say(`Opening ${path}…`);
      try {
        const id = await this.open(path, [{ path, blob }, ...companions]);
        first ??= id;
      } catch (error) {
        // That of a worker that was replaced is shown with it.
        if (!(error instanceof Replaced)) failed.push(about(path, error));
      }
    }
    this.#unopened = first === undefined ? [...models, ...companions] : [];
    if (failed.length) warn(...failed);
    say(first === undefined ? "No model was opened." : `Opened ${this.get(first).description.name}.`);
    return first;
  }

  /** Opens a model again with more files. */
  async #add(id, files) {
    clearWarning();
    const model = this.get(id);
    if (!model) return undefined;
    const names = new Set(files.map((file) => file.path));
    const all = [...model.files.filter((file) => !names.has(file.path)), ...files];
    const labels = files.length === 1 ? files.find(isLabels) : undefined;
    const isNamed = labels && isNamedLabels(labels);
    const settings = labels && !isNamed ? { ...model.settings, labels: labels.path } : model.settings;
    try {
      const description = await this.#engine.open(model.description.name, all, settings);
      const unlabeled = labels && !description.labels && `it has no label for each of the ${description.classes} classes`;
      const problem = model.description.problem ? undefined : description.problem || unlabeled;
      if (problem) {
        await this.#engine.close(description.id);
        throw new Error(problem);
      }
      this.#all.set(description.id, { ...model, description, files: all, settings });
      this.#all.delete(id);
      this.#changed(description.id, id);
      await this.#engine.close(id);
      say(`${description.name} was opened again with ${[...names].join(", ")}.`);
      return description.id;
    } catch (error) {
      if (!(error instanceof Replaced)) warn(about([...names].join(", "), error));
      return undefined;
    }
  }
}

/** What is known of a model, as the children of a `dl`. */
export function facts({ description, files }) {
  const { head, input, classes, labels, reason } = description;
  const beside = files.slice(1).map((file) => file.path);
  const size = files.reduce((sum, file) => sum + file.blob.size, 0);
  const sides = input?.shape.map((side) => side ?? "any").join(" × ");
  const rows = [
    ["File", `${description.name}, ${bytes(size)}`],
    beside.length && ["With", beside.join(", ")],
    description.is_exported && ["Explanation", "the file has one already, which is left out here"],
    input && ["Input", `${input.name}, ${sides}`],
    head && ["Scores", `${head.kind}, output ${head.output}`],
    head && ["Why", `${head.why}; ${head.output_why}`],
    classes && ["Classes", `${classes}, ${labels ? "with labels" : "without labels"}`],
    reason && ["Layer", `${description.explained.join(", ")}: ${reason.why}`],
  ];
  return rows
    .filter(Boolean)
    .flatMap(([name, text]) => [element("dt", { textContent: name }), element("dd", { textContent: text })]);
}

/** The name of a file that is made of a model. */
export const nameOf = ({ description }) => stem(description.name);
