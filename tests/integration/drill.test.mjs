// The runbook's recoveries that need nothing but the workers; `npm run drill` makes all of them.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SCENES, drillRecovery } from '../drill/recovery.mjs';

/** The recovery table's objectives are minutes and hours; a machine that does its part in this has them in hand. */
const WITHIN_SECONDS = 120;

for (const scene of SCENES.filter(({ programs }) => !programs)) {
  test(`recovered: ${scene.row}`, async () => {
    const [{ fault, seconds, steps }] = await drillRecovery([scene]);
    assert.equal(fault, undefined, fault);
    assert.ok(steps.length > 0 && seconds < WITHIN_SECONDS, `${seconds} s`);
  });
}
