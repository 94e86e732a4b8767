// Little HTTP servers of this machine, on its own address alone.

import { createServer } from 'node:http';
import { HOST } from './ports.mjs';

/**
 * @param {object} options
 * @param {number} options.port 0 chooses a free one
 * @param {(incoming: import('node:http').IncomingMessage, response: import('node:http').ServerResponse) => unknown} options.handle answers, whatever goes wrong; a promise where that takes a while
 * @param {number} [options.keepAliveMs] how long a connection may say nothing between two requests
 */
export async function serveHttp({ port, handle, keepAliveMs }) {
  const inHand = new Set();
  const server = createServer((incoming, response) => {
    const one = Promise.resolve(handle(incoming, response)).finally(() => inHand.delete(one));
    inHand.add(one);
  });
  if (keepAliveMs !== undefined) server.keepAliveTimeout = keepAliveMs;
  await new Promise((done, fail) => server.once('error', fail).listen(port, HOST, done));
  return {
    port: server.address().port,
    /**
     * Takes no more, and ends what is connected. What is in hand is waited for all the same: it may hold objects of Miniflare's,
     * each of whose members is asked for in the runtime, which whoever closes us is about to stop.
     */
    async close() {
      const closed = new Promise((done) => server.close(done));
      server.closeAllConnections();
      await closed;
      await Promise.allSettled(inHand);
    },
  };
}
