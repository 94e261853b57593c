import assert from 'node:assert/strict';
import test from 'node:test';

import { format, parse, start } from '../js/location.js';

test('a link shows the same', () => {
  const state = { ...start(), view: 'map', filters: { binary: '/usr/bin/a b&c', port: '443,80-90' }, range: '1h', hops: 3, centre: 'p:/usr/bin/a b#?&', find: 'ä', by: 'remote', direction: 'tx' };
  assert.deepEqual(parse(format(state)), state);
});

test('what is as usual is left out', () => {
  assert.equal(format(start()), '#/overview');
  assert.deepEqual(parse(''), start());
  assert.deepEqual(parse('#'), start());
});

test('what is not known is left out, and harms nothing', () => {
  const wild = parse('#/nowhere?range=9d&hops=99&by=moon&direction=up&binary=&colour=red&port=1');
  assert.deepEqual(wild, { ...start(), filters: { port: '1' } });
  assert.deepEqual(parse('#/map?hops=1.5').hops, 1);
  assert.deepEqual(parse('#/map?%E0%A4%A=1&a?b=c'), { ...start(), view: 'map' });
});
