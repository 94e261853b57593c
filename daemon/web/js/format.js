// Numbers, times and names as people read them.

const NARROW = '\u202f';

const scaled = (value, steps, base) => {
  let step = 0;
  let rest = Math.abs(value);
  while (rest >= base * 0.9995 && step < steps.length - 1) {
    rest /= base;
    step += 1;
  }
  return { rest: Math.sign(value) * rest, step };
};

const digits = (value) => {
  const size = Math.abs(value);
  if (size === 0) return '0';
  if (size >= 100) return value.toFixed(0);
  if (size >= 10) return value.toFixed(1).replace(/\.0$/, '');
  return value.toFixed(2).replace(/\.?0+$/, '');
};

/** Bytes in binary units. */
export function bytes(value) {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'];
  const { rest, step } = scaled(value, units, 1024);
  return `${digits(rest)}${NARROW}${units[step]}`;
}

/** Bytes a second. */
export const byteRate = (value) => `${bytes(value)}/s`;

/** Things, shortened from ten thousand on. */
export function count(value) {
  if (Math.abs(value) < 10_000) return digits(value);
  const units = ['', 'k', 'M', 'G', 'T'];
  const { rest, step } = scaled(value, units, 1000);
  return `${digits(rest)}${NARROW}${units[step]}`;
}

/** Things a second. */
export const countRate = (value) => `${count(value)}/s`;

/** Seconds, from microseconds to days. */
export function duration(seconds) {
  if (seconds === null || seconds === undefined || Number.isNaN(seconds)) return '–';
  if (seconds === Infinity) return '∞';
  if (seconds === 0) return `0${NARROW}s`;
  if (seconds < 0.9995e-3) return `${digits(seconds * 1e6)}${NARROW}µs`;
  if (seconds < 0.9995) return `${digits(seconds * 1e3)}${NARROW}ms`;
  if (seconds < 120) return `${digits(seconds)}${NARROW}s`;
  if (seconds < 7200) return `${Math.floor(seconds / 60)}${NARROW}min`;
  if (seconds < 172_800) return `${digits(Math.floor(seconds / 360) / 10)}${NARROW}h`;
  return `${Math.floor(seconds / 86_400)}${NARROW}d`;
}

/** A share of one. */
export function percent(share) {
  if (!Number.isFinite(share)) return '–';
  const value = share * 100;
  if (value > 0 && value < 0.01) return `<0.01${NARROW}%`;
  return `${digits(value)}${NARROW}%`;
}

/** A time of day where the reader is. */
export function clock(milliseconds) {
  const time = new Date(milliseconds);
  const two = (number) => String(number).padStart(2, '0');
  return `${two(time.getHours())}:${two(time.getMinutes())}:${two(time.getSeconds())}`;
}

/** Date and time where the reader is, for what may be days ago. */
export function moment(milliseconds) {
  const time = new Date(milliseconds);
  const two = (number) => String(number).padStart(2, '0');
  return `${time.getFullYear()}-${two(time.getMonth() + 1)}-${two(time.getDate())} ${clock(milliseconds)}`;
}

/** How long ago something was. */
export const ago = (then, now) => (now - then < 1500 ? 'just now' : `${duration((now - then) / 1000)} ago`);

/** The last part of a path. */
export const baseName = (path) => path.slice(path.lastIndexOf('/') + 1) || path;

/** An identifier of a container, as its tools shorten it. */
export const shortId = (id) => (/^[0-9a-f]{32,}$/.test(id) ? id.slice(0, 12) : id);

/** An address and a port, as one writes them. */
export function endpoint(address, port) {
  const host = address.includes(':') ? `[${address}]` : address;
  return port === undefined ? address : `${host}:${port}`;
}
