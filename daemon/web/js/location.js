// What is looked at, as the part of the URL behind "#": a link shows the same to whoever opens it.

import { FIELDS } from './filters.js';

/** The views, in the order of their keys 1 to 8. */
export const VIEWS = ['overview', 'map', 'throughput', 'latency', 'dns', 'listeners', 'processes', 'status'];

/** How far back, in seconds. */
export const RANGES = { '5m': 300, '15m': 900, '1h': 3600 };

/** The most steps from a centre of the map. */
export const MOST_HOPS = 6;

const DEFAULTS = { range: '15m', hops: 1, by: 'binary', direction: 'both' };

/** Where nothing is said. */
export const start = () => ({ view: 'overview', filters: {}, centre: '', find: '', ...DEFAULTS });

/** Reads what `format` wrote. What it does not know is left out, so that old links go on working. */
export function parse(hash) {
  const state = start();
  const [path, query = ''] = hash.replace(/^#\/?/, '').split(/\?(.*)/s);
  if (VIEWS.includes(path)) state.view = path;
  const given = new URLSearchParams(query);
  for (const field of FIELDS) if (given.get(field)) state.filters[field] = given.get(field);
  if (given.get('range') in RANGES) state.range = given.get('range');
  const hops = Number(given.get('hops'));
  if (Number.isInteger(hops) && hops >= 1 && hops <= MOST_HOPS) state.hops = hops;
  state.centre = given.get('centre') ?? '';
  state.find = given.get('find') ?? '';
  if (['binary', 'remote'].includes(given.get('by'))) state.by = given.get('by');
  if (['both', 'tx', 'rx'].includes(given.get('direction'))) state.direction = given.get('direction');
  return state;
}

/** The other way round; what is as usual is left out. */
export function format(state) {
  const given = new URLSearchParams();
  for (const field of FIELDS) if (state.filters[field]) given.set(field, state.filters[field]);
  for (const key of ['range', 'hops', 'by', 'direction', 'centre', 'find']) {
    const usual = DEFAULTS[key] ?? '';
    if (state[key] !== usual) given.set(key, String(state[key]));
  }
  const query = given.toString();
  return `#/${state.view}${query ? `?${query}` : ''}`;
}
