// An hour of intervals, in columns: what the page draws from, and all that it keeps.
//
// Bounded twice: by age, and by the number of rows (a flow or lookup in an interval). Beyond that, the oldest intervals
// that are neighbours are added up: totals stay exact, only their resolution in time goes.

import { flowFacets, lookupFacets } from './facets.js';

/** The measurements of a flow, in the order of a row. */
export const COLUMNS = [
  'tx', 'rx', 'tx_packets', 'rx_packets', 'retransmits', 'opened', 'accepted', 'closed', 'active', 'failed', 'resets',
  'dropped',
];
/** Where each is in a row. */
export const COLUMN = Object.fromEntries(COLUMNS.map((name, index) => [name, index]));
/** Numbers in a row. */
export const WIDTH = COLUMNS.length;

const HISTOGRAMS = ['rtt', 'connect', 'duration'];
const HOUR = 3_600_000;
/** About 60 MB with a few buckets a row. */
const MOST_ROWS = 400_000;

const sum = (counts) => Object.values(counts ?? {}).reduce((all, one) => all + one, 0);

/** Sparse histograms of many rows: those of row `i` are from `start[i]` to `start[i + 1]`. */
function pack(rows, key) {
  const length = rows.reduce((all, row) => all + (row[key]?.length ?? 0), 0);
  const start = new Uint32Array(rows.length + 1);
  const bucket = new Uint16Array(length);
  const counts = new Float64Array(length);
  let at = 0;
  rows.forEach((row, index) => {
    for (const [number, observed] of row[key] ?? []) {
      bucket[at] = number;
      counts[at] = observed;
      at += 1;
    }
    start[index + 1] = at;
  });
  return { start, bucket, counts };
}

const unpack = (packed, row) => {
  const pairs = [];
  for (let at = packed.start[row]; at < packed.start[row + 1]; at += 1) pairs.push([packed.bucket[at], packed.counts[at]]);
  return pairs;
};

/** Identities by number, each with a slot: a small number that columns and groups are indexed by. */
class Identities {
  constructor(facets) {
    this.facets = facets;
    this.clear();
  }

  clear() {
    this.slots = new Map();
    this.list = [];
    this.free = [];
  }

  /** Whether this number means something else by now: the daemon was started anew. */
  contradicts({ id, attributes }) {
    const slot = this.slots.get(id);
    return slot !== undefined && this.list[slot].text !== JSON.stringify(attributes);
  }

  add({ id, attributes }) {
    if (this.slots.has(id)) return;
    const slot = this.free.pop() ?? this.list.length;
    this.list[slot] = { id, attributes, text: JSON.stringify(attributes), facets: this.facets(attributes) };
    this.slots.set(id, slot);
  }

  /** A number that was not told of gets a slot without attributes, so that its measurements count in totals. */
  slot(id) {
    if (!this.slots.has(id)) this.add({ id, attributes: {} });
    return this.slots.get(id);
  }

  keep(used) {
    for (const [id, slot] of this.slots) {
      if (!used.has(slot)) {
        this.slots.delete(id);
        this.list[slot] = undefined;
        this.free.push(slot);
      }
    }
  }
}

export class Store {
  constructor(mostRows = MOST_ROWS) {
    this.mostRows = mostRows;
    this.flows = new Identities(flowFacets);
    this.lookups = new Identities(lookupFacets);
    this.clear();
  }

  clear() {
    this.flows.clear();
    this.lookups.clear();
    this.frames = [];
    this.rows = 0;
    this.bounds = { rtt: [], connect: [], duration: [], lookup: [] };
    this.interval = 1;
    /** Grows with every change of what is kept. */
    this.version = (this.version ?? 0) + 1;
  }

  /** The end of the newest interval; what to ask the daemon for comes after it. */
  get since() {
    return this.frames.at(-1)?.time ?? 0;
  }

  /**
   * Takes in an answer. False when it contradicts what is kept, which is then forgotten: the daemon was started anew,
   * and has to be asked for everything.
   */
  ingest(history) {
    const same = JSON.stringify(history.bounds) === JSON.stringify(this.bounds);
    const contradiction =
      (this.frames.length > 0 && !same) ||
      (history.flows ?? []).some((flow) => this.flows.contradicts(flow)) ||
      (history.lookups ?? []).some((lookup) => this.lookups.contradicts(lookup));
    if (contradiction) {
      this.clear();
      return false;
    }
    this.bounds = history.bounds;
    this.interval = history.interval;
    for (const flow of history.flows ?? []) this.flows.add(flow);
    for (const lookup of history.lookups ?? []) this.lookups.add(lookup);
    const since = this.since;
    for (const frame of history.frames) if (frame.time > since) this.#append(this.#pack(frame));
    this.#bound();
    this.version += 1;
    return true;
  }

  #append(frame) {
    this.frames.push(frame);
    this.rows += frame.flows.length + frame.lookups.length;
  }

  #pack({ time, seconds, flows = [], lookups = [] }) {
    const slots = new Uint32Array(flows.length);
    const values = new Float64Array(flows.length * WIDTH);
    const failures = [];
    flows.forEach((flow, row) => {
      slots[row] = this.flows.slot(flow.id);
      const at = row * WIDTH;
      COLUMNS.forEach((name, column) => {
        values[at + column] = flow[name] ?? 0;
      });
      values[at + COLUMN.failed] = sum(flow.failures);
      values[at + COLUMN.dropped] = sum(flow.drops);
      for (const [type, failed] of Object.entries(flow.failures ?? {})) failures.push({ slot: slots[row], type, failed });
    });
    const packed = { time, seconds, flows: { length: flows.length, slots, values, failures }, lookups: null };
    for (const key of HISTOGRAMS) packed.flows[key] = pack(flows, key);
    packed.lookups = {
      length: lookups.length,
      slots: Uint32Array.from(lookups, (lookup) => this.lookups.slot(lookup.id)),
      counts: Float64Array.from(lookups, (lookup) => lookup.count),
      latency: pack(lookups, 'latency'),
    };
    return packed;
  }

  #bound() {
    const oldest = this.since - HOUR;
    const gone = this.frames.findIndex((frame) => frame.time > oldest);
    if (gone > 0) this.frames.splice(0, gone);
    this.rows = this.frames.reduce((all, frame) => all + frame.flows.length + frame.lookups.length, 0);
    // From the oldest on, pair by pair; the newest few keep their resolution.
    while (this.rows > this.mostRows && this.frames.length > 4) {
      const merged = [];
      const half = this.frames.length >> 1;
      for (let at = 0; at < half; at += 2) {
        merged.push(at + 1 < half ? mergeFrames(this.frames[at], this.frames[at + 1]) : this.frames[at]);
      }
      const before = this.rows;
      this.frames.splice(0, half, ...merged);
      this.rows = this.frames.reduce((all, frame) => all + frame.flows.length + frame.lookups.length, 0);
      // Nothing in common to add up: then the oldest go.
      if (this.rows > before * 0.98) this.frames.splice(0, Math.ceil(this.frames.length / 4));
      this.rows = this.frames.reduce((all, frame) => all + frame.flows.length + frame.lookups.length, 0);
    }
    if (gone > 0 || this.flows.list.length > 20_000) this.#forget();
  }

  /** Lets go of identities that no interval names. */
  #forget() {
    const flows = new Set();
    const lookups = new Set();
    for (const frame of this.frames) {
      for (const slot of frame.flows.slots) flows.add(slot);
      for (const slot of frame.lookups.slots) lookups.add(slot);
    }
    this.flows.keep(flows);
    this.lookups.keep(lookups);
  }
}

const addPairs = (into, pairs) => {
  for (const [bucket, observed] of pairs) into.set(bucket, (into.get(bucket) ?? 0) + observed);
};

/** Two neighbouring intervals as one. Levels are those of the later. */
export function mergeFrames(first, second) {
  const flows = new Map();
  for (const frame of [first, second]) {
    frame.flows.slots.forEach((slot, row) => {
      let into = flows.get(slot);
      if (!into) {
        into = { values: new Float64Array(WIDTH), rtt: new Map(), connect: new Map(), duration: new Map() };
        flows.set(slot, into);
      }
      for (let column = 0; column < WIDTH; column += 1) {
        const value = frame.flows.values[row * WIDTH + column];
        if (column === COLUMN.active) into.values[column] = frame === second ? value : 0;
        else into.values[column] += value;
      }
      for (const key of HISTOGRAMS) addPairs(into[key], unpack(frame.flows[key], row));
    });
  }
  const lookups = new Map();
  for (const frame of [first, second]) {
    frame.lookups.slots.forEach((slot, row) => {
      const into = lookups.get(slot) ?? { count: 0, latency: new Map() };
      into.count += frame.lookups.counts[row];
      addPairs(into.latency, unpack(frame.lookups.latency, row));
      lookups.set(slot, into);
    });
  }
  const rows = [...flows.values()];
  const merged = {
    length: rows.length,
    slots: Uint32Array.from(flows.keys()),
    values: new Float64Array(rows.length * WIDTH),
    failures: [...first.flows.failures, ...second.flows.failures],
  };
  rows.forEach((row, index) => merged.values.set(row.values, index * WIDTH));
  const lists = (from, key) => from.map((row) => ({ [key]: [...row[key]].sort((a, b) => a[0] - b[0]) }));
  for (const key of HISTOGRAMS) merged[key] = pack(lists(rows, key), key);
  const asked = [...lookups.values()];
  return {
    time: second.time,
    seconds: first.seconds + second.seconds,
    flows: merged,
    lookups: {
      length: asked.length,
      slots: Uint32Array.from(lookups.keys()),
      counts: Float64Array.from(asked, (one) => one.count),
      latency: pack(lists(asked, 'latency'), 'latency'),
    },
  };
}
