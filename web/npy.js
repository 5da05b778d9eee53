// Arrays as .npy files: https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html

/** A .npy file of float32 numbers, row by row, as a Blob. */
export function npy(numbers, shape) {
  const sizes = shape.length === 1 ? `${shape[0]},` : shape.join(", ");
  const entries = `{'descr': '<f4', 'fortran_order': False, 'shape': (${sizes}), }`;
  // Magic, version and the length of what follows, which ends with a line feed where the numbers begin, at a multiple of 64.
  const start = 10;
  const length = Math.ceil((start + entries.length + 1) / 64) * 64 - start;
  const header = new Uint8Array(start + length);
  header.set([0x93, 0x4e, 0x55, 0x4d, 0x50, 0x59, 1, 0, length & 255, length >> 8]);
  header.set(new TextEncoder().encode(entries.padEnd(length - 1) + "\n"), start);
  return new Blob([header, numbers], { type: "application/octet-stream" });
}
