/**
 * The part of bench.py's protocol that has to run in a page: warm-up, rounds, visits. `bench_browser.py` serves it,
 * gives it bench.py's own constants (`protocol`), and makes the rows. A visit takes samples one by one, as there.
 *
 * A page's clock is coarse (5 µs where it is isolated, otherwise 100). So a sample is a batch of runs long enough for
 * the error that this makes to stay below `protocol.quantisation`; with an exact clock it is one run, as in bench.py.
 * Clocks give nanoseconds.
 */

const FULL = /out of memory|bad_alloc|allocat|Aborted|memory access out of bounds/i;
const LEVELS = { all: "all", extended: "extended", basic: "basic", disable: "disabled" };
const READINGS = 200;
const MOST_TRIES = 20_000_000;
const NS_PER_MS = 1e6;
const PROGRESS_MS = 500;

// ---------------------------------------------------------------- timing

/** Time `samples` batches of `batch` runs, in nanoseconds a run, after a few untimed runs that warm the caches. */
export async function visit(run, { samples, batch }, clock, protocol) {
  for (let index = 0; index < protocol.untimedRuns; index++) await run();
  const taken = new Array(samples);
  for (let index = 0; index < samples; index++) {
    const start = clock();
    for (let turn = 0; turn < batch; turn++) await run();
    taken[index] = (clock() - start) / batch;
  }
  return taken;
}

/** How many samples a visit takes, and of how many runs each: about 4 ms in all, five samples if they fit. */
export function planVisit(typicalNs, resolutionNs, protocol) {
  const typical = Math.max(typicalNs, 1);
  const batch = Math.max(1, Math.ceil(resolutionNs / protocol.quantisation / typical));
  const sample = batch * typical;
  const wanted = Math.min(Math.max(Math.floor(protocol.visitNs / sample), protocol.minRuns), protocol.maxRuns);
  return { samples: Math.max(1, Math.min(wanted, Math.floor(protocol.longestVisitNs / sample))), batch };
}

/** A time of a run, but no less than what the clock would have noticed in a batch: it may say zero. */
function noticeable(typicalNs, { batch }, resolutionNs) {
  return Math.max(typicalNs, resolutionNs / batch);
}

/** Run until two visits agree within 3 %; returns what a visit shall be. */
export async function warmUp(run, clock, resolutionNs, protocol) {
  // The first run may be shorter than the clock can tell.
  const first = median(await visit(run, { samples: 1, batch: 1 }, clock, protocol));
  let plan = { samples: 1, batch: 1 };
  let before = noticeable(first, plan, resolutionNs);
  for (let batch = 0; batch < protocol.warmUpBatches; batch++) {
    plan = planVisit(before, resolutionNs, protocol);
    const now = median(await visit(run, plan, clock, protocol));
    if (Math.abs(now - before) <= protocol.warmUpTolerance * before) return planVisit(now, resolutionNs, protocol);
    before = noticeable(now, plan, resolutionNs);
  }
  return plan;
}

/**
 * Warm up all models, again and again until `protocol.settleNs` have passed; returns what visits shall be.
 *
 * A browser compiles WebAssembly in haste first, and well only what has run often, in the background: then models are
 * twice as fast. What they have in common need not be compiled for each.
 */
export async function warmUpAll(runs, clock, resolutionNs, protocol, pause) {
  const [visits, start] = [{}, clock()];
  do {
    for (const [name, run] of Object.entries(runs)) {
      visits[name] = await warmUp(run, clock, resolutionNs, protocol);
      await pause();
    }
  } while (clock() - start < protocol.settleNs);
  return visits;
}

/**
 * Rounds over all models, each in a random order of its own; by model a list of samples for each round. A model whose
 * samples turn out too short for the clock, because it was slow only while it was warmed up, gets longer ones.
 */
export async function interleave(runs, visits, rounds, seed, clock, resolutionNs, protocol, tick) {
  const random = generator(seed);
  const timed = Object.fromEntries(Object.keys(runs).map((name) => [name, []]));
  for (let round = 0; round < rounds; round++) {
    const names = shuffled(Object.keys(runs), random);
    // There where the browser was started with --expose-gc: collect now rather than during a visit.
    globalThis.gc?.();
    for (const name of names) {
      const taken = await visit(runs[name], visits[name], clock, protocol);
      timed[name].push(taken);
      const typical = noticeable(median(taken), visits[name], resolutionNs);
      const plan = planVisit(typical, resolutionNs, protocol);
      if (plan.batch > visits[name].batch) visits[name] = plan;
      await tick();
    }
  }
  return timed;
}

/** The smallest step that a clock was seen to make, in nanoseconds. */
export function clockResolution(clock) {
  let smallest = Infinity;
  let last = clock();
  for (let tries = 0, steps = 0; steps < READINGS && tries < MOST_TRIES; tries++) {
    const now = clock();
    if (now > last) {
      smallest = Math.min(smallest, now - last);
      steps++;
    }
    last = now;
  }
  if (!Number.isFinite(smallest)) throw new Error("the clock of this page does not advance");
  return Math.round(smallest);
}

function median(values) {
  const sorted = [...values].sort((a, b) => a - b);
  const half = sorted.length >> 1;
  return sorted.length % 2 ? sorted[half] : (sorted[half - 1] + sorted[half]) / 2;
}

/** Uniform numbers in [0, 1): mulberry32. */
export function generator(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let value = Math.imul(state ^ (state >>> 15), state | 1);
    value ^= value + Math.imul(value ^ (value >>> 7), value | 61);
    return ((value ^ (value >>> 14)) >>> 0) / 2 ** 32;
  };
}

function shuffled(names, random) {
  for (let last = names.length - 1; last > 0; last--) {
    const other = Math.floor(random() * (last + 1));
    [names[last], names[other]] = [names[other], names[last]];
  }
  return names;
}

// ---------------------------------------------------------------- the page

/** Time a job's models, which are called 0, 1 and so on, as `bench_browser.py` says; returns JSON. */
export async function benchmark(ort, job, report) {
  const clock = () => performance.now() * NS_PER_MS;
  const resolutionNs = clockResolution(clock);
  const tick = ticker(job.steps, report);
  ort.env.wasm.numThreads = job.threads;
  ort.env.logLevel = "fatal";
  const { runs, batchSizes, errors, full } = await loadAll(ort, job, tick);
  if (full !== undefined) return JSON.stringify({ full });
  const visits = await warmUpAll(runs, clock, resolutionNs, job.protocol, () => tick(0));
  const timed = await interleave(runs, visits, job.rounds, job.seed, clock, resolutionNs, job.protocol, tick);
  // Models that failed were counted, too.
  report(job.steps, job.steps);
  return JSON.stringify({
    errors,
    timed,
    batches: Object.fromEntries(Object.entries(visits).map(([name, { batch }]) => [name, batch])),
    batch_sizes: batchSizes,
    resolution_ns: resolutionNs,
    isolated: globalThis.crossOriginIsolated === true,
    threads: ort.env.wasm.numThreads,
    runtime_version: String(ort.env.versions.web),
  });
}

/** Load every model and try it; a failing one is left out and its error kept. `full` says that memory is. */
async function loadAll(ort, job, tick) {
  const [runs, batchSizes, errors] = [{}, {}, {}];
  const own = ["sentinel", "empty"];
  // These first: where they cannot be run, that is no model's fault.
  for (const name of [...own, ...Array(job.models).keys()].map(String)) {
    try {
      [runs[name], batchSizes[name]] = await load(ort, name, job);
    } catch (error) {
      const said = words(error);
      if (own.includes(name)) throw new Error(`the ${name} cannot be run: ${said}`);
      if (FULL.test(said)) return { full: said };
      errors[name] = said;
    }
    if (!own.includes(name)) await tick();
  }
  return { runs, batchSizes, errors };
}

/** What was thrown, in words; C++ exceptions reach a page as bare numbers, most often for want of memory. */
function words(error) {
  return typeof error === "number" ? `bad_alloc? (exception ${error})` : String(error?.message ?? error).slice(0, 2000);
}

/** A call that runs a model on seeded random inputs, tensors made once; and how many inputs it takes at once. */
async function load(ort, name, job) {
  const answer = await fetch(`models/${name}`);
  if (!answer.ok) throw new Error(`it could not be fetched (${answer.status})`);
  const session = await ort.InferenceSession.create(new Uint8Array(await answer.arrayBuffer()), {
    executionProviders: ["wasm"],
    executionMode: "sequential",
    graphOptimizationLevel: LEVELS[job.optimisationLevel],
    logSeverityLevel: 4,
  });
  const random = generator(job.seed);
  const feeds = Object.fromEntries(
    session.inputMetadata.map((input) => [input.name, randomInput(ort, input, random)]),
  );
  // Outputs given are filled in place: none is allocated, and later collected, at every call.
  const outputs = await session.run(feeds);
  const sizes = session.inputMetadata.length ? inputShape(session.inputMetadata[0]) : [];
  return [() => session.run(feeds, outputs), sizes.length > 1 ? sizes[0] : 1];
}

/** Sizes of one input; a first dimension that is left open, by a symbol or a negative number, counts as 1. */
function inputShape({ name, shape }) {
  // Negative numbers come out of WebAssembly as unsigned ones.
  const open = (size) => typeof size !== "number" || size < 0 || size >= 2 ** 31;
  const sizes = shape.map((size, place) => (place === 0 && open(size) ? 1 : size));
  if (sizes.some(open)) throw new Error(`input '${name}' has shape [${shape}]: only the batch may be left open`);
  if (sizes.includes(0)) {
    throw new Error(
      `input '${name}' has shape [${shape}], which holds nothing: export it with a batch of 1, or an open one`,
    );
  }
  return sizes;
}

/** Standard normal values for one input, random bytes for pixels. */
function randomInput(ort, input, random) {
  const { name, type } = input;
  const sizes = inputShape(input);
  const count = sizes.reduce((product, size) => product * size, 1);
  if (type === "uint8") {
    return new ort.Tensor(type, Uint8Array.from({ length: count }, () => Math.floor(256 * random())), sizes);
  }
  if (type !== "float32") throw new Error(`input '${name}' is ${type}; wanted float32 or uint8`);
  return new ort.Tensor(type, Float32Array.from({ length: count }, () => normal(random)), sizes);
}

/** Box and Muller's way to a standard normal number. */
function normal(random) {
  return Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
}

/** Counts steps, tells them twice a second at most, and lets the page's other events through. */
function ticker(total, report) {
  const channel = new MessageChannel();
  let [done, shown] = [0, 0];
  return (count = 1) => {
    done += count;
    const now = performance.now();
    if (now - shown > PROGRESS_MS) {
      shown = now;
      report(done, total);
    }
    // Not setTimeout, which a browser stretches to 4 ms.
    return new Promise((resolve) => {
      channel.port1.onmessage = resolve;
      channel.port2.postMessage(null);
    });
  };
}
