// What was dropped, chosen or pasted, and what each file is for.

const PICTURE = /\.(png|jpe?g|jfif|webp|gif|bmp|tiff?|avif|heic|svg)$/i;
const COMPANION = /\.(json|txt|ya?ml|pbtxt|names|csv|data|onnx_data|weights)$|(^|\/)MLmodel$/i;
/** Files of labels and of settings that the library finds by their names, see `resolve` of gradcam-image. */
const LABELS = /(^|\/)(labels\.(txt|json)|classes\.txt|class_indices\.json|synset\.txt)$/;
const SETTINGS = /(^|\/)((pre)?processor_config\.json|config\.(json|pbtxt)|inference\.yml|MLmodel)$/;

export const isPicture = ({ path, blob }) => blob.type.startsWith("image/") || PICTURE.test(path);
export const isModel = ({ path }) => /\.onnx$/i.test(path);

/** Whether a file is beside a model: its external data, labels or configuration. */
export const isCompanion = ({ path }) => COMPANION.test(path);

/** Whether a file can be beside a model that was dropped before; external data has any name. */
export const mayBeData = (file) => isCompanion(file) || /\.(bin|weight)$|(^|\/)[^./]+$/i.test(file.path);

/** Whether a file can hold labels. */
export const isLabels = ({ path }) => /\.(txt|json|names)$/i.test(path) && !SETTINGS.test(path);

/** Whether such a file has a name by which it is found. */
export const isNamedLabels = ({ path }) => LABELS.test(path);

/** Files as `{path, blob}`, of a list of files. */
export const listed = (files) =>
  [...files].map((blob) => ({ path: blob.webkitRelativePath || blob.name, blob }));

/** Files as `{path, blob}`, of what was dropped or pasted; folders are read to their ends. */
export async function transferred(transfer) {
  // The items are gone once this function has waited.
  const entries = [...transfer.items]
    .filter((item) => item.kind === "file")
    .map((item) => item.webkitGetAsEntry?.() ?? item.getAsFile())
    .filter(Boolean);
  if (entries.length === 0) return listed(transfer.files);
  const all = await Promise.all(
    entries.map((entry) => (entry instanceof File ? listed([entry]) : inside(entry))),
  );
  return all.flat();
}

async function inside(entry) {
  const given = (method) => new Promise((resolve, reject) => method(resolve, reject));
  if (entry.isFile) {
    const blob = await given((resolve, reject) => entry.file(resolve, reject));
    return [{ path: entry.fullPath.replace(/^\//, ""), blob }];
  }
  const reader = entry.createReader();
  const files = [];
  for (;;) {
    // A reader gives a hundred at a time.
    const some = await given((resolve, reject) => reader.readEntries(resolve, reject));
    if (some.length === 0) return files;
    for (const one of some) files.push(...(await inside(one)));
  }
}
