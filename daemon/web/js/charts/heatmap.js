// A heat map of histograms: time from left to right, buckets from fast to slow, the more observations the stronger.

import { h, onWidth, s } from '../dom.js';
import { clock, count, duration } from '../format.js';
import { edges, occupied, quantile } from '../quantiles.js';
import { isDark, onTheme } from '../theme.js';
import { follow, point, pointing } from './cursor.js';
import { timeTicks } from './time.js';

const d3 = globalThis.d3;
const MARGIN = { left: 64, right: 12, top: 6, bottom: 22 };

/** Few are pale on a light page and dark on a dark one; the scale is one for all sights of colour. */
const paint = (share) => (isDark() ? d3.interpolateViridis(0.12 + 0.88 * share) : d3.interpolateYlGnBu(0.12 + 0.88 * share));

/** `label` says what is observed. */
export function heatmap({ label, height = 220 }) {
  const canvas = h('canvas', { 'aria-hidden': 'true' });
  const svg = s('svg', { class: 'chart over', role: 'img', tabindex: '0', height: String(height) });
  const tip = h('div', { class: 'tip', hidden: true });
  const blank = h('div', { class: 'chart-blank', hidden: true }, 'No samples in this time');
  const scale = h('div', { class: 'scale', 'aria-hidden': 'true' });
  const element = h('figure', { class: 'figure' }, h('div', { class: 'plot' }, canvas, svg, tip, blank), scale);
  const marker = s('line', { class: 'marker', y1: MARGIN.top, y2: height - MARGIN.bottom, visibility: 'hidden' });
  let width = 0;
  let data = { bins: [], histograms: [], bounds: [] };
  let x = null;

  onWidth(svg.parentElement, (next) => {
    width = next;
    draw();
  });
  onTheme(draw);
  pointing(svg, {
    at: (px) => {
      if (!x || px < MARGIN.left || px > width - MARGIN.right) return null;
      return Math.min(d3.bisector((bin) => bin.time).left(data.bins, x.invert(px)), data.bins.length - 1);
    },
    count: () => (x ? data.bins.length : 0),
    show: (index) => {
      point(data.bins[index].time);
      describe(index);
    },
    hide: () => {
      point(null);
      tip.hidden = true;
    },
  });
  follow((time) => {
    const inside = x && time !== null && time >= x.domain()[0] && time <= x.domain()[1];
    marker.setAttribute('visibility', inside ? 'visible' : 'hidden');
    if (inside) for (const end of ['x1', 'x2']) marker.setAttribute(end, x(time));
  });

  function describe(index) {
    const counts = data.histograms[index];
    const lines = [];
    for (let bucket = counts.length - 1; bucket >= 0; bucket -= 1) {
      if (counts[bucket] > 0) {
        const { low, high } = edges(bucket, data.bounds);
        const range = high === Infinity ? `over ${duration(low)}` : `${duration(low)} – ${duration(high)}`;
        lines.push(h('li', {}, h('span', {}, range), h('b', {}, count(counts[bucket]))));
      }
    }
    tip.replaceChildren(h('time', {}, clock(data.bins[index].time)), h('ul', {}, lines.length > 0 ? lines.slice(0, 14) : h('li', {}, 'no samples')));
    tip.hidden = false;
    const at = x(data.bins[index].time);
    const right = at > width * 0.6;
    tip.style.setProperty('left', right ? 'auto' : `${at + 10}px`);
    tip.style.setProperty('right', right ? `${width - at + 10}px` : 'auto');
  }

  function draw() {
    const { bins, histograms, bounds } = data;
    const range = bins.length > 0 ? occupied(histograms, bounds.length + 1) : null;
    blank.hidden = range !== null;
    svg.setAttribute('aria-label', summary());
    if (width === 0) return;
    svg.setAttribute('width', width);
    const ratio = globalThis.devicePixelRatio || 1;
    canvas.width = width * ratio;
    canvas.height = height * ratio;
    canvas.style.setProperty('width', `${width}px`);
    canvas.style.setProperty('height', `${height}px`);
    scale.hidden = range === null;
    if (range === null) {
      svg.replaceChildren();
      x = null;
      return;
    }
    x = d3.scaleLinear([bins[0].time - bins[0].seconds * 1000, bins.at(-1).time], [MARGIN.left, width - MARGIN.right]);
    const rows = range.high - range.low + 1;
    const each = (height - MARGIN.top - MARGIN.bottom) / rows;
    const top = (bucket) => MARGIN.top + (range.high - bucket) * each;
    const most = d3.max(histograms, (counts) => d3.max(counts));
    const context = canvas.getContext('2d');
    context.scale(ratio, ratio);
    bins.forEach((bin, at) => {
      const from = x(bin.time - bin.seconds * 1000);
      const cell = Math.max(1, x(bin.time) - from);
      for (let bucket = range.low; bucket <= range.high; bucket += 1) {
        const observed = histograms[at][bucket];
        if (observed === 0) continue;
        // By the root: one slow sample among thousands shall be seen.
        context.fillStyle = paint(Math.sqrt(observed / most));
        context.fillRect(from, top(bucket), cell + (cell > 4 ? -0.6 : 0.4), each - (each > 6 ? 0.8 : 0));
      }
    });
    const every = Math.max(1, Math.ceil(16 / each));
    const parts = [];
    for (let bucket = range.low; bucket <= range.high; bucket += 1) {
      if ((bucket - range.low) % every === 0 && bucket < bounds.length) {
        parts.push(s('text', { class: 'tick', x: MARGIN.left - 8, y: top(bucket), dy: '0.32em', 'text-anchor': 'end' }, duration(bounds[bucket])));
        parts.push(s('line', { class: 'grid faint', x1: MARGIN.left, x2: width - MARGIN.right, y1: top(bucket), y2: top(bucket) }));
      }
    }
    parts.push(s('line', { class: 'axis', x1: MARGIN.left, x2: width - MARGIN.right, y1: height - MARGIN.bottom, y2: height - MARGIN.bottom }));
    svg.replaceChildren(...parts, ...timeTicks(x, width, height - MARGIN.bottom), marker);
    const steps = d3.range(0, 1.01, 0.1).map((share) => h('i', { style: { background: paint(share) } }));
    scale.replaceChildren('1', ...steps, `${count(most)} samples`);
  }

  function summary() {
    const all = data.histograms.reduce((sum, counts) => sum.map((one, at) => one + counts[at]), new Array(data.bounds.length + 1).fill(0));
    const text = (share) => duration(quantile(all, data.bounds, share));
    return `${label}. Half within ${text(0.5)}, 95 of 100 within ${text(0.95)}. Arrow keys walk through time.`;
  }

  return {
    element,
    update(next) {
      data = next;
      draw();
    },
  };
}
