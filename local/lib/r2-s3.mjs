// R2's S3 API in front of a local bucket, as far as EMQX's S3 action calls it: who calls is checked, and what R2 refuses is refused
// in XML. Whoever is to hear of a stored object is told (r2-events.mjs).

import { serveHttp } from './serve.mjs';
import { S3Error, verify } from './sigv4.mjs';

const XMLNS = 'http://s3.amazonaws.com/doc/2006-03-01/';
/** Of every part but the last one, in bytes. */
const LEAST_PART = 5 << 20;
/** Longer than any pause of the broker's: a connection that is closed while a request is on its way would look like R2's absence. */
const KEEP_ALIVE_MS = 120_000;

/**
 * @param {object} options
 * @param {number} options.port
 * @param {() => Promise<R2Bucket>} options.bucket asked for each time: a handle does not outlive a release of the workers
 * @param {string} options.name the bucket's
 * @param {{ accessKeyId: string, secretAccessKey: string }} options.credentials of who may call
 * @param {(stored: import('./r2-events.mjs').Stored) => Promise<void>} options.onStored
 * @param {(line: string) => void} [options.onRefused] what was refused, and why
 */
export async function startS3({ port, bucket, name, credentials, onStored, onRefused = () => {} }) {
  /** Parts of each upload that is open, by number. @type {Map<string, { key: string, parts: Map<number, { size: number, etag: string }> }>} */
  const uploads = new Map();
  /** @type {((method: string, key: string) => S3Error | undefined) | null} */
  let trouble = null;
  const handle = (incoming, response) =>
    serve({ open: bucket, name, uploads, onStored, trouble: (...request) => trouble?.(...request) }, credentials, incoming)
      .catch((error) => {
        const known = error instanceof S3Error ? error : new S3Error(500, 'InternalError', error.message);
        onRefused(`${incoming.method} ${incoming.url} refused: ${known.status} ${known.code}: ${known.message}`);
        return { status: known.status, xml: `<Error><Code>${escape(known.code)}</Code><Message>${escape(known.message)}</Message></Error>` };
      })
      .then(({ status = 200, xml, headers = {} }) => {
        const body = Buffer.from(xml === undefined ? '' : `<?xml version="1.0" encoding="UTF-8"?>${xml}`);
        response.writeHead(status, { ...(xml === undefined ? {} : { 'content-type': 'application/xml' }), 'content-length': body.length, ...headers });
        response.end(incoming.method === 'HEAD' ? undefined : body);
      });
  const { close } = await serveHttp({ port, handle, keepAliveMs: KEEP_ALIVE_MS });
  return {
    /**
     * Has requests that are in order refused from now on, as R2 refuses some when it is not well; null: no more.
     * @param {((method: string, key: string) => S3Error | undefined) | null} judge
     */
    behave(judge) {
      trouble = judge;
    },
    close,
  };
}

async function serve(world, credentials, incoming) {
  const chunks = [];
  for await (const chunk of incoming) chunks.push(chunk);
  const [path, search = ''] = incoming.url.split(/\?(.*)/s);
  const request = { method: incoming.method, path, query: new URLSearchParams(search), headers: incoming.headers, body: Buffer.concat(chunks) };
  verify(request, credentials, Date.now());

  const [bucketName, ...rest] = path.slice(1).split('/').map(decodeURIComponent);
  const refusal = world.trouble(request.method, rest.join('/'));
  if (refusal) throw refusal;
  if (bucketName === '' && request.method === 'GET') return listBuckets(world);
  if (bucketName !== world.name) throw new S3Error(404, 'NoSuchBucket', 'The specified bucket does not exist.');
  const key = rest.join('/');
  const operation = (key === '' ? BUCKET : request.query.has('uploadId') || request.query.has('uploads') ? MULTIPART : OBJECT)[request.method];
  if (!operation) throw new S3Error(501, 'NotImplemented', `${request.method} ${path}: not implemented on this machine`);
  return operation({ ...world, bucket: await world.open() }, key, request);
}

function listBuckets({ name }) {
  const bucket = `<Bucket><Name>${escape(name)}</Name><CreationDate>${new Date(0).toISOString()}</CreationDate></Bucket>`;
  return { xml: `<ListAllMyBucketsResult xmlns="${XMLNS}"><Buckets>${bucket}</Buckets></ListAllMyBucketsResult>` };
}

const BUCKET = {
  async HEAD() {
    return {};
  },

  async GET({ bucket, name }, _key, { query }) {
    const prefix = query.get('prefix') ?? '';
    const cursor = query.get('continuation-token') ?? undefined;
    const page = await bucket.list({ prefix, cursor, startAfter: query.get('marker') ?? query.get('start-after') ?? undefined, limit: Number(query.get('max-keys') ?? 1000) });
    const objects = page.objects.map(
      ({ key, size, httpEtag, uploaded }) =>
        `<Contents><Key>${escape(key)}</Key><LastModified>${uploaded.toISOString()}</LastModified><ETag>${escape(httpEtag)}</ETag><Size>${size}</Size><StorageClass>STANDARD</StorageClass></Contents>`,
    );
    const next = page.truncated ? `<NextContinuationToken>${escape(page.cursor)}</NextContinuationToken>` : '';
    const about = `<Name>${escape(name)}</Name><Prefix>${escape(prefix)}</Prefix><KeyCount>${objects.length}</KeyCount><IsTruncated>${page.truncated}</IsTruncated>${next}`;
    return { xml: `<ListBucketResult xmlns="${XMLNS}">${about}${objects.join('')}</ListBucketResult>` };
  },
};

const OBJECT = {
  async HEAD({ bucket }, key) {
    const found = await bucket.head(key);
    if (!found) throw new S3Error(404, 'NoSuchKey', 'The specified key does not exist.');
    return { headers: { etag: found.httpEtag, 'content-length': found.size, 'last-modified': found.uploaded.toUTCString() } };
  },

  async PUT({ bucket, onStored }, key, { body, headers }) {
    const { size, etag, httpEtag } = await bucket.put(key, body, { httpMetadata: { contentType: headers['content-type'] } });
    await onStored({ action: 'PutObject', key, size, eTag: etag });
    return { headers: { etag: httpEtag } };
  },
};

const MULTIPART = {
  async POST(world, key, request) {
    if (request.query.has('uploadId')) return complete(world, key, request);
    const { uploadId } = await world.bucket.createMultipartUpload(key, { httpMetadata: { contentType: request.headers['content-type'] } });
    world.uploads.set(uploadId, { key, parts: new Map() });
    const about = `<Bucket>${escape(world.name)}</Bucket><Key>${escape(key)}</Key><UploadId>${escape(uploadId)}</UploadId>`;
    return { xml: `<InitiateMultipartUploadResult xmlns="${XMLNS}">${about}</InitiateMultipartUploadResult>` };
  },

  async PUT(world, key, { query, body }) {
    const { id, parts } = uploadOf(world, key, query);
    const number = Number(query.get('partNumber'));
    if (!Number.isInteger(number) || number < 1 || number > 10_000) {
      throw new S3Error(400, 'InvalidArgument', 'Part number must be an integer between 1 and 10000, inclusive.');
    }
    const { etag } = await world.bucket.resumeMultipartUpload(key, id).uploadPart(number, body);
    parts.set(number, { size: body.length, etag });
    return { headers: { etag: `"${etag}"` } };
  },

  async DELETE(world, key, { query }) {
    const { id } = uploadOf(world, key, query);
    await world.bucket.resumeMultipartUpload(key, id).abort();
    world.uploads.delete(id);
    return { status: 204 };
  },
};

async function complete(world, key, { query, body }) {
  const { id, parts } = uploadOf(world, key, query);
  const named = [...body.toString('utf8').matchAll(/<Part>\s*<PartNumber>(\d+)<\/PartNumber>\s*<ETag>(.*?)<\/ETag>\s*<\/Part>/gs)];
  if (named.length === 0) throw new S3Error(400, 'MalformedXML', 'The XML you provided was not well formed or did not validate against our published schema.');
  const chosen = named.map(([, number, etag]) => {
    const part = parts.get(Number(number));
    if (part?.etag !== etag.replace(/&quot;|&#34;|"/g, '')) throw new S3Error(400, 'InvalidPart', 'One or more of the specified parts could not be found.');
    return { number: Number(number), ...part };
  });
  if (chosen.some(({ number }, index) => index > 0 && number <= chosen[index - 1].number)) {
    throw new S3Error(400, 'InvalidPartOrder', 'The list of parts was not in ascending order. The parts list must be specified in order by part number.');
  }
  const sizes = chosen.map(({ size }) => size);
  const last = sizes.pop();
  if (sizes.some((size) => size < LEAST_PART)) throw new S3Error(400, 'EntityTooSmall', 'Your proposed upload is smaller than the minimum allowed size.');
  // Of all stores R2 alone wants this.
  if (sizes.some((size) => size !== sizes[0]) || last > (sizes[0] ?? last)) throw new S3Error(400, 'InvalidPart', 'All non-trailing parts must have the same length.');
  const stored = await world.bucket.resumeMultipartUpload(key, id).complete(chosen.map(({ number, etag }) => ({ partNumber: number, etag })));
  world.uploads.delete(id);
  await world.onStored({ action: 'CompleteMultipartUpload', key, size: stored.size, eTag: stored.etag });
  const about = `<Bucket>${escape(world.name)}</Bucket><Key>${escape(key)}</Key><ETag>${escape(stored.httpEtag)}</ETag>`;
  return { xml: `<CompleteMultipartUploadResult xmlns="${XMLNS}">${about}</CompleteMultipartUploadResult>` };
}

function uploadOf({ uploads }, key, query) {
  const id = query.get('uploadId');
  const upload = uploads.get(id);
  if (upload?.key !== key) throw new S3Error(404, 'NoSuchUpload', 'The specified multipart upload does not exist.');
  return { id, parts: upload.parts };
}

const ENTITIES = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;' };
const escape = (text) => String(text).replace(/[&<>"]/g, (c) => ENTITIES[c]);
