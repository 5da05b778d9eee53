// The classes with the largest scores, and the field for any other class or target.

import { className, element, percent } from "./dom.js";

let lists = 0;

export class Classes {
  #pane;
  #onTarget;
  #labels = new Set();

  /** `pane` is the element of a pane; `onTarget` gets a target as on the command line. */
  constructor(pane, onTarget) {
    this.#pane = pane;
    this.#onTarget = onTarget;
    const list = pane.querySelector("datalist");
    list.id = `labels-${++lists}`;
    this.#field.setAttribute("list", list.id);
    pane.querySelector(".target-form").addEventListener("submit", (event) => {
      event.preventDefault();
      const text = this.#field.value.trim();
      if (text) onTarget(text);
    });
  }

  get #field() {
    return this.#pane.querySelector(".target");
  }

  /** Offers the labels of a model. */
  offer(model) {
    const labels = model.labels ?? [];
    this.#labels = new Set(labels);
    const times = new Map();
    for (const label of labels) times.set(label, (times.get(label) ?? 0) + 1);
    // A label that two classes have names neither.
    const option = (label, index) =>
      times.get(label) > 1 ? element("option", { value: String(index), label }) : element("option", { value: label });
    this.#pane.querySelector("datalist").replaceChildren(...labels.map(option));
    const [a, b] = model.classes > 967 ? [285, 967] : [0, 1];
    const forms = model.classes > 1 ? `${a}, ${a}-${b}, p:${a}, neg:${a}, top:3` : "value, -value";
    const box = model.head?.kind === "detection" ? `, ${a}@2 for the second best box` : "";
    this.#pane.querySelector(".target-hint").textContent = `A label, or ${forms}${box}.`;
    this.#field.value = "";
  }

  /** Shows the classes of a summary; the explained one is pressed. */
  show(summary) {
    const list = this.#pane.querySelector(".classes");
    const focused = list.contains(document.activeElement) ? document.activeElement.dataset.index : undefined;
    const top = summary?.top ?? [];
    const plain = summary && !summary.against && !/^(neg|p):/.test(summary.target);
    const items = top.map((one) => this.#item(one, plain && summary.class.index === one.index));
    list.replaceChildren(...items);
    list.querySelector(`[data-index="${focused}"]`)?.focus();
  }

  #item(one, pressed) {
    const button = element("button", { type: "button", ariaPressed: String(pressed) });
    button.dataset.index = one.index;
    const amount = one.probability === null ? one.score.toFixed(2) : percent(one.probability);
    button.append(
      element("span", { className: "label", textContent: className(one) }),
      element("span", { className: "amount", textContent: amount }),
    );
    if (one.probability !== null) {
      const bar = element("span", { className: "bar" });
      bar.style.setProperty("--share", one.probability);
      button.append(bar);
    }
    const number = String(one.index);
    // A number that is a label names the class of that label.
    button.addEventListener("click", () => this.#onTarget(this.#labels.has(number) ? one.label : number));
    return element("li", {}, button);
  }
}
