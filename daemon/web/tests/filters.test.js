import assert from 'node:assert/strict';
import test from 'node:test';

import { flowFacets, listenerFacets, lookupFacets, processFacets } from '../js/facets.js';
import { compile, isEmpty, parseTyped, suggest } from '../js/filters.js';

const flow = (more) => flowFacets({
  'process.executable.path': '/usr/bin/curl', 'netsonde.socket.role': 'client', 'server.address': 'api.example', 'server.port': 443,
  'network.peer.address': '192.0.2.1', 'process.user.name': 'root', ...more,
});

const passes = (filters, facets) => compile(filters)(facets);

test('a text matches anywhere and in any case', () => {
  assert.ok(passes({}, flow()));
  assert.ok(passes({ binary: 'CURL' }, flow()));
  assert.ok(passes({ binary: '/usr/bin/' }, flow()));
  assert.ok(!passes({ binary: 'wget' }, flow()));
  assert.ok(passes({ binary: 'wget, curl' }, flow()));
});

test('a star stands for anything, and the whole has to match', () => {
  assert.ok(passes({ remote: '*.example' }, flow()));
  assert.ok(!passes({ remote: 'example*' }, flow()));
  assert.ok(passes({ remote: 'a*.e*e' }, flow()));
  assert.ok(!passes({ remote: '*.ex.mple' }, flow()), 'a dot is a dot');
});

test('an exclamation mark takes away', () => {
  assert.ok(!passes({ binary: '!curl' }, flow()));
  assert.ok(passes({ binary: '!wget' }, flow()));
  assert.ok(!passes({ remote: '*.example,!api*' }, flow()));
  assert.ok(passes({ unit: '!cron' }, flow()), 'what has no unit is in none');
  assert.ok(!passes({ unit: 'cron' }, flow()));
  assert.ok(passes({ binary: '!' }, flow()) && passes({ binary: ',' }, flow()), 'half-typed filters hide nothing');
});

test('ports are numbers and ranges', () => {
  assert.ok(passes({ port: '443' }, flow()));
  assert.ok(!passes({ port: '44' }, flow()));
  assert.ok(passes({ port: '80,400-500' }, flow()));
  assert.ok(!passes({ port: '!443' }, flow()));
  assert.ok(!passes({ port: 'https' }, flow()));
});

test('a remote is who a client talks to, by name or address; a server has none of its own', () => {
  assert.ok(passes({ remote: '192.0.2.1' }, flow()));
  assert.ok(!passes({ remote: 'api' }, flow({ 'netsonde.socket.role': 'server' })));
});

test('what a kind of thing cannot have is left aside', () => {
  const lookup = lookupFacets({ 'process.executable.path': '/usr/bin/curl', 'dns.question.name': 'api.example', 'server.address': '9.9.9.9' });
  assert.ok(passes({ port: '443', remote: 'api' }, lookup));
  assert.ok(passes({ remote: '9.9.9.9' }, lookup));
});

test('listeners are found by all who hold them, processes by their flows', () => {
  const listener = listenerFacets({ 'process.executable.path': '/sbin/init', 'server.port': 22, 'netsonde.socket.holders': [{ 'process.executable.path': '/usr/sbin/sshd', 'systemd.unit': 'ssh.service' }] });
  assert.ok(passes({ binary: 'sshd', unit: 'ssh', port: '22' }, listener) && passes({ binary: 'init' }, listener));
  const process = processFacets({ 'process.executable.path': '/usr/bin/curl' }, [flow()]);
  assert.ok(passes({ remote: 'api.example', port: '443' }, process) && !passes({ port: '80' }, process));
});

test('scripts and containers are facets as well', () => {
  const facets = flow({ 'netsonde.process.script.path': '/srv/app.py', 'container.id': 'f00' });
  assert.equal(facets.name, 'curl app.py');
  assert.ok(passes({ binary: 'app.py', container: 'f0' }, facets));
  assert.notEqual(facets.program, flow().program);
});

test('what is typed names its field, or is a binary', () => {
  assert.deepEqual(parseTyped('port: 443'), { field: 'port', value: '443' });
  assert.deepEqual(parseTyped(' nginx '), { field: 'binary', value: 'nginx' });
  assert.deepEqual(parseTyped('host:x'), { field: 'binary', value: 'host:x' });
  assert.equal(parseTyped('unit:'), null);
  assert.equal(parseTyped('  '), null);
  assert.ok(isEmpty({ binary: '' }) && !isEmpty({ port: '1' }));
});

test('suggestions are shared between fields', () => {
  const values = { binary: Array.from({ length: 20 }, (_, at) => `/bin/web${at}`), remote: ['web.example'], port: ['80'] };
  const all = suggest('web', values, 5);
  assert.equal(all.length, 5);
  assert.ok(all.some((one) => one.field === 'remote'));
  assert.deepEqual(suggest('port:8', values), [{ field: 'port', value: '80' }]);
  assert.deepEqual(suggest('none', values), []);
});
