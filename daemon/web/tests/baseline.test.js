import assert from 'node:assert/strict';
import test from 'node:test';

import { baselineOf, closings, compare, listenerKey, readBaseline } from '../js/baseline.js';
import { buildTree, visible } from '../js/tree.js';

const listener = (port, more = {}) => ({ 'network.transport': 'tcp', 'server.address': '0.0.0.0', 'server.port': port, 'netsonde.namespace.initial': true, 'process.executable.path': '/bin/a', ...more });
const marks = (rows, baseline) => compare(rows, baseline).map((one) => `${one.row['server.port']} ${one.mark}`).sort();

test('new and gone are told by what listens where, not by the process', () => {
  const baseline = readBaseline(JSON.stringify(baselineOf([listener(80, { 'process.pid': 1 }), listener(81)], 5)));
  assert.deepEqual(marks([listener(80, { 'process.pid': 2 }), listener(82)], baseline), ['80 same', '81 gone', '82 new']);
  assert.deepEqual(marks([listener(80, { 'process.executable.path': '/bin/evil' })], baseline), ['80 gone', '80 new', '81 gone']);
  assert.deepEqual(marks([listener(80)], null), ['80 ']);
});

test('ports that the kernel chose, and several sockets of one key, are one', () => {
  const automatic = (port) => listener(port, { 'netsonde.listen.port_automatic': true });
  const baseline = baselineOf([automatic(40001), listener(80), listener(80)], 5);
  assert.deepEqual(marks([automatic(40002)], baseline), ['40002 same', '80 gone']);
});

test('a namespace without a name goes by its number', () => {
  const elsewhere = (number) => listener(80, { 'netsonde.namespace.initial': false, 'netsonde.network.namespace': number });
  assert.notEqual(listenerKey(elsewhere(1)), listenerKey(elsewhere(2)));
  assert.notEqual(listenerKey(elsewhere(1)), listenerKey(listener(80)));
});

test('what is no baseline is none', () => {
  for (const text of [null, '', '{', '[]', '{"version":2,"rows":[],"time":1}', '{"version":1,"rows":{},"time":1}']) assert.equal(readBaseline(text), null);
});

test('the last closing of a key counts', () => {
  const at = (time) => ({ ...listener(80), 'netsonde.listen.closed': time });
  const times = closings([at('2026-01-01T00:00:02Z'), at('2026-01-01T00:00:01Z'), listener(81)]);
  assert.deepEqual([...times.values()], [Date.parse('2026-01-01T00:00:02Z')]);
});

const process = (pid, ancestors, more = {}) => ({ id: `${pid}-1`, attributes: { 'process.pid': pid, 'process.executable.path': `/bin/p${pid}`, 'process.creation.time': '2026-01-01T00:00:01Z', 'netsonde.process.ancestors': ancestors.map((one) => ({ 'process.pid': one, 'process.executable.path': `/bin/p${one}`, 'process.creation.time': '2026-01-01T00:00:01Z' })) }, ...more });

test('processes hang below their parents, with what all below moved', () => {
  const roots = buildTree([process(5, [3, 1], { tx: 5 }), process(4, [3, 1], { tx: 2, failures: 1 }), process(3, [1], { rx: 7 }), process(9, [8])]);
  assert.deepEqual(roots.map((root) => root.pid), [1, 8]);
  const lines = visible(roots, new Set());
  assert.deepEqual(lines.map((line) => [line.node.pid, line.depth]), [[1, 0], [3, 1], [4, 2], [5, 2], [8, 0], [9, 1]]);
  assert.deepEqual([roots[0].sum.tx, roots[0].sum.rx, roots[0].sum.failures], [7, 7, 1]);
  assert.equal(roots[0].process, null);
  assert.equal(lines[1].node.process.rx, 7, 'a process may be the parent of another');
  assert.deepEqual(visible(roots, new Set([lines[1].node.key])).map((line) => line.node.pid), [1, 3, 8, 9]);
});

test('a pid that came again is another process', () => {
  const again = process(3, []);
  again.attributes['process.creation.time'] = '2026-02-02T00:00:00Z';
  const roots = buildTree([process(5, [3]), again]);
  assert.deepEqual(roots.map((root) => [root.pid, root.children.length]).sort(), [[3, 0], [3, 1]]);
});
