// Miniflare's proxies of D1 and R2 call the runtime synchronously: a helper thread sets a number and wakes this one. It may
// be interrupted between the two, and then wakes the next call instead, whose answer is not there yet: from then on every
// call fails with "message?.id === id". On a busy machine that happens once in some ten thousand calls. So: whoever is
// woken while the number is what it was goes on waiting.

const wait = Atomics.wait;

Atomics.wait = (array, index, value, timeout) => {
  if (timeout !== undefined) return wait(array, index, value, timeout);
  let outcome;
  do outcome = wait(array, index, value);
  while (outcome === 'ok' && Atomics.load(array, index) === value);
  return outcome;
};
