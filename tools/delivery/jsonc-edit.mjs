// Changes one value in a JSON file with comments and leaves every other byte as it is.

import { blankComments } from '../lib/wrangler-config.mjs';

/**
 * @param {string} text
 * @param {(string | number)[]} path of a value that is there
 * @param {unknown} value
 */
export function withValue(text, path, value) {
  const [begin, end] = spanOf(blankComments(text), path);
  return text.slice(0, begin) + JSON.stringify(value) + text.slice(end);
}

/** Where the value at `path` begins and ends. Comments have become spaces, so that positions are the file's. */
function spanOf(text, path) {
  let at = 0;
  const space = () => {
    while (/\s/.test(text[at] ?? '')) at += 1;
  };
  const string = () => {
    const [literal] = /^"(?:[^"\\]|\\.)*"/.exec(text.slice(at));
    at += literal.length;
    return JSON.parse(literal);
  };
  /** Reads one value; returns the span of what `rest` leads to, if it does. */
  const read = (rest) => {
    space();
    const begin = at;
    let found = null;
    if (text[at] === '{' || text[at] === '[') {
      const isObject = text[at] === '{';
      at += 1;
      for (let index = 0; ; index += 1) {
        space();
        if (text[at] === '}' || text[at] === ']') break;
        let key = index;
        if (isObject) {
          key = string();
          space();
          at += 1; // the colon
        }
        const inner = read(rest !== null && rest.length > 0 && rest[0] === key ? rest.slice(1) : null);
        found ??= inner;
        space();
        if (text[at] === ',') at += 1;
      }
      at += 1;
    } else if (text[at] === '"') {
      string();
    } else {
      at += /^[^\s,}\]]+/.exec(text.slice(at))[0].length;
    }
    return rest?.length === 0 ? [begin, at] : found;
  };
  const span = read(path);
  if (!span) throw new Error(`there is no ${path.join('.')}`);
  return span;
}
