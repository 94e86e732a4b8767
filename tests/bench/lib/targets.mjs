// What is asked for, and whether it is so.

import { BUDGET_BYTES } from '../../../tools/build.mjs';

/** Requests a second, as a multiple of another system's in the same round. */
export const SPEED = [
  { route: 'admission', than: 'peer', least: 1.1 },
  { route: 'acl', than: 'peer', least: 1.1 },
  { route: 'state', than: 'peer', least: 1.1 },
  { route: 'telemetry', than: 'peer', least: 5 },
  { route: 'acl', than: 'ceiling', least: 0.8 },
  { route: 'devices', than: 'peer', least: 1 },
  { route: 'device', than: 'peer', least: 1 },
  { route: 'zones', than: 'peer', least: 1 },
];

/** Messages a second by the webhook until they are archived and counted, as a multiple of the peer's. */
export const SETTLED = 5;

/** Messages a second by the object until they are archived and counted, as a multiple of the peer's in the same run. */
export const COLLECTED = 50;

/** D1 rows written a device-hour, at most. */
export const ROWS = 4;

/** MB/s of downloads, as a multiple of a plain worker's in the same round. */
export const DOWNLOAD = 0.9;

/** D1 statements, at most. */
export const STATEMENTS = {
  admission: 1,
  acl: 0,
  telemetry: 0,
  'batch of 1': 2,
  'batch of 10': 2,
  'batch of 100': 2,
};

/** D1 statements of a round of checks, however many there are. */
export const ROUND = 40;

/** An invocation may wait for so many answers at once; what is above waits in the runtime, its time running. */
export const CONNECTIONS = 6;

/** Of a bundle, gzip. */
export const BUNDLE = BUDGET_BYTES;
