// Miniflare's handles on D1, R2 and workers call the runtime synchronously: a helper thread sets a number and wakes this one.
//
// It may be interrupted between the two, and then wakes the next call instead, whose answer is not there yet: from then on every
// call fails with "message?.id === id". On a busy machine that happens once in some ten thousand calls. So: whoever is woken while
// the number is what it was goes on waiting.
//
// And who asks while Miniflare is being disposed of may ask a thread that has ended, and would stand still for ever, the disposal
// with it. So: an answer that takes longer than any does is an error, which tells where it was waited for.

/** A call that is answered at once when all is well; a machine that is busy with other things takes a second or two. */
const LONGEST_MS = 30_000;

const wait = Atomics.wait;

/** `Atomics.wait` for whoever gives no timeout. @param {number} longest milliseconds */
export const patient = (longest) => (array, index, value, timeout) => {
  if (timeout !== undefined) return wait(array, index, value, timeout);
  const deadline = Date.now() + longest;
  let outcome;
  do outcome = wait(array, index, value, Math.max(0, deadline - Date.now()));
  while (outcome === 'ok' && Atomics.load(array, index) === value);
  if (outcome === 'timed-out') throw new Error(`the runtime has not answered for ${longest / 1000} s, or was stopped meanwhile`);
  return outcome;
};

Atomics.wait = patient(LONGEST_MS);
