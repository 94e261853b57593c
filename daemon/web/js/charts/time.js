// A chart over time: lines, or areas stacked upwards and, for what goes the other way, downwards.

import { h, onWidth, s } from '../dom.js';
import { clock } from '../format.js';
import { follow, point, pointing } from './cursor.js';

const d3 = globalThis.d3;
const MARGIN = { left: 64, right: 12, top: 8, bottom: 22 };

/** The colours of series in the order of their size; the style sheet has them for light and dark. */
export const colour = (index) => `var(--series-${(index % 8) + 1})`;
/** Of what is left over. */
export const REST = 'var(--series-rest)';

/** Where each bin ends, and the first begins. */
const timesOf = (bins) => [bins[0].time - bins[0].seconds * 1000, bins.at(-1).time];

/** Ticks that a reader can divide in the head: steps of 1, 2 and 5 times a power of the unit's base. */
function ticksOf(low, high, base, wanted) {
  const step = Math.max((high - low) / wanted, 1e-12);
  const unit = base === 1024 ? 1024 ** Math.max(0, Math.floor(Math.log(step) / Math.log(1024))) : 1;
  const rough = step / unit;
  const power = 10 ** Math.floor(Math.log10(rough));
  const nice = [1, 2, 5, 10].map((factor) => factor * power).find((one) => one >= rough) * unit;
  const ticks = [];
  for (let at = Math.ceil(low / nice) * nice; at <= high * 1.0001; at += nice) ticks.push(Math.abs(at) < nice / 1e6 ? 0 : at);
  return ticks;
}

/** Powers of ten between two values. */
function logTicks(low, high) {
  const ticks = [];
  for (let power = 10 ** Math.floor(Math.log10(low)); power <= high; power *= 10) ticks.push(power);
  return ticks.filter((tick) => tick >= low);
}

/**
 * `kind`: `line`, `area` (stacked) or `bars` (stacked). `base`: 1024 for bytes. `log`: lines by powers of ten. Series: `label`, `values` (one a bin,
 * `null` for none), `colour`, and `down` for what is drawn below the axis.
 */
export function timeChart({ label, format, kind = 'area', height = 190, base = 1000, log = false }) {
  const svg = s('svg', { class: 'chart', role: 'img', tabindex: '0', height: String(height) });
  const tip = h('div', { class: 'tip', hidden: true });
  const key = h('ul', { class: 'legend' });
  const blank = h('div', { class: 'chart-blank', hidden: true }, 'Nothing measured in this time');
  const element = h('figure', { class: 'figure' }, h('div', { class: 'plot' }, svg, tip, blank), key);
  let width = 0;
  let data = { bins: [], series: [] };
  let x = null;
  const marker = s('line', { class: 'marker', y1: MARGIN.top, y2: height - MARGIN.bottom, visibility: 'hidden' });

  onWidth(svg.parentElement, (next) => {
    width = next;
    draw();
  });
  const indexOf = (time) => d3.bisector((bin) => bin.time).left(data.bins, time);
  pointing(svg, {
    at: (px) => (x && px >= MARGIN.left - 4 && px <= width - MARGIN.right + 4 ? Math.min(indexOf(x.invert(px)), data.bins.length - 1) : null),
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
    const lines = data.series
      .map((one) => ({ ...one, value: one.values[index] }))
      .filter((one) => one.value !== null && (one.value !== 0 || data.series.length <= 4))
      .sort((a, b) => (kind === 'line' ? 0 : b.value - a.value))
      .slice(0, 10)
      .map((one) => h('li', {}, h('i', { style: { background: one.colour } }), h('span', {}, one.label), h('b', {}, format(one.value))));
    tip.replaceChildren(h('time', {}, clock(data.bins[index].time)), h('ul', {}, lines));
    tip.hidden = false;
    const at = x(data.bins[index].time);
    const right = at > width * 0.6;
    tip.style.setProperty('left', right ? 'auto' : `${at + 10}px`);
    tip.style.setProperty('right', right ? `${width - at + 10}px` : 'auto');
  }

  function draw() {
    const { bins, series } = data;
    const has = bins.length > 0 && series.some((one) => one.values.some((value) => value));
    blank.hidden = has;
    svg.setAttribute('aria-label', summary());
    if (width === 0) return;
    svg.setAttribute('width', width);
    if (!has) {
      svg.replaceChildren();
      x = null;
      return;
    }
    x = d3.scaleLinear(timesOf(bins), [MARGIN.left, width - MARGIN.right]);
    const { shapes, low, high } = stack(series, bins.length);
    const up = [height - MARGIN.bottom, MARGIN.top];
    const y = log ? d3.scaleLog([low / 1.5, high * 1.5], up).clamp(true) : d3.scaleLinear([low, high * 1.05 || 1], up);
    const parts = [];
    for (const tick of log ? logTicks(...y.domain()) : ticksOf(...y.domain(), base, height > 150 ? 5 : 3)) {
      parts.push(s('line', { class: tick === 0 ? 'axis' : 'grid', x1: MARGIN.left, x2: width - MARGIN.right, y1: y(tick), y2: y(tick) }));
      parts.push(s('text', { class: 'tick', x: MARGIN.left - 8, y: y(tick), dy: '0.32em', 'text-anchor': 'end' }, format(Math.abs(tick))));
    }
    parts.push(...timeTicks(x, width, height - MARGIN.bottom));
    shapes.forEach((shape, at) => parts.push(...drawShape(shape, series[at], bins, y)));
    svg.replaceChildren(...parts, marker);
  }

  /** From where to where each value reaches. */
  function stack(series, length) {
    if (kind === 'line') {
      const all = series.flatMap((one) => [...one.values]).filter((value) => Number.isFinite(value));
      const low = log ? (d3.min(all.filter((value) => value > 0)) ?? 1e-3) : 0;
      return { shapes: series.map((one) => [...one.values].map((value) => [low, value])), low, high: d3.max(all) ?? (log ? 1 : 0) };
    }
    const up = new Float64Array(length);
    const down = new Float64Array(length);
    const shapes = series.map((one) => [...one.values].map((value, at) => {
      const sum = one.down ? down : up;
      const from = sum[at];
      sum[at] += one.down ? -value : value;
      return [from, sum[at]];
    }));
    return { shapes, low: Math.min(0, d3.min(down) ?? 0) * 1.05, high: d3.max(up) ?? 0 };
  }

  function drawShape(shape, { colour: paint }, bins, y) {
    const middle = (at) => x(bins[at].time);
    if (kind === 'bars') {
      const each = Math.max(1, (x(bins.at(-1).time) - x(timesOf(bins)[0])) / bins.length - 1);
      return shape.flatMap(([from, to], at) =>
        from === to ? [] : [s('rect', { x: middle(at) - each, width: each, y: y(Math.max(from, to)), height: Math.max(1, Math.abs(y(from) - y(to))), style: { fill: paint } })],
      );
    }
    const finite = (pair) => pair[1] !== null && Number.isFinite(pair[1]);
    const line = d3.line().defined(finite).x((_, at) => middle(at)).y((pair) => y(pair[1])).curve(log ? d3.curveStepBefore : d3.curveMonotoneX);
    const stroke = s('path', { class: 'line', d: line(shape), style: { stroke: paint } });
    // One lone point is no line.
    const single = shape.filter(finite).length === 1 ? shape.findIndex(finite) : -1;
    const dot = single >= 0 ? [s('circle', { cx: middle(single), cy: y(shape[single][1]), r: 2.5, style: { fill: paint } })] : [];
    if (kind === 'line') return [stroke, ...dot];
    const area = d3.area().x((_, at) => middle(at)).y0((pair) => y(pair[0])).y1((pair) => y(pair[1])).curve(d3.curveMonotoneX);
    return [s('path', { class: 'area', d: area(shape), style: { fill: paint } }), stroke, ...dot];
  }

  function summary() {
    const last = data.series.map((one) => `${one.label} ${format(one.values.at(-1) ?? 0)}`);
    return `${label}. Now: ${last.slice(0, 6).join(', ') || 'nothing'}. Arrow keys walk through time.`;
  }

  return {
    element,
    update(next) {
      data = next;
      draw();
      key.replaceChildren(...data.series.map((one) => h('li', { title: one.hint }, h('i', { style: { background: one.colour } }), h('span', {}, one.label), h('b', {}, one.note ?? format(one.values.at(-1) ?? 0)))));
    },
  };
}

/** Times under a chart, where the reader's clock is even. */
export function timeTicks(x, width, bottom) {
  const [from, to] = x.domain();
  const scale = d3.scaleTime([new Date(from), new Date(to)], x.range());
  const most = Math.max(2, Math.floor(width / 110));
  return scale.ticks(most).flatMap((time) => {
    const at = scale(time);
    if (at < MARGIN.left + 12 || at > width - 24) return [];
    const seconds = to - from < most * 60_000;
    const text = seconds ? clock(time.getTime()) : clock(time.getTime()).slice(0, 5);
    return [
      s('line', { class: 'grid', x1: at, x2: at, y1: bottom, y2: bottom + 4 }),
      s('text', { class: 'tick', x: at, y: bottom + 16, 'text-anchor': 'middle' }, text),
    ];
  });
}

/** A line of a few pixels, without axes. */
export function sparkline() {
  const path = s('path', { class: 'line' });
  const area = s('path', { class: 'area' });
  const element = s('svg', { class: 'spark', viewBox: '0 0 100 28', preserveAspectRatio: 'none', 'aria-hidden': 'true' }, area, path);
  return {
    element,
    update(values, paint) {
      const high = d3.max(values) || 1;
      const x = (_, at) => (values.length > 1 ? (at / (values.length - 1)) * 100 : 0);
      const y = (value) => 26 - ((value ?? 0) / high) * 22;
      path.setAttribute('d', values.length > 1 ? d3.line(x, y)(values) : '');
      area.setAttribute('d', values.length > 1 ? d3.area(x, 28, y)(values) : '');
      for (const part of [path, area]) part.style.setProperty(part === path ? 'stroke' : 'fill', paint);
    },
  };
}
