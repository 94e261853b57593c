import assert from 'node:assert/strict';
import test from 'node:test';

import { flowFacets } from '../js/facets.js';
import { buildGraph, largest, layout, neighbourhood, search } from '../js/graph.js';
import { COLUMN, WIDTH } from '../js/store.js';

function flow(path, role, address, port, { bytes = 100, peer, namespace = 1, transport = 'tcp', ...values } = {}) {
  const row = new Float64Array(WIDTH);
  row[role === 'client' ? COLUMN.tx : COLUMN.rx] = bytes;
  for (const [name, value] of Object.entries(values)) row[COLUMN[name]] = value;
  const facets = flowFacets({
    'process.executable.path': path, 'netsonde.socket.role': role, 'server.address': address, 'server.port': port, 'network.transport': transport,
    'network.peer.address': peer, 'netsonde.network.namespace': namespace,
  });
  return { facets, values: row };
}

const ids = (graph) => [...graph.nodes.keys()].sort();
const pairs = (graph) => graph.edges.map((edge) => `${edge.from} ${edge.to}`).sort();

/** A client, a server that asks another, which asks a remote: a - b - c - r:far. */
const chain = () => buildGraph([
  flow('/a', 'client', '127.0.0.1', 80), flow('/b', 'server', '127.0.0.1', 80),
  flow('/b', 'client', 'db.internal', 5432, { peer: '10.0.0.1' }), flow('/c', 'server', '10.0.0.1', 5432),
  flow('/c', 'client', 'far', 443, { failed: 2, retransmits: 1, tx_packets: 10 }),
]);

test('both ends on this host are one edge, by address or by name', () => {
  const graph = chain();
  assert.deepEqual(ids(graph), ['p:/a', 'p:/b', 'p:/c', 'r:far']);
  assert.deepEqual(pairs(graph), ['p:/a p:/b', 'p:/b p:/c', 'p:/c r:far']);
  const [, , last] = graph.edges;
  assert.deepEqual([last.tx, last.rx, last.failed, last.retransmits], [100, 0, 2, 1]);
  assert.deepEqual([graph.nodes.get('r:far').tx, graph.nodes.get('r:far').rx], [0, 100], 'a remote receives what is sent to it');
});

test('what local clients do not explain comes from elsewhere', () => {
  const outside = buildGraph([flow('/b', 'server', '10.0.0.1', 443, { bytes: 500 })]);
  assert.deepEqual(pairs(outside), ['in:tcp:443 p:/b']);
  const mixed = buildGraph([flow('/a', 'client', '10.0.0.1', 443, { bytes: 100 }), flow('/b', 'server', '10.0.0.1', 443, { bytes: 500 })]);
  assert.deepEqual(pairs(mixed), ['in:tcp:443 p:/b', 'p:/a p:/b']);
  const idle = buildGraph([flow('/b', 'server', '10.0.0.1', 443, { bytes: 0 })]);
  assert.equal(idle.edges.length, 0);
});

test('loopback is another place in each network namespace', () => {
  const graph = buildGraph([flow('/a', 'client', '127.0.0.1', 80, { namespace: 1 }), flow('/b', 'server', '127.0.0.1', 80, { namespace: 2 })]);
  assert.deepEqual(pairs(graph), ['in:tcp:80 p:/b', 'p:/a r:127.0.0.1']);
  const across = buildGraph([flow('/a', 'client', '10.0.0.2', 80, { namespace: 1 }), flow('/b', 'server', '10.0.0.2', 80, { namespace: 2 })]);
  assert.deepEqual(pairs(across), ['p:/a p:/b']);
});

test('transports are apart', () => {
  const graph = buildGraph([flow('/a', 'client', '10.0.0.2', 53, { transport: 'udp' }), flow('/b', 'server', '10.0.0.2', 53)]);
  assert.deepEqual(pairs(graph), ['in:tcp:53 p:/b', 'p:/a r:10.0.0.2']);
});

test('a neighbourhood has all within so many steps, whichever way they point', () => {
  const graph = chain();
  assert.deepEqual(ids(neighbourhood(graph, 'p:/b', 1)), ['p:/a', 'p:/b', 'p:/c']);
  assert.deepEqual(ids(neighbourhood(graph, 'p:/b', 2)), ['p:/a', 'p:/b', 'p:/c', 'r:far']);
  assert.deepEqual(ids(neighbourhood(graph, 'r:far', 1)), ['p:/c', 'r:far']);
  assert.deepEqual(pairs(neighbourhood(graph, 'p:/a', 1)), ['p:/a p:/b']);
  assert.equal(neighbourhood(graph, 'p:/none', 3).nodes.size, 0);
});

test('edges among those at the end of a neighbourhood are not in it', () => {
  const graph = buildGraph([
    flow('/a', 'client', 'x', 1), flow('/a', 'client', '10.0.0.1', 2), flow('/b', 'server', '10.0.0.1', 2), flow('/b', 'client', 'x', 1),
  ]);
  assert.deepEqual(pairs(neighbourhood(graph, 'p:/a', 1)), ['p:/a p:/b', 'p:/a r:x']);
  assert.deepEqual(pairs(neighbourhood(graph, 'p:/a', 2)), ['p:/a p:/b', 'p:/a r:x', 'p:/b r:x']);
});

test('the largest are shown, and who is in the centre', () => {
  const graph = buildGraph(Array.from({ length: 50 }, (_, at) => flow('/a', 'client', `h${at}`, 80, { bytes: at })));
  const shown = largest(graph, 10, 'r:h0');
  assert.equal(shown.nodes.size, 10);
  assert.equal(shown.hidden, 41);
  assert.ok(shown.nodes.has('r:h0') && shown.nodes.has('p:/a') && shown.nodes.has('r:h49') && !shown.nodes.has('r:h5'));
  assert.ok(shown.edges.every((edge) => shown.nodes.has(edge.from) && shown.nodes.has(edge.to)));
  assert.equal(largest(graph, 100).hidden, 0);
});

test('search finds beginnings first', () => {
  const graph = buildGraph([flow('/opt/far-away', 'client', 'the-far', 1, { bytes: 9 }), flow('/a', 'client', 'far', 1, { bytes: 1 })]);
  assert.deepEqual(search(graph, 'FAR').map((node) => node.id), ['p:/opt/far-away', 'r:far', 'r:the-far']);
  assert.deepEqual(search(graph, '/opt').map((node) => node.id), ['p:/opt/far-away']);
  assert.deepEqual(search(graph, ' '), []);
});

test('clients are left of servers', () => {
  const { columns, places } = layout(chain());
  assert.deepEqual(columns, [['p:/a'], ['p:/b'], ['p:/c'], ['r:far']]);
  assert.deepEqual(places.get('p:/c'), { column: 2, row: 0, rows: 1 });
});

test('around a centre, columns are steps', () => {
  const { columns } = layout(chain(), 'p:/b');
  assert.deepEqual(columns, [['p:/a'], ['p:/b'], ['p:/c'], ['r:far']]);
  const star = buildGraph([flow('/a', 'client', 'x', 1), flow('/a', 'client', 'y', 1), flow('/b', 'client', 'x', 1)]);
  assert.deepEqual(layout(star, 'r:x').columns.map((list) => [...list].sort()), [['r:y'], ['p:/a', 'p:/b'], ['r:x']]);
});

test('a circle comes to an end', () => {
  const graph = buildGraph([
    flow('/a', 'client', '10.0.0.2', 2), flow('/b', 'server', '10.0.0.2', 2), flow('/b', 'client', '10.0.0.1', 1), flow('/a', 'server', '10.0.0.1', 1),
    flow('/c', 'client', '10.0.0.3', 3), flow('/c', 'server', '10.0.0.3', 3),
  ]);
  const { places } = layout(graph);
  assert.equal(places.size, 3);
});

test('longer edges have places of their own in the columns between', () => {
  const graph = buildGraph([
    flow('/a', 'client', '127.0.0.1', 80), flow('/b', 'server', '127.0.0.1', 80),
    flow('/b', 'client', '127.0.0.1', 81), flow('/c', 'server', '127.0.0.1', 81, { bytes: 200 }), flow('/a', 'client', '127.0.0.1', 81),
  ]);
  const { ways, slots, columns } = layout(graph);
  const [way] = [...ways.values()];
  assert.equal(ways.size, 1);
  assert.equal(way.length, 1);
  assert.ok(slots[1].includes(way[0]) && !columns[1].includes(way[0]));
});
