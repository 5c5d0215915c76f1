// test_bench.py's SyntheticMachine for bench.mjs: a question in JSON on standard input, the answer on standard output.
//
//     node synthetic_machine.mjs bench.mjs < question.json
//
// A question holds `protocol`, and of `measure`, `plan` and `settle` the one that is asked.

import { readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";

const bench = await import(pathToFileURL(process.argv[2]));
const { protocol, ...question } = JSON.parse(readFileSync(0, "utf8"));

/** A clock that only its own models move: true costs times noise, bursts of foreign load, and drift. */
class SyntheticMachine {
  constructor({ noise = 0, bursts = 0, drift = 0, seed = 0, resolution_ns = 0, slow_until_ns = 0 }) {
    Object.assign(this, { noise, bursts, drift, slow_until_ns, resolution: resolution_ns, now: 0, busyUntil: 0, calls: [] });
    this.random = bench.generator(seed);
    this.clock = () => {
      if (!this.resolution) return this.now;
      this.now += 50; // it takes a moment to read one that is coarse
      return Math.floor(this.now / this.resolution) * this.resolution;
    };
  }

  model(name, costNs) {
    return async () => {
      this.calls.push(name);
      if (this.random() < this.bursts / 1000) this.busyUntil = this.now + 30e6;
      const busy = (this.now < this.busyUntil ? 3 : 1) * (this.now < this.slow_until_ns ? 2 : 1);
      const normal = Math.sqrt(-2 * Math.log(1 - this.random())) * Math.cos(2 * Math.PI * this.random());
      const factor = busy * (1 + (this.drift * this.now) / 1e9) * Math.exp(this.noise * Math.abs(normal));
      this.now += Math.trunc(costNs * factor);
    };
  }
}

/** Costs by model, timed in rounds, after a warm-up unless `plans` are given. */
async function measure({ costs, rounds, plans, ...circumstances }) {
  const machine = new SyntheticMachine(circumstances);
  const resolution = machine.resolution ? bench.clockResolution(machine.clock) : 0;
  const runs = Object.fromEntries(Object.entries(costs).map(([name, cost]) => [name, machine.model(name, cost)]));
  plans ??= await bench.warmUpAll(runs, machine.clock, resolution, protocol, async () => {});
  machine.calls.length = 0;
  const timed = await bench.interleave(runs, plans, rounds, 0, machine.clock, resolution, protocol, async () => {});
  return { timed, plans, calls: machine.calls, resolution_ns: resolution };
}

/** A model that becomes quicker for twenty runs, then takes a millisecond. */
async function settle() {
  const machine = new SyntheticMachine({});
  let runs = 0;
  const run = async () => {
    runs++;
    machine.now += runs > 20 ? 1_000_000 : Math.floor(50_000_000 / runs);
  };
  return { ...(await bench.warmUp(run, machine.clock, 0, protocol)), runs };
}

const plan = ([typicalNs, resolutionNs]) => bench.planRepetition(typicalNs, resolutionNs, protocol);
const answers = { measure, plan, settle };
const [asked] = Object.keys(question);
process.stdout.write(JSON.stringify(await answers[asked](question[asked])));
