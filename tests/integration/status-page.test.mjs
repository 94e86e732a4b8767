// The status page in a real browser: as wide as a desk's and as narrow as a phone's, by day and by night, with everything wrong that
// can be and on its first day. RS1_SCREENSHOTS=directory keeps what was seen.

import assert from 'node:assert/strict';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { fillStatus } from './fixtures/status.mjs';
import { startBrowser } from './support/browser.mjs';
import { startHarness } from './support/harness.mjs';

const AXE = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
const WINDOWS = [
  { name: 'wide', width: 1280, height: 900 },
  { name: 'phone', width: 375, height: 812 },
];
const KEEP = process.env.RS1_SCREENSHOTS;

let browser;
before(async () => (browser = await startBrowser()));
after(() => browser?.stop());

for (const [state, fill] of [['in every state', fillStatus], ['on its first day', async () => {}]]) {
  describe(`a system ${state}`, () => {
    let cloud;
    let url;
    before(async () => {
      cloud = await startHarness({ only: ['health', 'status'] });
      await fill(cloud);
      url = `http://status.localhost:${cloud.ports.http}/`;
    });
    after(() => cloud?.stop());

    for (const { name, ...size } of WINDOWS) {
      for (const scheme of ['light', 'dark']) {
        test(`${name}, ${scheme}`, async () => {
          const page = await browser.open(url, { ...size, scheme });
          assert.equal(await page.evaluate('document.title.startsWith("RS-1 status")'), true);
          const widest = await page.evaluate('document.documentElement.scrollWidth');
          assert.ok(widest <= size.width, `it is ${widest} wide in a window of ${size.width}`);
          const ground = await page.evaluate('getComputedStyle(document.body).backgroundColor');
          const [red] = ground.match(/\d+/g).map(Number);
          assert.equal(red < 128, scheme === 'dark', `its ground is ${ground}`);
          if (KEEP) {
            mkdirSync(KEEP, { recursive: true });
            writeFileSync(join(KEEP, `${state.replaceAll(' ', '-')}-${name}-${scheme}.png`), await page.screenshot());
          }
          await page.evaluate(AXE);
          await page.evaluate('document.querySelectorAll("details").forEach((each) => (each.open = true))');
          const found = await page.evaluate(`axe.run(document, { resultTypes: ['violations', 'incomplete'] }).then(({ violations, incomplete, passes }) => ({
            rules: passes.length,
            faults: [...violations, ...incomplete].map(({ id, impact, nodes }) => id + ' (' + impact + '): ' + nodes.map(({ html }) => html).join(' ')),
          }))`);
          assert.deepEqual(found.faults, []);
          assert.ok(found.rules > 10, 'axe looked at it');
          assert.deepEqual(page.errors, []);
          assert.deepEqual([...new Set(page.requests)].filter((each) => !each.startsWith('data:')), [url], 'nothing from elsewhere');
          await page.close();
        });
      }
    }

    test('it is the same without scripts', async () => {
      const window = { width: 375, height: 812, scheme: 'light' };
      const page = await browser.open(url, { ...window, scripts: false });
      const silent = await browser.open(url, window);
      const [one, other] = [await page.screenshot(), await silent.screenshot()];
      assert.ok(one.equals(other), 'the pictures differ');
      assert.equal(await silent.evaluate('document.scripts.length'), 0);
      await page.close();
      await silent.close();
    });
  });
}
