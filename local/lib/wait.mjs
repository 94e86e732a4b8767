// Waiting for something to become true: asked again and again until a deadline, never a fixed sleep.

import { setTimeout as sleep } from 'node:timers/promises';

/**
 * Calls `look` until it returns something truthy, and returns that. An error that it throws is "not yet".
 *
 * @template T
 * @param {string} what for the message, as in "waiting for …"
 * @param {() => T | Promise<T>} look
 * @param {object} [options]
 * @param {number} [options.within] milliseconds
 * @param {number} [options.every] milliseconds
 * @param {() => unknown} [options.seen] what was last seen, for the message
 * @returns {Promise<NonNullable<Awaited<T>>>}
 */
export async function eventually(what, look, { within = 10_000, every = 50, seen } = {}) {
  const deadline = Date.now() + within;
  let last;
  for (;;) {
    try {
      last = await look();
      if (last) return last;
    } catch (error) {
      last = error;
    }
    if (Date.now() >= deadline) break;
    await sleep(every);
  }
  const final = seen ? await seen() : last;
  throw new Error(`waited ${within / 1000} s for ${what}; last seen: ${final instanceof Error ? final.message : show(final)}`);
}

/** A value in one line of a message. */
export function show(value) {
  const text = typeof value === 'string' ? value : JSON.stringify(value);
  return text === undefined ? 'nothing' : text.length > 400 ? `${text.slice(0, 400)}…` : text;
}
