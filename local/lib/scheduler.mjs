// Fires the workers' crons as Cloudflare does: UTC, five fields, weekdays 1 (Sunday) to 7.

import { Cron } from 'croner';

/** @param {string} expression @param {(at: Date) => void} [fire] */
function schedule(expression, fire) {
  const options = { timezone: 'UTC', mode: '5-part', alternativeWeekdays: true, paused: !fire };
  return new Cron(expression, options, fire);
}

/**
 * @param {import('./workers.mjs').WorkerTable[]} workers
 * @param {(worker: string, cron: string, scheduledTime: Date) => void} fire
 * @returns {() => void} stops it
 */
export function startScheduler(workers, fire) {
  const jobs = workers.flatMap(({ worker, crons }) =>
    crons.map((cron) =>
      schedule(cron, (job) => {
        // The minute that was due, not the moment at which a timer woke up: workers key their runs by it.
        const due = job.currentRun() ?? new Date();
        fire(worker, cron, new Date(Math.floor(due.getTime() / 60_000) * 60_000));
      }),
    ),
  );
  return () => jobs.forEach((job) => job.stop());
}

/**
 * When a cron is due next after `after`.
 * @param {string} cron
 * @param {Date} [after]
 * @returns {Date | null}
 */
export const nextRun = (cron, after = new Date()) => schedule(cron).nextRun(after);
