// Talks with whoever started the script: a line of JSON each way, so that traffic can be made at the right moment.

import { createInterface } from 'node:readline';

const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();

/** Tells what was reached. */
export const tell = (facts) => process.stdout.write(`${JSON.stringify(facts)}\n`);

/** Tells, and waits for the answer. */
export async function ask(facts) {
  tell(facts);
  const { value, done } = await lines.next();
  if (done) throw new Error('nobody answers any more');
  return JSON.parse(value);
}

/** What the script was started with. */
export const given = () => JSON.parse(process.argv[2]);

/** Looks again and again until `look` gives something, and says what was seen last when it does not. */
export async function until(what, look, limit = 30_000) {
  const end = Date.now() + limit;
  let last;
  while (Date.now() < end) {
    last = await look();
    if (last) return last;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  throw new Error(`not within ${limit} ms: ${what}`);
}

/** Runs a script: what it throws ends it, with its text on standard error, and the browser with it. */
export async function run(script) {
  try {
    await script();
  } catch (error) {
    console.error(error);
    process.exit(1);
  }
  process.stdin.destroy();
}
