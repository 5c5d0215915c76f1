/**
 * The part of bench.py's protocol that has to run in a page: warm-up, rounds, repetitions. `bench_browser.py` serves
 * it, passes bench.py's constants as `protocol`, and makes the rows.
 *
 * A page's clock is coarse (5 µs in an isolated page, otherwise 100). So a sample is a batch of runs, long enough to
 * keep the clock's error below `protocol.quantisation`; with an exact clock it is one run, as in bench.py. Clocks
 * return nanoseconds.
 */

const OUT_OF_MEMORY = /out of memory|bad_alloc|allocat|Aborted|memory access out of bounds/i;
const LEVELS = { all: "all", extended: "extended", basic: "basic", disable: "disabled" };
const READINGS = 200;
const MAX_TRIES = 20_000_000;
const NS_PER_MS = 1e6;
const PROGRESS_MS = 500;

// ---------------------------------------------------------------- timing

/** Time `samples` batches of `batch` runs, in nanoseconds a run, after a few untimed runs that warm the caches. */
export async function timeRepetition(run, { samples, batch }, clock, protocol) {
  for (let index = 0; index < protocol.untimedRuns; index++) await run();
  const taken = new Array(samples);
  for (let index = 0; index < samples; index++) {
    const start = clock();
    for (let turn = 0; turn < batch; turn++) await run();
    taken[index] = (clock() - start) / batch;
  }
  return taken;
}

/** Return the samples of a repetition, and the runs of a sample: about 4 ms in total, five samples if they fit. */
export function planRepetition(typicalNs, resolutionNs, protocol) {
  const typical = Math.max(typicalNs, 1);
  const batch = Math.max(1, Math.ceil(resolutionNs / protocol.quantisation / typical));
  const sample = batch * typical;
  const samples = Math.min(Math.max(Math.floor(protocol.repetitionNs / sample), protocol.minRuns), protocol.maxRuns);
  return { samples: Math.max(1, Math.min(samples, Math.floor(protocol.maxRepetitionNs / sample))), batch };
}

/** Return the time of a run, at least the clock's resolution over the batch: a coarse clock may measure zero. */
function atLeastResolution(typicalNs, { batch }, resolutionNs) {
  return Math.max(typicalNs, resolutionNs / batch);
}

/** Run until two repetitions agree within 3 %, and return the plan of a repetition. */
export async function warmUp(run, clock, resolutionNs, protocol) {
  // The first run may be shorter than the clock's resolution.
  const first = median(await timeRepetition(run, { samples: 1, batch: 1 }, clock, protocol));
  let plan = { samples: 1, batch: 1 };
  let before = atLeastResolution(first, plan, resolutionNs);
  for (let batch = 0; batch < protocol.warmUpBatches; batch++) {
    plan = planRepetition(before, resolutionNs, protocol);
    const now = median(await timeRepetition(run, plan, clock, protocol));
    if (Math.abs(now - before) <= protocol.warmUpTolerance * before) return planRepetition(now, resolutionNs, protocol);
    before = atLeastResolution(now, plan, resolutionNs);
  }
  return plan;
}

/**
 * Warm up all models repeatedly until `protocol.settleNs` have passed, and return the plan of each.
 *
 * A browser first compiles WebAssembly without optimisation, and optimises in the background what runs often: models
 * are then twice as fast. Kernels that models share are optimised once.
 */
export async function warmUpAll(runs, clock, resolutionNs, protocol, pause) {
  const [plans, start] = [{}, clock()];
  do {
    for (const [name, run] of Object.entries(runs)) {
      plans[name] = await warmUp(run, clock, resolutionNs, protocol);
      await pause();
    }
  } while (clock() - start < protocol.settleNs);
  return plans;
}

/**
 * Time all models in rounds, each in a new random order, and return the samples by model and round. A model whose
 * samples are too short for the clock, because it was slower during the warm-up, gets longer ones.
 */
export async function interleave(runs, plans, rounds, seed, clock, resolutionNs, protocol, tick) {
  const random = generator(seed);
  const timed = Object.fromEntries(Object.keys(runs).map((name) => [name, []]));
  for (let round = 0; round < rounds; round++) {
    const names = shuffled(Object.keys(runs), random);
    // Available with --expose-gc: collect garbage now rather than during a repetition.
    globalThis.gc?.();
    for (const name of names) {
      const taken = await timeRepetition(runs[name], plans[name], clock, protocol);
      timed[name].push(taken);
      const typical = atLeastResolution(median(taken), plans[name], resolutionNs);
      const plan = planRepetition(typical, resolutionNs, protocol);
      if (plan.batch > plans[name].batch) plans[name] = plan;
      await tick();
    }
  }
  return timed;
}

/** Return the smallest observed step of a clock, in nanoseconds. */
export function clockResolution(clock) {
  let smallest = Infinity;
  let last = clock();
  for (let tries = 0, steps = 0; steps < READINGS && tries < MAX_TRIES; tries++) {
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

/** Return a generator of uniform numbers in [0, 1): mulberry32. */
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

/** Time a job's models, named 0, 1 and so on, and return the result as JSON; see `bench_browser.py`. */
export async function benchmark(ort, job, report) {
  const clock = () => performance.now() * NS_PER_MS;
  const resolutionNs = clockResolution(clock);
  const tick = ticker(job.steps, report);
  ort.env.wasm.numThreads = job.threads;
  ort.env.logLevel = "fatal";
  const { runs, batchSizes, errors, full } = await loadAll(ort, job, tick);
  if (full !== undefined) return JSON.stringify({ full });
  const plans = await warmUpAll(runs, clock, resolutionNs, job.protocol, () => tick(0));
  const timed = await interleave(runs, plans, job.rounds, job.seed, clock, resolutionNs, job.protocol, tick);
  // Failed models count as progress, too.
  report(job.steps, job.steps);
  return JSON.stringify({
    errors,
    timed,
    batches: Object.fromEntries(Object.entries(plans).map(([name, { batch }]) => [name, batch])),
    batch_sizes: batchSizes,
    resolution_ns: resolutionNs,
    isolated: globalThis.crossOriginIsolated === true,
    threads: ort.env.wasm.numThreads,
    runtime_version: String(ort.env.versions.web),
  });
}

/** Load every model and run it once; of a model that fails, the error is returned. `full`: memory is full. */
async function loadAll(ort, job, tick) {
  const [runs, batchSizes, errors] = [{}, {}, {}];
  const references = ["sentinel", "empty"];
  // First, since an error in these is not the fault of a model.
  for (const name of [...references, ...Array(job.models).keys()].map(String)) {
    try {
      [runs[name], batchSizes[name]] = await load(ort, name, job);
    } catch (error) {
      const message = messageOf(error);
      if (references.includes(name)) throw new Error(`the ${name} cannot be run: ${message}`);
      if (OUT_OF_MEMORY.test(message)) return { full: message };
      errors[name] = message;
    }
    if (!references.includes(name)) await tick();
  }
  return { runs, batchSizes, errors };
}

/** Return the message of an exception; C++ exceptions reach a page as numbers, usually because memory is full. */
function messageOf(error) {
  return typeof error === "number" ? `bad_alloc? (exception ${error})` : String(error?.message ?? error).slice(0, 2000);
}

/** Return a function that runs a model on seeded random inputs, allocated once, and the inputs of a run. */
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
  // Given outputs are filled in place, so that no call allocates memory.
  const outputs = await session.run(feeds);
  const sizes = session.inputMetadata.length ? inputShape(session.inputMetadata[0]) : [];
  return [() => session.run(feeds, outputs), sizes.length > 1 ? sizes[0] : 1];
}

/** Return the shape of one input; an open first dimension (a symbol or a negative number) counts as 1. */
function inputShape({ name, shape }) {
  // WebAssembly returns negative numbers as unsigned ones.
  const open = (size) => typeof size !== "number" || size < 0 || size >= 2 ** 31;
  const sizes = shape.map((size, place) => (place === 0 && open(size) ? 1 : size));
  if (sizes.some(open)) throw new Error(`input '${name}' has shape [${shape}]: only the batch may be left open`);
  if (sizes.includes(0)) {
    throw new Error(
      `input '${name}' has shape [${shape}], which is empty: export it with a batch of 1, or an open one`,
    );
  }
  return sizes;
}

/** Return standard normal values for one input, random bytes for pixels. */
function randomInput(ort, input, random) {
  const { name, type } = input;
  const sizes = inputShape(input);
  const count = sizes.reduce((product, size) => product * size, 1);
  if (type === "uint8") {
    return new ort.Tensor(type, Uint8Array.from({ length: count }, () => Math.floor(256 * random())), sizes);
  }
  if (type !== "float32") throw new Error(`input '${name}' is ${type}; expected float32 or uint8`);
  return new ort.Tensor(type, Float32Array.from({ length: count }, () => normal(random)), sizes);
}

/** Return a standard normal number (Box–Muller transform). */
function normal(random) {
  return Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
}

/** Return a function that counts steps, reports them at most twice a second, and lets other events run. */
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
