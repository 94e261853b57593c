import assert from 'node:assert/strict';
import test from 'node:test';

import { ago, baseName, byteRate, bytes, count, duration, endpoint, percent, shortId } from '../js/format.js';

const plain = (text) => text.replaceAll('\u202f', ' ');

test('sizes are in binary units of three digits', () => {
  const cases = [[0, '0 B'], [512, '512 B'], [1023, '1023 B'], [1024, '1 KiB'], [1536, '1.5 KiB'], [123_456, '121 KiB'], [5 * 1024 ** 3, '5 GiB'], [-2048, '-2 KiB']];
  for (const [value, text] of cases) assert.equal(plain(bytes(value)), text);
  assert.equal(plain(byteRate(2048)), '2 KiB/s');
});

test('times go from microseconds to days', () => {
  const cases = [[0, '0 s'], [42e-6, '42 µs'], [0.0015, '1.5 ms'], [0.9996, '1 s'], [90, '90 s'], [600, '10 min'], [7200, '2 h'], [200_000, '2 d'], [Infinity, '∞'], [null, '–']];
  for (const [value, text] of cases) assert.equal(plain(duration(value)), text);
  assert.equal(ago(1000, 1500), 'just now');
  assert.equal(plain(ago(0, 5000)), '5 s ago');
});

test('counts, shares and names', () => {
  assert.deepEqual([0, 999, 9999, 12_345, 2e6].map((one) => plain(count(one))), ['0', '999', '9999', '12.3 k', '2 M']);
  assert.deepEqual([0, 0.00001, 0.0123, 1, NaN].map((one) => plain(percent(one))), ['0 %', '<0.01 %', '1.23 %', '100 %', '–']);
  assert.equal(baseName('/usr/bin/curl'), 'curl');
  assert.equal(baseName('curl'), 'curl');
  assert.equal(shortId('0123456789abcdef0123456789abcdef'), '0123456789ab');
  assert.equal(shortId('web-1'), 'web-1');
  assert.equal(endpoint('::1', 80), '[::1]:80');
  assert.equal(endpoint('10.0.0.1', 80), '10.0.0.1:80');
});
