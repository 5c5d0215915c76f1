// Names images in the browser with onnxruntime-web. Beside it lie model.json (classes, preprocessing, which files)
// and the model. Images are prepared as run.py prepares them: the same resizing, to the bit.

const TOP = 3;
const MAX_ASPECT = 50;
const MOST_SIDE = 16384; // of a canvas
const TIMED_MS = 60;
const MOST_RUNS = 30;
const PRECISION_BITS = 22; // of Pillow's integer resampling
const FTYP = 0x66747970; // what files made of boxes begin with

const at = (id) => document.getElementById(id);

/** Something given was no use; the message is for people. */
class Refused extends Error {}

// ---------------------------------------------------------------- preparing images

/** Weights of Pillow's antialiased bilinear filter: for each of `size` outputs its first input and whole weights. */
export function weights(length, size) {
  const scale = length / size;
  const support = Math.max(scale, 1);
  const found = [];
  for (let place = 0; place < size; place++) {
    const centre = (place + 0.5) * scale;
    const first = Math.max(Math.trunc(centre - support + 0.5), 0);
    const end = Math.min(Math.trunc(centre + support + 0.5), length);
    const own = [];
    for (let x = first; x < end; x++) own.push(Math.max(0, 1 - Math.abs((x - centre + 0.5) / support)));
    const sum = own.reduce((a, b) => a + b, 0);
    found.push([first, own.map((w) => Math.trunc(0.5 + (w / sum) * (1 << PRECISION_BITS)))]);
  }
  return found;
}

/** One pass of resizing: along rows of `count` lines, or along columns; pixels are RGB bytes. */
function pass(pixels, width, height, size, alongRows) {
  const taken = weights(alongRows ? width : height, size);
  const [outWidth, outHeight] = alongRows ? [size, height] : [width, size];
  const step = alongRows ? 3 : 3 * width;
  const out = new Uint8Array(3 * outWidth * outHeight);
  for (let y = 0; y < outHeight; y++) {
    for (let x = 0; x < outWidth; x++) {
      const [first, own] = taken[alongRows ? x : y];
      const from = alongRows ? 3 * (y * width + first) : 3 * (first * width + x);
      for (let channel = 0; channel < 3; channel++) {
        let sum = 1 << (PRECISION_BITS - 1);
        for (let k = 0; k < own.length; k++) sum += own[k] * pixels[from + channel + k * step];
        out[3 * (y * outWidth + x) + channel] = Math.min(255, Math.max(0, sum >> PRECISION_BITS));
      }
    }
  }
  return out;
}

/** As Python rounds: halves to the even number. */
function rounded(value) {
  const whole = Math.floor(value);
  if (value - whole !== 0.5) return Math.round(value);
  return whole % 2 === 0 ? whole : whole + 1;
}

/** Shorter side resized to `shorter`, centre cropped to a square of `side`; an image is {pixels, width, height}, RGB. */
export function fit({ pixels, width, height }, shorter, side) {
  const short = Math.min(width, height);
  if (short !== shorter) {
    const [newWidth, newHeight] = [width, height].map((n) => Math.max(shorter, rounded((n * shorter) / short)));
    if (newWidth !== width) pixels = pass(pixels, width, height, newWidth, true);
    if (newHeight !== height) pixels = pass(pixels, newWidth, height, newHeight, false);
    [width, height] = [newWidth, newHeight];
  }
  const [left, top] = [width, height].map((n) => Math.floor((n - side) / 2));
  const out = new Uint8Array(3 * side * side);
  for (let y = 0; y < side; y++) {
    const from = 3 * ((y + top) * width + left);
    out.set(pixels.subarray(from, from + 3 * side), 3 * y * side);
  }
  return { pixels: out, width: side, height: side };
}

/** What the network takes: bytes where it normalises itself, else floats by channel. */
export function prepared(image, preprocess, takesBytes) {
  const { size, presize, crop = 1 } = preprocess;
  if (presize) image = fit(image, presize, presize);
  // Less a little, since sizes that divide exactly may not do so in floating point.
  image = fit(image, Math.ceil(size / crop - 1e-6), size);
  if (takesBytes) return image.pixels;
  const area = size ** 2;
  const out = new Float32Array(3 * area);
  const [mean, std] = [preprocess.mean, preprocess.std].map((values) => Float32Array.from(values));
  for (let place = 0; place < area; place++) {
    for (let c = 0; c < 3; c++) {
      const scaled = Math.fround(image.pixels[3 * place + c] / 255);
      out[c * area + place] = Math.fround(scaled - mean[c]) / std[c];
    }
  }
  return out;
}

// ---------------------------------------------------------------- reading images

/** Browsers show what they have of a torn file; a label for half an image would be a wrong one. */
export function torn(bytes) {
  const begins = (...codes) => codes.every((code, place) => bytes[place] === code);
  const tail = String.fromCharCode(...bytes.subarray(Math.max(0, bytes.length - 64)));
  if (begins(0xff, 0xd8)) return !tail.includes("\xff\xd9") && !contains(bytes, 0xff, 0xd9);
  if (begins(0x89, 0x50, 0x4e, 0x47)) return !tail.includes("IEND");
  if (begins(0x47, 0x49, 0x46, 0x38)) return !tail.includes(";");
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  if (begins(0x52, 0x49, 0x46, 0x46)) return bytes.length < 8 || view.getUint32(4, true) + 8 > bytes.length;
  if (begins(0x42, 0x4d)) return bytes.length < 6 || view.getUint32(2, true) > bytes.length;
  return bytes.length >= 8 && view.getUint32(4) === FTYP && boxesEnd(view) > bytes.length;
}

/** Where the last box of an AVIF file ends, as it says itself. */
function boxesEnd(view) {
  let place = 0;
  while (place + 8 <= view.byteLength) {
    const size = view.getUint32(place);
    if (size === 0) return view.byteLength;
    if (size === 1) return place + 16 > view.byteLength ? Infinity : place + Number(view.getBigUint64(place + 8));
    place += Math.max(size, 8);
  }
  return place;
}

/** Whether two bytes follow one another after the last marker of a JPEG's scan: trailing data may come after it. */
function contains(bytes, first, second) {
  const scan = lastScan(bytes);
  for (let place = bytes.length - 2; place > scan; place--) {
    if (bytes[place] === first && bytes[place + 1] === second) return true;
  }
  return false;
}

function lastScan(bytes) {
  for (let place = bytes.length - 2; place > 0; place--) if (bytes[place] === 0xff && bytes[place + 1] === 0xda) return place;
  return 0;
}

/** A file as {pixels, width, height}, RGB bytes: upright, its first frame, transparent parts on white. */
export async function read(file) {
  const bytes = new Uint8Array(await file.arrayBuffer());
  if (torn(bytes)) throw new Refused(`${file.name}: cannot be read: the file is truncated`);
  let bitmap;
  try {
    bitmap = await createImageBitmap(new Blob([bytes], { type: file.type }), { colorSpaceConversion: "none" });
  } catch {
    throw new Refused(`${file.name}: not an image that this browser can read`);
  }
  const { width, height } = bitmap;
  if (Math.max(width, height) > MAX_ASPECT * Math.min(width, height)) {
    throw new Refused(`${file.name}: it has ${width} x ${height} pixels: too narrow to take a square of`);
  }
  if (Math.max(width, height) > MOST_SIDE) {
    throw new Refused(`${file.name}: it has ${width} x ${height} pixels: more than a browser can draw`);
  }
  const canvas = new OffscreenCanvas(width, height);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.fillStyle = "white";
  context.fillRect(0, 0, width, height);
  context.drawImage(bitmap, 0, 0);
  bitmap.close();
  const { data } = context.getImageData(0, 0, width, height);
  const pixels = new Uint8Array(3 * width * height);
  for (let place = 0; place < width * height; place++) {
    pixels.set(data.subarray(4 * place, 4 * place + 3), 3 * place);
  }
  return { pixels, width, height };
}

// ---------------------------------------------------------------- the model

/** Load the model and its description. */
export async function load(base = document.baseURI) {
  const description = await (await fetched(new URL("model.json", base))).json();
  const bytes = async () => new Uint8Array(await (await fetched(new URL(description.model, base))).arrayBuffer());
  const [ort, data] = await Promise.all([import(new URL(description.runtime, base)), bytes()]);
  // Its threads want headers that plain static servers do not send.
  ort.env.wasm.numThreads = 1;
  ort.env.logLevel = "error";
  const session = await ort.InferenceSession.create(data, { executionProviders: ["wasm"] });
  return { ...description, ort, session };
}

async function fetched(url) {
  const answer = await fetch(url);
  if (!answer.ok) throw new Error(`${url.pathname} cannot be fetched (${answer.status})`);
  return answer;
}

/** Labels with confidences, most confident first, and the milliseconds the network takes, where it shall be timed. */
export async function classify(model, image, timed = true) {
  const { ort, session, preprocess, takes_bytes: takesBytes } = model;
  const size = preprocess.size;
  const values = prepared(image, preprocess, takesBytes);
  const shape = takesBytes ? [1, size, size, 3] : [1, 3, size, size];
  const feeds = { [session.inputNames[0]]: new ort.Tensor(takesBytes ? "uint8" : "float32", values, shape) };
  const times = [];
  let logits;
  // The first run also warms up; browsers' clocks are coarse, so several are taken.
  for (const began = performance.now(); times.length < 3 || performance.now() - began < TIMED_MS; ) {
    const start = performance.now();
    logits = (await session.run(feeds))[session.outputNames[0]].data;
    times.push(performance.now() - start);
    if (!timed || times.length >= MOST_RUNS) break;
  }
  const greatest = Math.max(...logits);
  const exponents = Array.from(logits, (value) => Math.exp(value - greatest));
  const sum = exponents.reduce((a, b) => a + b, 0);
  const ranked = exponents.map((value, place) => ({ label: model.classes[place], confidence: value / sum, place }));
  ranked.sort((a, b) => b.confidence - a.confidence || a.place - b.place);
  const ascending = times.slice(1).sort((a, b) => a - b);
  return { ranked, milliseconds: ascending[Math.floor(ascending.length / 2)] };
}

// ---------------------------------------------------------------- the page

function say(text, wrong = false) {
  at("message").textContent = text;
  at("message").classList.toggle("wrong", wrong);
}

function show(file, { ranked, milliseconds }) {
  const rows = ranked.slice(0, TOP).map(({ label, confidence }) => {
    const row = document.createElement("tr");
    const [name, bar, share] = ["", "bar", "share"].map((kind) => Object.assign(row.insertCell(), { className: kind }));
    name.textContent = label;
    share.textContent = `${(100 * confidence).toFixed(1)} %`;
    const ink = bar.appendChild(document.createElement("div"));
    ink.style.width = `${100 * confidence}%`;
    return row;
  });
  at("labels").tBodies[0].replaceChildren(...rows);
  at("labels").hidden = false;
  say(`${ranked[0].label}, ${(100 * ranked[0].confidence).toFixed(1)} %, in ${milliseconds.toFixed(2)} ms`);
  if (at("image").src) URL.revokeObjectURL(at("image").src);
  at("image").src = URL.createObjectURL(file);
  at("image").hidden = false;
}

function clear() {
  at("labels").hidden = true;
  at("image").hidden = true;
}

/** Name one file; of several dropped at once the last one asked for is shown. */
function asking(model) {
  let newest = 0;
  return async (file) => {
    const own = ++newest;
    try {
      const found = await classify(model, await read(file));
      if (own === newest) show(file, found);
    } catch (error) {
      if (own !== newest) return;
      clear();
      say(error instanceof Refused ? error.message : `${file.name}: cannot be named: ${error.message}`, true);
    }
  };
}

async function start() {
  let model;
  try {
    model = await load();
  } catch (error) {
    say(`The model cannot be loaded: ${error.message}. Is the whole folder on the server?`, true);
    return;
  }
  const name = asking(model);
  at("title").textContent = model.name;
  at("about").textContent = `${model.arch}; ${model.classes.length} labels; onnxruntime-web, one thread.`;
  say("Ready.");
  at("file").addEventListener("change", () => at("file").files.length && name(at("file").files[0]));
  const over = (event, inside) => {
    event.preventDefault();
    at("drop").classList.toggle("over", inside);
  };
  document.addEventListener("dragover", (event) => over(event, true));
  document.addEventListener("dragleave", (event) => over(event, false));
  document.addEventListener("drop", (event) => {
    over(event, false);
    if (event.dataTransfer.files.length) name(event.dataTransfer.files[0]);
    else say("That is no file: drop an image file.", true);
  });
}

if (at("drop")) start();
