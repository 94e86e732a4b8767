// What the counts of usage.mjs cost in a month of thirty days, at the published prices.

/**
 * US dollars on the Workers Paid plan, above what is included in a month. Cloudflare's documentation, read in November 2026:
 * developers.cloudflare.com/workers/platform/pricing, …/d1/platform/pricing, …/r2/pricing, …/queues/platform/pricing.
 */
export const PRICES = {
  requests: { each: 0.3 / 1e6, included: 10e6 },
  cpu: { each: 0.02 / 1e6, included: 30e6 }, // milliseconds
  queue: { each: 0.4 / 1e6, included: 1e6 }, // operations of 64 KB
  rowsRead: { each: 0.001 / 1e6, included: 25e9 },
  rowsWritten: { each: 1 / 1e6, included: 50e6 },
  database: { each: 0.75 / 1e9, included: 5e9 }, // byte-months
  classA: { each: 4.5 / 1e6, included: 1e6 },
  classB: { each: 0.36 / 1e6, included: 10e6 },
  archive: { each: 0.015 / 1e9, included: 10e9 }, // byte-months
};

const HOURS = 30 * 24;
const MESSAGES_A_HOUR = 60;
/** The raw archive is kept for a year: wrangler/r2. */
const ARCHIVE_DAYS = 365;
/** A message is written, read and deleted. */
const QUEUE_OPERATIONS = 3;
/** Bytes of a device's thirty days in D1, as shared/store/tests/it/capacity.rs measures them. */
export const DATABASE_BYTES = 30 * 21_300;
/** Devices that share a database, and so a clock that looks after their hours. */
const A_DATABASE = 10_000;

/**
 * @param {import('./usage.mjs').Usage} usage of a door
 * @param {number} devices
 * @returns {{ amounts: Record<keyof typeof PRICES, number>, dollars: Record<keyof typeof PRICES, number>, sum: number }}
 */
export function monthly(usage, devices) {
  const hours = devices * HOURS;
  const messages = hours * MESSAGES_A_HOUR;
  const each = messages / usage.messages;
  const amounts = {
    // The queue calls the consumer, which counts as a request.
    requests: (usage.requests + usage.batches) * each,
    cpu: (messages * (usage.cpu + usage.packingCpu)) / 1000,
    queue: usage.queued * QUEUE_OPERATIONS * each,
    rowsRead: hours * (usage.rowsRead + usage.upkeepRead),
    rowsWritten: hours * (usage.rowsWritten + usage.upkeepWritten),
    database: devices * DATABASE_BYTES,
    classA: messages * (usage.archived.classA + usage.packed.classA) + usage.listed * HOURS * Math.ceil(devices / A_DATABASE),
    classB: messages * (usage.archived.classB + usage.packed.classB),
    archive: (messages / 30) * ARCHIVE_DAYS * usage.bytes,
  };
  const cost = ([name, amount]) => [name, Math.max(0, amount - PRICES[name].included) * PRICES[name].each];
  const dollars = Object.fromEntries(Object.entries(amounts).map(cost));
  return { amounts, dollars, sum: Object.values(dollars).reduce((sum, one) => sum + one, 0) };
}
