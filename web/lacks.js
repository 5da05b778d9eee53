// "What the file lacks": plain fields with what the files say or what is guessed, for a user who knows better.

import { element } from "./dom.js";

const HEADS = ["softmax", "sigmoid", "binary", "regression", "segmentation", "detection", "sequence", "embedding"];
/** The channels of the library's JSON, as settings have them. */
const CHANNELS = { RGB: "rgb", BGR: "bgr", grey: "gray", RGBA: "rgba", "grey+alpha": "gray-alpha" };

const short = (number) => String(Number(number.toPrecision(6)));
const list = (numbers) => numbers?.map(short).join(", ");
const size = (geometry) => geometry?.crop ?? geometry?.resize.exact;
const fit = (geometry) => {
  if (!geometry) return undefined;
  if (geometry.crop) return "crop";
  return geometry.resize.exact ? "squash" : "pad";
};

/** `"1, 2"` as numbers. */
function numbers(text, name) {
  const all = text.split(/[\s,;×x]+/).filter(Boolean).map(Number);
  if (all.some(Number.isNaN)) throw new Error(`${name} is "${text}"; write numbers with commas, such as 0.5, 0.5, 0.5`);
  return all;
}

function pair(text, name) {
  const both = numbers(text, name);
  if (both.length !== 2) throw new Error(`${name} is "${text}"; write two numbers, such as 224 × 224`);
  return both;
}

function number(text, name) {
  // 1/255 is how a factor is usually written.
  const [over, under = 1] = text.split("/").map(Number);
  if (Number.isNaN(over / under)) throw new Error(`${name} is "${text}"; write a number, such as 1/255`);
  return over / under;
}

/**
 * A row for each field: its setting (see `ModelSettings` of `crates/gradcam-web/src/request.rs`), its words, its value by the
 * preprocessing that was chosen, where that came from, and how its text is read. A list of options makes a select.
 */
const FIELDS = [
  { id: "size", label: "Width × height", now: (p) => size(p?.geometry) && `${size(p.geometry).width} × ${size(p.geometry).height}`, origin: "size", read: pair },
  { id: "fit", label: "How photos fit", now: (p) => fit(p?.geometry), origin: "geometry", options: [["crop", "cut the borders off"], ["squash", "stretch"], ["pad", "add borders"]] },
  { id: "mean", label: "Mean", now: (p) => list(p?.mean), origin: "mean", read: numbers },
  { id: "std", label: "Standard deviation", now: (p) => list(p?.std), origin: "std", read: numbers },
  { id: "rescale", label: "Factor of 8-bit values", now: (p) => p && (Math.abs(p.rescale * 255 - 1) < 1e-6 ? "1/255" : short(p.rescale)), origin: "rescale", read: number },
  { id: "layout", label: "Order of axes", now: (p) => p?.layout.toLowerCase(), origin: "layout", options: [["nchw", "channels first (NCHW)"], ["nhwc", "channels last (NHWC)"]] },
  { id: "channels", label: "Channels", now: (p) => CHANNELS[p?.channels], origin: "channels", options: [["rgb", "RGB"], ["bgr", "BGR"], ["gray", "gray"], ["rgba", "RGBA"], ["gray-alpha", "gray and opacity"]] },
  { id: "labels", label: "File of labels", now: () => undefined, origin: "labels", files: true },
  { id: "output", label: "Output with the scores", now: (_, model) => model.head?.output, read: (text) => text },
  { id: "head", label: "What the scores are", now: (_, model) => model.head?.kind, options: HEADS.map((kind) => [kind, kind]) },
  { id: "grid", label: "Rows × columns of tokens", now: () => undefined, read: pair },
];

/** The origin of a value in words. */
const origin = (from) => {
  if (from === "flag") return "said here";
  return from === "imagenet default" ? "a guess: most models have this" : from && `from ${from}`;
};

/**
 * Fills the form for a model. `apply` gets the settings, or the error of a field that cannot be read.
 *
 * @param {HTMLFormElement} form
 * @param {{description: object, files: object[], settings: object}} model
 */
export function showLacks(form, model, apply) {
  const { description, files, settings } = model;
  const choice = description.preprocessing;
  const rows = FIELDS.map((field) => row(field, choice, model, files));
  const guessed = choice?.guess;
  const imagenet = element("input", { type: "checkbox", name: "imagenet", checked: Boolean(settings.imagenet) });
  const right = element("label", { className: "check" }, imagenet, "The guessed values are right");
  right.hidden = !guessed && !settings.imagenet;
  const reset = element("button", { type: "button", textContent: "As the files say" });
  reset.addEventListener("click", () => apply({}));
  const say = element("button", { type: "submit", className: "primary", textContent: "Apply" });
  form.replaceChildren(
    ...(guessed ? [element("p", { className: "hint", textContent: `Guessed: ${guessed}` })] : []),
    ...rows.map(({ label }) => label),
    right,
    element("div", { className: "actions" }, say, reset),
  );
  form.onsubmit = (event) => {
    event.preventDefault();
    try {
      apply(read(rows, settings, imagenet.checked));
    } catch (error) {
      apply(undefined, error);
    }
  };
}

function row(field, choice, model, files) {
  const said = model.settings[field.id];
  const now = field.now(choice?.preprocess, model.description) ?? (Array.isArray(said) ? said.join(" × ") : said) ?? "";
  const input = field.options || field.files ? element("select") : element("input", { autocomplete: "off", spellcheck: false });
  if (field.options) input.append(new Option("not known", ""), ...field.options.map(([value, text]) => new Option(text, value)));
  if (field.files)
    input.append(new Option("none named", ""), ...files.slice(1).map((file) => new Option(file.path, file.path)));
  input.name = field.id;
  input.value = now;
  const from = origin(choice?.origins[field.origin]) ?? (said === undefined ? undefined : "said here");
  const label = element("label", { className: "field" }, field.label, input);
  if (from) label.append(element("span", { className: "hint", textContent: from }));
  return { field, input, now: input.value, label };
}

/** What was changed, and what was said before and is as it was. */
function read(rows, settings, imagenet) {
  const said = { ...settings, imagenet };
  for (const { field, input, now } of rows) {
    const text = input.value.trim();
    if (text === now) continue;
    if (text === "") delete said[field.id];
    else said[field.id] = field.read ? field.read(text, field.label) : text;
  }
  return said;
}
