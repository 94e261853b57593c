import assert from 'node:assert/strict';
import test from 'node:test';

import { binsOf, covered, flowHistograms, columnSeries, flowSeries, flowTotals, grouping, lookupTotals, rates, top } from '../js/aggregate.js';
import { empty, occupied, quantile, total } from '../js/quantiles.js';
import { COLUMN, Store } from '../js/store.js';

const BOUNDS = { rtt: [0.001, 0.01, 0.1], connect: [0.001], duration: [1], lookup: [0.01] };
const identity = (id, path, more = {}) => ({ id, attributes: { 'process.executable.path': path, 'netsonde.socket.role': 'client', 'server.address': `host${id}`, ...more } });
const all = () => true;

function history(frames, flows = [identity(1, '/bin/a'), identity(2, '/bin/b')], lookups = []) {
  return { time: 0, interval: 1, bounds: BOUNDS, flows, lookups, frames };
}
const frame = (second, flows = [], lookups = []) => ({ time: second * 1000, seconds: 1, flows, lookups });

const sums = (store, seconds = 3600) => {
  const bins = binsOf(store.frames, seconds);
  return Object.fromEntries(flowTotals(bins, grouping(store.flows, all, (facets) => facets.program), store.bounds).map((group) => [group.key, group]));
};

test('intervals are added up by group and time', () => {
  const store = new Store();
  assert.ok(store.ingest(history([
    frame(1, [{ id: 1, tx: 10, rx: 5, active: 2, failures: { refused: 1, reset: 2 }, rtt: [[0, 3], [3, 1]] }, { id: 2, rx: 7 }]),
    frame(2, [{ id: 1, tx: 20, active: 1, rtt: [[1, 4]] }], []),
  ])));
  const { '/bin/a': a, '/bin/b': b } = sums(store);
  assert.equal(a.values[COLUMN.tx], 30);
  assert.equal(a.values[COLUMN.failed], 3);
  assert.equal(a.values[COLUMN.active], 1, 'a level is as of the last interval');
  assert.deepEqual([...a.failures], [['refused', 1], ['reset', 2]]);
  assert.deepEqual([...a.rtt], [3, 4, 0, 1]);
  assert.equal(b.values[COLUMN.rx], 7);
  const bins = binsOf(store.frames, 3600);
  const groups = grouping(store.flows, (facets) => facets.program === '/bin/a', () => 'x');
  assert.deepEqual([...flowSeries(bins, groups, ['tx', 'rx'])[0]], [15, 20]);
  assert.deepEqual(columnSeries(bins, groups)[COLUMN.tx].join(), '10,20');
  assert.deepEqual(columnSeries(binsOf(store.frames, 3600, 1), groups)[COLUMN.active].join(), '1');
  assert.deepEqual(flowHistograms(bins, groups, BOUNDS.rtt, 'rtt').map((counts) => [...counts]), [[3, 0, 0, 1], [0, 4, 0, 0]]);
  assert.deepEqual(rates([10, 20], [{ seconds: 2 }, { seconds: 0 }]), [5, 20]);
});

test('what was taken in already is not counted twice', () => {
  const store = new Store();
  store.ingest(history([frame(1, [{ id: 1, tx: 10 }])]));
  store.ingest(history([frame(1, [{ id: 1, tx: 10 }]), frame(2, [{ id: 1, tx: 1 }])]));
  assert.equal(sums(store)['/bin/a'].values[COLUMN.tx], 11);
  assert.equal(store.since, 2000);
});

test('a daemon that was started anew is asked for everything', () => {
  const store = new Store();
  store.ingest(history([frame(1, [{ id: 1, tx: 10 }])]));
  assert.equal(store.ingest(history([frame(2, [{ id: 1, tx: 5 }])], [identity(1, '/bin/other')])), false);
  assert.equal(store.frames.length, 0);
  assert.ok(store.ingest(history([frame(2, [{ id: 1, tx: 5 }])], [identity(1, '/bin/other')])));
  assert.equal(sums(store)['/bin/other'].values[COLUMN.tx], 5);
});

test('an hour is kept, and who is not in it is forgotten', () => {
  const store = new Store();
  store.ingest(history([frame(1, [{ id: 2, tx: 1 }])]));
  store.ingest(history([frame(3601, [{ id: 1, tx: 1 }]), frame(3602, [{ id: 1, tx: 1 }])]));
  assert.equal(store.frames.length, 2);
  assert.deepEqual([...store.flows.slots.keys()], [1]);
  store.ingest(history([frame(3603, [{ id: 2, tx: 4 }])]));
  assert.equal(sums(store)['/bin/b'].values[COLUMN.tx], 4, 'a slot that is free is used again');
});

test('with too many rows the oldest intervals are added up, and totals stay', () => {
  const store = new Store(200);
  let sent = 0;
  for (let second = 1; second <= 120; second += 1) {
    const flows = [1, 2, 3, 4].map((id) => {
      sent += second * id;
      return { id, tx: second * id, active: second, failures: { reset: 1 }, rtt: [[id - 1, 1]] };
    });
    store.ingest(history([frame(second, flows, [{ id: 9, count: 2, latency: [[1, 2]] }])], [1, 2, 3, 4].map((id) => identity(id, '/bin/a')), [identity(9, '/bin/a')]));
  }
  assert.ok(store.rows <= 200, String(store.rows));
  const { '/bin/a': a } = sums(store);
  assert.equal(a.values[COLUMN.tx], sent);
  assert.equal(a.values[COLUMN.active], 480);
  assert.equal(a.failures.get('reset'), 480);
  assert.deepEqual([...a.rtt], [120, 120, 120, 120]);
  const bins = binsOf(store.frames, 3600);
  assert.equal(covered(bins), 120);
  const [asked] = lookupTotals(bins, grouping(store.lookups, all, () => 'all'), BOUNDS.lookup);
  assert.deepEqual([asked.count, [...asked.latency]], [240, [0, 240]]);
});

test('rows that have nothing in common go when they are too many', () => {
  const store = new Store(100);
  for (let second = 1; second <= 60; second += 1) {
    const ids = Array.from({ length: 10 }, (_, at) => second * 100 + at);
    store.ingest(history([frame(second, ids.map((id) => ({ id, tx: 1 })))], ids.map((id) => identity(id, `/bin/${id}`))));
  }
  assert.ok(store.rows <= 100, String(store.rows));
  assert.equal(store.since, 60_000);
});

test('flows that nobody told of count all the same', () => {
  const store = new Store();
  store.ingest(history([frame(1, [{ id: 0, tx: 9 }])], []));
  assert.equal(sums(store)[''].values[COLUMN.tx], 9);
});

test('bins are of whole neighbours, the newest full', () => {
  const frames = Array.from({ length: 10 }, (_, at) => ({ time: (at + 1) * 1000, seconds: 1 }));
  const bins = binsOf(frames, 3600, 4);
  assert.deepEqual(bins.map((bin) => bin.frames.length), [1, 3, 3, 3]);
  assert.deepEqual(bins.map((bin) => bin.time), [1000, 4000, 7000, 10_000]);
  assert.deepEqual(binsOf(frames, 3, 100).map((bin) => bin.time), [8000, 9000, 10_000]);
  assert.deepEqual(binsOf([], 60), []);
});

test('the rest of a list is one', () => {
  const series = [[1, 1], [5, 5], [0, 0], [2, 2], [3, 3]].map((one) => Float64Array.from(one));
  const shown = top(series, ['a', 'b', 'c', 'd', 'e'], 2);
  assert.deepEqual(shown.map((one) => [one.key, one.sum, one.others]), [['b', 10, undefined], ['e', 6, undefined], [null, 6, 2]]);
  assert.deepEqual([...shown[2].values], [3, 3]);
});

test('quantiles are the upper bounds of their buckets', () => {
  const bounds = [1, 2, 4];
  assert.equal(quantile(empty(bounds), bounds, 0.5), null);
  assert.equal(quantile([10, 0, 0, 0], bounds, 0.99), 1);
  assert.equal(quantile([98, 1, 1, 0], bounds, 0.99), 2);
  assert.equal(quantile([98, 1, 1, 0], bounds, 0.991), 4);
  assert.equal(quantile([0, 0, 0, 1], bounds, 0.5), Infinity);
  assert.equal(quantile([1, 0, 0, 0], bounds, 0), 1);
  assert.equal(total([1, 2, 3]), 6);
  assert.deepEqual(occupied([[0, 0, 1, 0], [0, 0, 1, 0]], 4), { low: 1, high: 3 });
  assert.equal(occupied([[0, 0]], 2), null);
});
