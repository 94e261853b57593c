// Drives the page on live traffic, which whoever started this makes when asked. Arguments: { origin, slow, lossy, server,
// port }: names of programs, and the port of one that listens.

import assert from 'node:assert/strict';
import { ask, given, run, tell, until } from './dialogue.mjs';
import { listen, open } from './browser.mjs';

/** Seconds of a text such as "32.8 ms". */
function seconds(text) {
  const [, number, unit] = /^([\d.]+)\s*(µs|ms|s)$/.exec(text.replace('\u202f', ' ').trim()) ?? [];
  return number === undefined ? null : Number(number) * { µs: 1e-6, ms: 1e-3, s: 1 }[unit];
}

run(async () => {
  const { origin, slow, lossy, server, port } = given();
  const { page, context, close } = await open();
  const ear = listen(page, origin);
  const rows = async (label) => page.$$eval(`table[aria-label="${label}"] tbody tr`, (found) => found.map((row) => [...row.cells].map((cell) => cell.textContent.trim())));
  const filter = async (text) => {
    await page.keyboard.press('/');
    await page.keyboard.type(text);
    await page.keyboard.press('Enter');
  };
  const clear = async () => page.evaluate(() => { location.hash = '#/overview'; });

  await page.goto(origin);
  await page.waitForSelector('#main[data-ready="true"]');
  await ask({ step: 'loaded' });

  // The test's own program is found in the map by its name, and centred by Enter.
  await page.keyboard.press('2');
  await page.waitForSelector('#map-find');
  await page.keyboard.press('f');
  await page.waitForSelector('#map-find:focus');
  await page.keyboard.type(slow);
  await page.waitForSelector(`.results button:has-text("${slow}")`);
  await page.keyboard.press('Enter');
  await page.waitForSelector('.map .centre');
  assert.match(await page.locator('.map .centre').getAttribute('data-node'), new RegExp(`/${slow}$`));
  const neighbours = await until('the server beside it', async () => {
    const all = await page.$$eval('.map [data-node]', (nodes) => nodes.map((node) => node.dataset.node));
    return all.some((id) => id.endsWith(`/${server}`)) && all;
  });
  assert.ok(!neighbours.some((id) => id.endsWith(`/${lossy}`)), `two steps away: ${neighbours}`);
  await page.click('button[aria-label="More hops"]');
  await page.waitForSelector(`.map [data-node$="/${lossy}"]`);
  // By the keyboard to the server, which is right of its client, and back to the whole map.
  await page.focus('.map .centre');
  await page.keyboard.press('ArrowRight');
  await page.keyboard.press('Enter');
  await page.waitForSelector(`.map .centre[data-node$="/${server}"]`);
  await page.keyboard.press('Escape');
  await page.waitForSelector('.map:not(:has(.centre))');

  // Filtered by name, in all views; a link shows the same.
  await filter(`binary:${slow}`);
  await page.waitForSelector(`.chips li[data-field="binary"]`);
  await page.keyboard.press('3');
  const only = (list) => list.length > 0 && list.every(([name]) => name === slow) && list;
  await until('only that program', async () => only(await rows('Throughput')));
  const link = page.url();
  assert.match(link, /binary=/);
  const other = await context.newPage();
  const otherEar = listen(other, origin);
  await other.goto(link);
  await other.waitForSelector('table[aria-label="Throughput"] tbody tr');
  const names = await other.$$eval('table[aria-label="Throughput"] tbody tr', (found) => found.map((row) => row.cells[0].textContent.trim()));
  assert.deepEqual(names, [slow]);
  await other.close();

  // The forced latency.
  await page.keyboard.press('4');
  const latency = await until('a slow round trip', async () => {
    const [row] = only(await rows('Latency by program')) || [];
    return row && seconds(row[5]) >= 0.02 && { p50: seconds(row[3]), p95: seconds(row[4]), p99: seconds(row[5]) };
  });

  // The forced retransmits: as many as whoever started this has counted, to the segment.
  const { segments } = await ask({ step: 'latency', ...latency });
  await clear();
  await filter(`binary:${lossy}`);
  const note = page.locator('.tile:has-text("Retransmitted") .note');
  const wanted = `${segments} segments`;
  let shown = '';
  await until('the retransmits', async () => {
    shown = await note.textContent();
    return shown === wanted;
  }).catch((error) => { throw new Error(`${shown} instead of ${wanted}: ${error.message}`); });
  assert.ok(segments > 0);

  // The listener that the test opened, and what comes and goes after a baseline.
  await clear();
  await page.keyboard.press('6');
  await filter(`port:${port}`);
  const found = await until('the listener', async () => (await rows('Listeners')).find((cells) => cells[2].endsWith(`:${port}`)));
  assert.equal(found[4], server);
  await page.keyboard.press('/');
  await page.keyboard.press('Backspace');
  await page.keyboard.press('Escape');
  await page.keyboard.press('Escape');
  await page.click('button:has-text("Save as baseline")');
  const second = await ask({ step: 'baseline' });
  await page.waitForSelector(`tr.mark-new:has-text(":${second.port}")`);
  await page.reload();
  await page.waitForSelector(`tr.mark-new:has-text(":${second.port}")`);
  await page.click('button:has-text("Save a new baseline")');
  await page.waitForSelector(`tr.mark-same:has-text(":${second.port}")`);
  await ask({ step: 'new' });
  const gone = page.locator(`tr.mark-gone:has-text(":${second.port}")`);
  await gone.waitFor();
  await until('when it closed', async () => /closed .*(ago|just now)/.test(await gone.innerText()));

  // Its process, below its parents.
  await page.keyboard.press('7');
  await filter(`binary:${server}`);
  const tree = page.locator('table[role="treegrid"] tbody tr');
  await until('the process', async () => (await tree.allInnerTexts()).some((text) => text.includes(server)));
  assert.ok((await tree.count()) > 1, 'its parents are above it');

  await page.keyboard.press('8');
  await page.waitForSelector('table[aria-label="Findings"] tr');
  const before = await page.getAttribute('html', 'data-theme');
  await page.keyboard.press('t');
  assert.notEqual(await page.getAttribute('html', 'data-theme'), before);
  for (const key of '12345678') {
    await page.keyboard.press(key);
    await page.waitForTimeout(150);
  }

  tell({ step: 'done', problems: [...ear.problems(), ...otherEar.problems()], asked: ear.asked() });
  await close();
});
