// The smoke journey: what a newcomer, and CI, want to see work. Each step says in its name what is true after it.

import { duration } from '../../tools/lib/say.mjs';
import { httpClient } from '../lib/http.mjs';
import { ADMISSION } from './admission.mjs';
import { CLOCK } from './clock.mjs';
import { ENROLMENT } from './enrolment.mjs';
import { FLEET } from './fleet.mjs';
import { OTA } from './ota.mjs';
import { PEOPLE } from './people.mjs';
import { PRESENCE } from './presence.mjs';
import { SECURITY } from './security.mjs';
import { COLLECTED, TELEMETRY } from './telemetry.mjs';
import { TOPICS } from './topics.mjs';
import { ZONES } from './zones.mjs';

/**
 * @typedef {object} Traveller what the steps share
 * @property {Awaited<ReturnType<typeof import('../lib/stack.mjs').startStack>>} stack
 * @property {ReturnType<typeof httpClient>} api
 * @property {(method: string, path: string, options?: object) => Promise<import('../lib/http.mjs').Answer>} admin the API, as an operator
 * @property {string} token an operator's
 * @property {import('../lib/credentials.mjs').Device} device
 * @property {(method: string, path: string, options?: object) => Promise<import('../lib/http.mjs').Answer>} owner the API, as the user who owns it
 * @property {{ user_id: string, email: string }} user that user
 *
 * @typedef {{ name: string, run: (traveller: Traveller) => Promise<string | void> }} Step its answer is a remark
 */

/**
 * In this order: later chapters need the device that earlier ones made.
 * @param {Traveller['stack']} stack
 * @returns {{ title: string, steps: Step[] }[]}
 */
const chapters = ({ collected }) => [ENROLMENT, ADMISSION, TOPICS, PRESENCE, collected ? COLLECTED : TELEMETRY, PEOPLE, SECURITY, CLOCK, FLEET, ZONES, OTA];

/**
 * @param {object} options
 * @param {Traveller['stack']} options.stack
 * @param {ReturnType<typeof import('../lib/print.mjs').printer>} options.print
 * @returns {Promise<boolean>} whether every step came true
 */
export async function journey({ stack, print }) {
  const api = httpClient({ port: stack.ports.http });
  const traveller = { stack, api };
  const began = Date.now();
  let count = 0;
  try {
    for (const { title, steps } of chapters(stack)) {
      print.write(print.paint('bold', title));
      for (const { name, run } of steps) {
        print.takeKept();
        const started = Date.now();
        try {
          const remark = await orFailure(stack, run(traveller));
          print.write(`  ${print.paint('green', '✓')} ${since(started)}  ${name}${remark ? print.paint('dim', `: ${remark}`) : ''}`);
          count += 1;
        } catch (error) {
          print.write(`  ${print.paint('red', '✗')} ${since(started)}  ${name}`);
          print.write(print.paint('red', `    ${error.message}`));
          for (const line of print.takeKept().slice(-20)) print.write(`    ${line}`);
          print.write(`\nthe journey ended at "${name}" (${title}), after ${count} steps`);
          return false;
        }
      }
    }
    print.write(`\nall ${count} steps, ${duration(Date.now() - began)}`);
    return true;
  } finally {
    api.close();
  }
}

/** Most steps take milliseconds. */
function since(started) {
  const ms = Date.now() - started;
  return (ms < 1000 ? `${ms} ms` : duration(ms)).padStart(7);
}

/** A part that died is a better explanation than the time-out that follows from it. */
function orFailure(stack, work) {
  return Promise.race([
    work,
    stack.failed.then((what) => {
      throw new Error(what);
    }),
  ]);
}
