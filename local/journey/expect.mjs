// What a step expects. A failure says what was asked, what was expected and what came.

import { isDeepStrictEqual } from 'node:util';
import { show } from '../lib/wait.mjs';

/** @param {string} what @param {unknown} actual @param {unknown} expected */
export function equal(what, actual, expected) {
  if (!isDeepStrictEqual(actual, expected)) throw new Error(`${what}: expected ${show(expected)}, got ${show(actual)}`);
}

/** @param {string} what @param {unknown} actual @param {RegExp} pattern */
export function like(what, actual, pattern) {
  if (typeof actual !== 'string' || !pattern.test(actual)) throw new Error(`${what}: expected ${pattern}, got ${show(actual)}`);
}

/**
 * An HTTP status, with the answer's body in the complaint.
 * @param {import('../lib/http.mjs').Answer} answer
 * @param {number} expected
 */
export function status(answer, expected) {
  if (answer.status !== expected) throw new Error(`expected ${expected}, got ${answer.status}: ${show(answer.text.trim())}`);
}

/** An RFC 9457 problem document. @param {import('../lib/http.mjs').Answer} answer @param {number} expected */
export function problem(answer, expected) {
  status(answer, expected);
  like('content-type', answer.headers['content-type'], /^application\/problem\+json/);
  equal('status in the document', answer.json?.status, expected);
}

/** RFC 3339, in UTC. */
export const TIME = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$/;
