// Pictures of each view, for the README. Arguments: { origin, directory, centre }.

import { join } from 'node:path';
import { ask, given, run, tell, until } from './dialogue.mjs';
import { listen, open } from './browser.mjs';

const VIEWS = {
  map: '#/map?range=5m', neighbourhood: '#/map?range=5m&centre=CENTRE', throughput: '#/throughput?range=5m', latency: '#/latency?range=5m',
  dns: '#/dns?range=5m', listeners: '#/listeners', processes: '#/processes', status: '#/status',
};

run(async () => {
  const { origin, directory, centre } = given();
  const { page, close } = await open({ viewport: { width: 1440, height: 900 } });
  const ear = listen(page, origin);
  const shoot = async (name, hash, settle = 900) => {
    await page.goto(`${origin}/${hash}`);
    await page.waitForSelector('#main[data-ready="true"]');
    if (name === 'processes') await page.waitForSelector('table[role="treegrid"] tbody tr');
    await page.mouse.move(1430, 890);
    await page.waitForTimeout(settle);
    await page.screenshot({ path: join(directory, `${name}.png`) });
  };
  await page.goto(`${origin}/#/listeners`);
  await page.waitForSelector('table[aria-label="Listeners"] tbody tr');
  await page.click('button:has-text("Save as baseline")');
  // Traffic is made until there is something to see, and one listener more.
  await ask({ step: 'baseline' });
  await until('the new listener', async () => (await page.locator('tr.mark-new').count()) > 0);
  for (const scheme of ['dark', 'light']) {
    await page.emulateMedia({ colorScheme: scheme });
    await shoot(`overview-${scheme}`, '#/overview?range=5m', 1500);
  }
  for (const [name, hash] of Object.entries(VIEWS)) await shoot(name, hash.replace('CENTRE', encodeURIComponent(centre)));
  tell({ step: 'done', problems: ear.problems() });
  await close();
});
