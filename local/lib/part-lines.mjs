// Lines of the parts, made lines for people. The workers write JSON, a line an event (see shared/platform/src/log.rs);
// anything else from them (the runtime, a panic) is shown as it is.

/**
 * @param {string} text
 * @returns {{ part: string, line: string, level: 'info' | 'warn' | 'error' }}
 */
export function readLine(text) {
  const entry = text.startsWith('{') ? parse(text) : undefined;
  if (!entry?.worker) return { part: 'workers', line: text, level: levelOf(text) };
  const { worker, level, method, route, status, event, outcome, duration_ms, log, request_id } = entry;
  const what = event ? `${event}: ${outcome}` : `${method} ${route} ${status}`;
  // The id is what finds the rest of the story; where all is well there is none.
  const tail = [log, level === 'error' ? request_id : undefined].filter(Boolean).join(' ');
  return { part: worker, line: `${what}, ${duration_ms} ms${tail ? `  ${tail}` : ''}`, level };
}

/**
 * A line of the broker or the fleet: its own time is dropped, its own level believed.
 * @param {string} text `04:42:48.289 info  auth    denied to …`, or anything else
 * @returns {{ line: string, level: 'info' | 'warn' | 'error' }}
 */
export function readProgramLine(text) {
  const match = /^\d\d:\d\d:\d\d(?:\.\d+)? +(error|warn|info|debug|trace) +(.*)$/.exec(text);
  if (!match) return { line: text, level: levelOf(text) };
  return { line: match[2], level: match[1] === 'error' || match[1] === 'warn' ? match[1] : 'info' };
}

/** How bad it is, from the wording. */
function levelOf(line) {
  if (/\berror\b|panicked|\bcritical\b/i.test(line)) return 'error';
  return /\bwarn(ing)?\b/i.test(line) ? 'warn' : 'info';
}

function parse(text) {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
