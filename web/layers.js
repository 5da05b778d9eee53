// The tree of a model's layers: a radio button for each that can be explained, or a check box where several are chosen.

import { element } from "./dom.js";

let trees = 0;

export class LayerTree {
  #into;
  #name = `layers-${++trees}`;
  #onChange;
  #several = false;
  /** The inputs of the tree that are made, with their layers. */
  #inputs = [];
  #chosen = [];

  /** `into` gets the tree; `onChange` the paths that are chosen, none for the default. */
  constructor(into, onChange) {
    this.#into = into;
    this.#onChange = onChange;
  }

  /** Shows the layers of a model, `LayerDescription` of `crates/gradcam-web/src/model.rs`. */
  show(layers) {
    this.#inputs = [];
    const paths = new Set(layers.map((layer) => layer.path));
    const inside = new Map();
    for (const layer of layers) {
      const parent = paths.has(layer.parent) ? layer.parent : null;
      if (!inside.has(parent)) inside.set(parent, []);
      inside.get(parent).push(layer);
    }
    this.#into.querySelector("ul")?.remove();
    this.#into.append(this.#list(inside, null));
  }

  #list(inside, parent) {
    const items = (inside.get(parent) ?? []).map((layer) => this.#item(inside, layer, parent));
    return element("ul", {}, ...items);
  }

  #item(inside, layer, parent) {
    const row = this.#row(layer, parent);
    if (!inside.has(layer.path)) return element("li", {}, row);
    const details = element("details");
    const count = inside.get(layer.path).length;
    const name = element("span", { className: "unseen", textContent: ` ${layer.path}` });
    details.append(element("summary", {}, `${count} inside`, name));
    // Most of a big tree is never looked at.
    details.addEventListener("toggle", () => {
      if (details.open && details.children.length === 1) details.append(this.#list(inside, layer.path));
    });
    if (holdsDefault(inside, layer)) {
      details.append(this.#list(inside, layer.path));
      details.open = true;
    }
    return element("li", { className: "module" }, row, details);
  }

  #short = (layer, parent) =>
    parent && layer.path.startsWith(parent) ? layer.path.slice(parent.length).replace(/^[./]/, "") : layer.path;

  #row(layer, parent) {
    const input = element("input", {
      type: this.#several ? "checkbox" : "radio",
      name: this.#name,
      value: layer.path,
      disabled: !layer.candidate,
      checked: this.#chosen.length ? this.#chosen.includes(layer.path) : layer.default,
    });
    input.addEventListener("change", () => this.#changed(input));
    this.#inputs.push({ input, layer });
    const facts = [layer.kind, layer.shape.length ? layer.shape.slice(1).join("×") : ""].filter(Boolean).join(" ");
    const label = element("label", { className: "layer" }, input, this.#short(layer, parent));
    label.append(element("span", { className: "about", textContent: facts }));
    if (layer.default) label.append(element("span", { className: "mark", textContent: "default" }));
    return label;
  }

  #changed(input) {
    const others = this.#several ? this.#chosen.filter((path) => path !== input.value) : [];
    const all = input.checked ? [...others, input.value] : others;
    const order = this.#inputs.map(({ layer }) => layer.path);
    this.#chosen = all.sort((a, b) => order.indexOf(a) - order.indexOf(b));
    this.#onChange(this.#chosen);
  }

  /** Lets several be chosen, or one. */
  severally(several) {
    this.#several = several;
    for (const { input } of this.#inputs) input.type = several ? "checkbox" : "radio";
    this.choose(this.#chosen);
  }

  /** Marks the layers that are explained; none is the default. */
  choose(paths) {
    this.#chosen = [...paths];
    for (const { input, layer } of this.#inputs)
      input.checked = paths.length ? paths.includes(layer.path) : layer.default;
  }
}

const holdsDefault = (inside, layer) =>
  (inside.get(layer.path) ?? []).some((one) => one.default || holdsDefault(inside, one));
