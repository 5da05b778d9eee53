// As much of ONNX's messages as the tests need: https://onnx.ai/onnx/repo-docs/IR.html, protobuf's wire format.

/** The fields of a message: `{number, wire, value, bytes}`; `bytes` is the whole field with its tag. */
export function* fields(message) {
  let at = 0;
  const varint = () => {
    let value = 0n;
    for (let shift = 0n; ; shift += 7n) {
      const byte = message[at++];
      value |= BigInt(byte & 127) << shift;
      if (byte < 128) return Number(value);
    }
  };
  while (at < message.length) {
    const start = at;
    const tag = varint();
    const wire = tag & 7;
    let value;
    if (wire === 0) value = varint();
    else {
      const length = wire === 2 ? varint() : wire === 1 ? 8 : 4;
      value = message.subarray(at, at + length);
      at += length;
    }
    yield { number: tag >> 3, wire, value, bytes: message.subarray(start, at) };
  }
}

function varint(value) {
  const bytes = [];
  for (; value > 127; value = Math.floor(value / 128)) bytes.push((value % 128) + 128);
  return Buffer.from([...bytes, value]);
}

/** A field of bytes or text. */
function field(number, content) {
  const bytes = Buffer.from(content);
  return Buffer.concat([varint(number * 8 + 2), varint(bytes.length), bytes]);
}

const GRAPH = 7;
const INITIALIZER = 5;
const OUTPUT = 12;
const RAW_DATA = 9;
const EXTERNAL_DATA = 13;
const DATA_LOCATION = 14;

const entry = (key, value) => field(EXTERNAL_DATA, Buffer.concat([field(1, key), field(2, value)]));

/** A model of one file as two: `{model, data}`, with all large weights in the file `location`. */
export function withExternalData(onnx, location) {
  const data = [];
  let offset = 0;
  const tensor = (message) => {
    const parts = [...fields(message)];
    const raw = parts.find(({ number }) => number === RAW_DATA);
    if (!raw || raw.value.length < 1024) return message;
    const others = parts.filter((part) => part !== raw).map(({ bytes }) => bytes);
    const where = [entry("location", location), entry("offset", String(offset)), entry("length", String(raw.value.length))];
    data.push(raw.value);
    offset += raw.value.length;
    return Buffer.concat([...others, ...where, Buffer.from([DATA_LOCATION * 8, 1])]);
  };
  const rewritten = (message, which, change) =>
    Buffer.concat([...fields(message)].map((one) => (one.number === which ? field(which, change(one.value)) : one.bytes)));
  const model = rewritten(onnx, GRAPH, (graph) => rewritten(graph, INITIALIZER, tensor));
  return { model, data: Buffer.concat(data) };
}

/** The names of the outputs of a model. */
export function outputs(onnx) {
  const of = (message, wanted) => [...fields(message)].filter(({ number }) => number === wanted).map(({ value }) => value);
  const [graph] = of(onnx, GRAPH);
  return of(graph, OUTPUT).map((value) => of(value, 1)[0].toString());
}
