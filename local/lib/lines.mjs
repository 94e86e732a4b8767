// Streams of text, a line at a time.

/**
 * @param {import('node:stream').Readable} stream
 * @param {(line: string) => void} onLine without its newline; empty lines are left out
 */
export function eachLine(stream, onLine) {
  let rest = '';
  stream.setEncoding('utf8');
  stream.on('data', (text) => {
    const lines = (rest + text).split('\n');
    rest = lines.pop();
    for (const line of lines) if (line) onLine(line);
  });
  stream.on('close', () => {
    if (rest) onLine(rest);
    rest = '';
  });
}
