// A daemon that wants a token, and one that goes away. Arguments: { origin, token }.

import assert from 'node:assert/strict';
import { ask, given, run, tell, until } from './dialogue.mjs';
import { listen, open } from './browser.mjs';

run(async () => {
  const { origin, token } = given();
  const { page, context, close } = await open();
  const ear = listen(page, origin, [401]);
  await page.goto(origin);
  await page.waitForSelector('dialog#token[open]');
  await page.fill('#token-field', 'not the token');
  await page.keyboard.press('Enter');
  await page.waitForSelector('#token-wrong:has-text("not taken")');
  assert.equal(await page.evaluate(() => sessionStorage.length), 0, 'a wrong token is not kept');
  await page.fill('#token-field', token);
  await page.keyboard.press('Enter');
  await page.waitForSelector('#main[data-ready="true"]');
  await page.waitForSelector('#banner', { state: 'hidden' });
  assert.ok(!page.url().includes(token));
  await page.reload();
  await page.waitForSelector('#main[data-ready="true"]');
  assert.equal(await page.locator('dialog[open]').count(), 0, 'this tab has it');
  const other = await context.newPage();
  await other.goto(origin);
  await other.waitForSelector('dialog#token[open]');
  await other.close();
  const problems = [...ear.problems()];
  await ask({ step: 'in' });
  await page.waitForSelector('#banner:has-text("does not answer")');
  await until('told beside the clock as well', async () => (await page.textContent('#live')).includes('no answer'));
  tell({ step: 'done', problems });
  await close();
});
