// The page: asks the daemon, keeps an hour, and draws the view that the URL names. The only module that wires.

import { binsOf } from './aggregate.js';
import { get, hasToken, keepToken } from './ask.js';
import { baselineOf, closings, compare, readBaseline } from './baseline.js';
import { h, setText } from './dom.js';
import { filterBar } from './filterbar.js';
import { compile, FIELDS } from './filters.js';
import { ago } from './format.js';
import { format, parse, RANGES, VIEWS } from './location.js';
import { repeatedly } from './poll.js';
import { Store } from './store.js';
import { isDark, onTheme, switchTheme } from './theme.js';
import * as dns from './views/dns.js';
import * as latency from './views/latency.js';
import * as listeners from './views/listeners.js';
import * as map from './views/map.js';
import * as overview from './views/overview.js';
import * as processes from './views/processes.js';
import * as status from './views/status.js';
import * as throughput from './views/throughput.js';

const MODULES = { overview, map, throughput, latency, dns, listeners, processes, status };
const BASELINE = 'netsonde.baseline';
const OFTEN = 3000;
/** Milliseconds that an hour of intervals may take. */
const WHOLE = 120_000;
/** Pages of the daemon's history of listeners that are read at most. */
const MOST_PAGES = 20;

const byId = (id) => document.getElementById(id);
const main = byId('main');
const banner = byId('banner');

const store = new Store();
let state = parse(location.hash);
let paused = false;
/** What else is known, as the views are given it. */
const known = {
  answer: null, statusError: '',
  listeners: null, listenersError: '', listenersTruncated: 0,
  processes: null, processesError: '', processesTruncated: 0,
  baseline: readBaseline(localStorage.getItem(BASELINE)), closings: new Map(),
};
let lastAnswer = 0;
let trouble = null;

// ---- where we are

function navigate(patch, replace = false) {
  state = { ...state, ...patch };
  const hash = format(state);
  if (hash !== location.hash) history[replace ? 'replaceState' : 'pushState'](null, '', hash);
  if ('view' in patch) arrive();
  draw();
}

function filter(field, value) {
  const filters = { ...state.filters };
  if (value) filters[field] = value;
  else delete filters[field];
  navigate({ filters });
}

// Of "back" as well as of a link: the state is in the URL.
function follow() {
  const { view } = state;
  state = parse(location.hash);
  if (state.view !== view) arrive();
  draw();
}
addEventListener('popstate', follow);
addEventListener('hashchange', follow);

/** What only one view wants is asked for when that is opened. */
function arrive() {
  if (state.view === 'processes') polls[3].now();
}

document.querySelector('.skip').addEventListener('click', (event) => {
  // What is behind "#" says what is shown.
  event.preventDefault();
  main.focus();
});

// ---- what the views may do

const context = {
  navigate,
  filter,
  redraw: draw,
  saveBaseline() {
    if (!known.listeners) return;
    known.baseline = baselineOf(known.listeners, Date.now());
    known.closings = new Map();
    try {
      localStorage.setItem(BASELINE, JSON.stringify(known.baseline));
    } catch {
      known.listenersError = 'The baseline is too large for this browser to keep: it holds until the page is left.';
    }
    draw();
  },
  forgetBaseline() {
    localStorage.removeItem(BASELINE);
    known.baseline = null;
    draw();
  },
};

const views = new Map();
const viewOf = (name) => {
  if (!views.has(name)) views.set(name, MODULES[name].create(context));
  return views.get(name);
};

// ---- asking

/** Runs a question; what is wrong with an answer is told by `failed`, and the whole page by the banner. */
async function ask(question, failed) {
  try {
    await question();
    lastAnswer = Date.now();
    if (trouble?.kind !== 'refused') trouble = null;
    draw();
    return true;
  } catch (error) {
    if (!error.kind) throw error;
    failed(error);
    if (error.kind === 'unauthorized') askForToken();
    if (error.kind !== 'refused') trouble = error;
    draw();
    return false;
  }
}

const askHistory = () => ask(async () => {
  if (paused) return;
  const answer = await get(`api/v1/history?since=${store.since}`, WHOLE);
  if (!store.ingest(answer)) store.ingest(await get('api/v1/history?since=0', WHOLE));
  trouble = null;
}, (error) => {
  if (error.kind === 'refused') trouble = error;
});

const askStatus = () => ask(async () => {
  known.answer = await get('api/v1/status');
  known.statusError = '';
}, (error) => (known.statusError = error.message));

const askListeners = () => ask(async () => {
  const answer = await get('api/v1/listeners');
  known.listeners = answer.listeners;
  known.listenersTruncated = answer.truncated ?? 0;
  known.listenersError = '';
  if (state.view === 'listeners') await askClosings();
}, (error) => (known.listenersError = error.status === 503 ? 'The daemon has not read what listens yet.' : error.message));

/** When what is gone of the baseline was closed, as far as the daemon keeps a history. */
async function askClosings() {
  if (!known.baseline) return;
  const gone = compare(known.listeners, known.baseline).filter((one) => one.mark === 'gone' && !known.closings.has(one.key));
  if (gone.length === 0) return;
  const changes = [];
  let after = '';
  try {
    for (let page = 0; page < MOST_PAGES; page += 1) {
      const since = new Date(known.baseline.time).toISOString();
      const answer = await get(`api/v1/listeners/history?since=${since}${after && `&after=${encodeURIComponent(after)}`}`);
      changes.push(...answer.changes);
      if (!answer.next) break;
      after = answer.next;
    }
  } catch (error) {
    // Without a history what is gone is marked all the same, without a time.
    if (error.kind !== 'refused') throw error;
  }
  known.closings = closings(changes);
}

const askProcesses = () => {
  if (state.view !== 'processes') return true;
  return ask(async () => {
    const answer = await get('api/v1/processes');
    known.processes = answer.processes;
    known.processesTruncated = answer.truncated ?? 0;
    known.processesError = '';
  }, (error) => (known.processesError = error.message));
};

function askForToken() {
  const dialog = byId('token');
  if (dialog.open) return;
  setText(byId('token-wrong'), hasToken() ? 'That token was not taken.' : '');
  keepToken('');
  dialog.showModal();
}

byId('token').addEventListener('submit', () => {
  const field = byId('token-field');
  if (field.value) keepToken(field.value.trim());
  field.value = '';
  for (const poll of polls) poll.now();
});

// ---- what surrounds the views

const values = () => {
  const sums = Object.fromEntries(FIELDS.map((field) => [field, new Map()]));
  const count = (facets) => {
    for (const field of FIELDS) {
      for (const value of facets?.[field] ?? []) {
        // A program goes by its path; its short name is found in it.
        if (field === 'binary' && !value.startsWith('/')) continue;
        sums[field].set(value, (sums[field].get(value) ?? 0) + 1);
      }
    }
  };
  for (const identity of store.flows.list) count(identity?.facets);
  for (const identity of store.lookups.list) count(identity?.facets);
  return Object.fromEntries(FIELDS.map((field) => [field, [...sums[field]].sort((a, b) => b[1] - a[1]).map(([value]) => value)]));
};

const bar = filterBar({ values, change: filter, clear: () => navigate({ filters: {} }) });
byId('filters').append(bar.element);

const links = new Map([...document.querySelectorAll('nav [data-view]')].map((link) => [link.dataset.view, link]));
for (const [view, link] of links) {
  link.addEventListener('click', (event) => {
    if (event.metaKey || event.ctrlKey || event.shiftKey) return;
    event.preventDefault();
    navigate({ view });
  });
}

const ranges = byId('range');
for (const range of Object.keys(RANGES)) ranges.append(h('button', { type: 'button', 'data-range': range, onclick: () => navigate({ range }) }, range));

const live = byId('live');
live.addEventListener('click', () => {
  paused = !paused;
  if (!paused) polls[0].now();
  draw();
});

const theme = byId('theme');
const nameTheme = () => theme.setAttribute('aria-label', isDark() ? 'Switch to light colours' : 'Switch to dark colours');
theme.addEventListener('click', switchTheme);
onTheme(nameTheme);
nameTheme();

const help = byId('help');
byId('help-open').addEventListener('click', () => help.showModal());

addEventListener('keydown', (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector('dialog[open]')) return;
  const typing = event.target.closest('input, textarea, select');
  if (event.key === 'Escape' && !typing) {
    if (state.view === 'map' && state.centre) navigate({ centre: '' });
    return;
  }
  if (typing) return;
  if (event.key === '/') {
    event.preventDefault();
    bar.focus();
  } else if (event.key === '?') help.showModal();
  else if (event.key === 'p') live.click();
  else if (event.key === 't') switchTheme();
  else if (event.key === 'f' && state.view === 'map') {
    event.preventDefault();
    // A view that was asked for just before is drawn with the next frame.
    requestAnimationFrame(() => byId('map-find')?.focus());
  } else if (/^[1-8]$/.test(event.key)) {
    navigate({ view: VIEWS[Number(event.key) - 1] });
  }
});

// ---- drawing

let waiting = false;
function draw() {
  if (waiting) return;
  waiting = true;
  requestAnimationFrame(() => {
    waiting = false;
    const begin = performance.now();
    drawNow();
    // What the benchmark reads.
    performance.measure('netsonde.draw', { start: begin, end: performance.now() });
  });
}

let cut = { version: -1, range: '', bins: [] };
function bins() {
  if (cut.version !== store.version || cut.range !== state.range) {
    cut = { version: store.version, range: state.range, bins: binsOf(store.frames, RANGES[state.range]) };
  }
  return cut.bins;
}

function drawNow() {
  for (const [view, link] of links) {
    if (view === state.view) link.setAttribute('aria-current', 'page');
    else link.removeAttribute('aria-current');
    link.href = format({ ...state, view, centre: view === 'map' ? state.centre : '' });
  }
  for (const button of ranges.children) button.setAttribute('aria-pressed', String(button.dataset.range === state.range));
  document.title = `${links.get(state.view).dataset.title} – netsonde`;
  bar.update(state.filters);
  drawLive();
  drawBanner();
  drawMarks();
  const needsHistory = !['listeners', 'processes', 'status'].includes(state.view);
  const loading = needsHistory && store.frames.length === 0;
  byId('loading').hidden = !loading || trouble !== null;
  const view = viewOf(state.view);
  if (main.firstElementChild !== view.element) main.replaceChildren(view.element);
  view.element.hidden = loading;
  if (!loading) view.update({ store, state, bins: bins(), accept: compile(state.filters), ...known });
  main.dataset.ready = String(!loading);
}

function drawLive() {
  live.setAttribute('aria-pressed', String(paused));
  const grade = trouble ? 'bad' : paused ? 'paused' : 'good';
  live.dataset.grade = grade;
  const text = trouble ? 'no answer' : paused ? 'paused' : 'live';
  setText(live.lastElementChild, text);
  live.title = lastAnswer ? `Last answer ${ago(lastAnswer, Date.now())}` : 'No answer yet';
}

function drawBanner() {
  const texts = {
    unauthorized: 'This daemon wants a token before it tells anything.',
    unreachable: 'The daemon does not answer. What is shown is as of its last answer; asking goes on.',
    refused: trouble?.status === 503 ? 'The daemon has only just started: its first sweep is not done.' : `The daemon did not answer as expected: ${trouble?.message}`,
  };
  banner.hidden = trouble === null;
  if (trouble) {
    setText(banner.firstElementChild, texts[trouble.kind]);
    byId('banner-token').hidden = trouble.kind !== 'unauthorized';
  }
}
byId('banner-token').addEventListener('click', askForToken);

/** What wants to be seen in other views, beside their links. */
function drawMarks() {
  const differs = known.baseline && known.listeners ? compare(known.listeners, known.baseline).filter((one) => one.mark !== 'same').length : 0;
  const marks = { listeners: differs, status: known.answer && known.answer.grade !== 'ok' ? '!' : 0 };
  for (const [view, mark] of Object.entries(marks)) {
    const badge = links.get(view).querySelector('.mark');
    badge.hidden = !mark;
    setText(badge, String(mark || ''));
  }
}

const interval = () => Math.max(1000, store.interval * 1000);
const polls = [
  repeatedly(askHistory, interval),
  repeatedly(askStatus, () => Math.max(5000, interval())),
  repeatedly(askListeners, () => OFTEN),
  repeatedly(askProcesses, () => OFTEN),
];
draw();
