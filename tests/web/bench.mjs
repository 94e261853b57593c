// How the page copes with many flows. Arguments: { origin, flows, filter, rounds }; prints milliseconds.

import { given, run, tell, until } from './dialogue.mjs';
import { listen, open } from './browser.mjs';

const VIEWS = ['overview', 'map', 'throughput', 'latency'];

run(async () => {
  const { origin, flows, filter, rounds } = given();
  const { page, close } = await open();
  const ear = listen(page, origin);
  const ready = () => page.waitForFunction(() => document.querySelector('#main')?.dataset.ready === 'true' && performance.now(), null, { polling: 'raf', timeout: 60_000 });
  await page.goto(origin);
  await ready();
  let seen = {};
  await until('all flows', async () => {
    seen = await page.evaluate(async () => {
      const answer = await (await fetch('api/v1/history?since=0')).json();
      return { frames: answer.frames.length, flows: answer.frames.at(-1)?.flows.length };
    });
    await page.waitForTimeout(1000);
    return seen.frames > 20 && seen.flows >= flows;
  }, 90_000).catch((error) => { throw new Error(`${JSON.stringify(seen)}: ${error.message}`); });

  const paint = [];
  const data = [];
  for (let round = 0; round < rounds; round += 1) {
    await page.goto('about:blank');
    await page.goto(origin);
    data.push(await (await ready()).jsonValue());
    paint.push(await page.evaluate(() => performance.getEntriesByName('first-contentful-paint')[0].startTime));
  }

  // From the key to the frame after the one that the answer is drawn in.
  const response = {};
  await page.evaluate(() => {
    globalThis.responses = [];
    addEventListener('keydown', (event) => {
      if (event.key !== 'Enter') return;
      requestAnimationFrame(() => requestAnimationFrame(() => globalThis.responses.push(performance.now() - event.timeStamp)));
    }, true);
  });
  for (const view of VIEWS) {
    response[view] = [];
    for (let round = 0; round < rounds; round += 1) {
      await page.evaluate((to) => { location.hash = `#/${to}`; globalThis.responses.length = 0; }, view);
      await page.waitForTimeout(400);
      await page.keyboard.press('/');
      await page.keyboard.type(filter);
      await page.keyboard.press('Enter');
      await page.waitForFunction(() => globalThis.responses.length > 0);
      response[view].push(await page.evaluate(() => globalThis.responses[0]));
    }
  }
  const heap = await page.evaluate(() => performance.memory.usedJSHeapSize);
  tell({ problems: ear.problems(), paint, data, response, heap });
  await close();
});
