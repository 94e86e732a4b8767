// A store that speaks S3, as far as the off-site copy needs it: it takes an object only with a signature over the headers
// that were sent, and only if the body has the hash that was signed.

import { createHash } from 'node:crypto';
import { serveHttp } from '../../../local/lib/serve.mjs';
import { signed } from '../../../tools/delivery/sigv4.mjs';

const ACCESS = { id: 'AKIAEXAMPLE', secret: 'a secret of the store', region: 'eu-central-1' };

export async function startOffsite() {
  /** @type {Map<string, { bytes: Buffer, sha256: string }>} */
  const objects = new Map();
  const self = { objects, puts: [], breakAfter: Infinity };
  const handle = async (request, response) => {
    const refuse = (status, code) => response.writeHead(status).end(`<Error><Code>${code}</Code></Error>`);
    const [, names] = /SignedHeaders=([^,]+)/.exec(request.headers.authorization ?? '') ?? [];
    if (!names) return refuse(403, 'AccessDenied');
    const fixed = ['host', 'x-amz-content-sha256', 'x-amz-date'];
    const headers = Object.fromEntries(names.split(';').filter((name) => !fixed.includes(name)).map((name) => [name, request.headers[name]]));
    const [, y, m, d, h, min, s] = /^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z$/.exec(request.headers['x-amz-date']);
    const payload = request.headers['x-amz-content-sha256'];
    const expected = signed({ method: request.method, host: request.headers.host, path: request.url, headers, payload }, ACCESS, new Date(`${y}-${m}-${d}T${h}:${min}:${s}Z`));
    if (expected.authorization !== request.headers.authorization) return refuse(403, 'SignatureDoesNotMatch');

    if (request.method === 'HEAD') {
      const there = objects.get(request.url);
      return response.writeHead(there ? 200 : 404, there && { 'x-amz-meta-sha256': there.sha256 }).end();
    }
    const chunks = [];
    for await (const chunk of request) {
      chunks.push(chunk);
      if (Buffer.concat(chunks).length > self.breakAfter) return request.socket.destroy();
    }
    const bytes = Buffer.concat(chunks);
    if (createHash('sha256').update(bytes).digest('hex') !== payload) return refuse(400, 'XAmzContentSHA256Mismatch');
    self.puts.push(request.url);
    objects.set(request.url, { bytes, sha256: request.headers['x-amz-meta-sha256'] });
    response.writeHead(200).end();
  };
  const { port, close } = await serveHttp({ port: 0, handle });
  return Object.assign(self, {
    env: {
      OFFSITE_ENDPOINT: `http://127.0.0.1:${port}`,
      OFFSITE_REGION: ACCESS.region,
      OFFSITE_BUCKET: 'rs1-offsite',
      OFFSITE_ACCESS_KEY_ID: ACCESS.id,
      OFFSITE_SECRET_ACCESS_KEY: ACCESS.secret,
    },
    stop: close,
  });
}
