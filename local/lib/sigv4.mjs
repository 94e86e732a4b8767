// AWS Signature Version 4 from the other end: is a request of the S3 API signed by who may call? What is wrong is told in the
// words of R2, or of S3 where R2's are not known.

import { createHash, createHmac, timingSafeEqual } from 'node:crypto';

const ALGORITHM = 'AWS4-HMAC-SHA256';
/** How far the time of a request may lie from ours. */
const SKEW_MS = 15 * 60_000;
/** What R2 takes for its only region. */
const REGIONS = ['auto', 'us-east-1', ''];
const KEY_LENGTH = 32;

/** What an S3 API refuses a request with. */
export class S3Error extends Error {
  /** @param {number} status @param {string} code @param {string} message */
  constructor(status, code, message) {
    super(message);
    this.status = status;
    this.code = code;
  }
}

/**
 * @typedef {object} Received
 * @property {string} method
 * @property {string} path as it was sent, without the query
 * @property {URLSearchParams} query
 * @property {Record<string, string | undefined>} headers lower-case names
 * @property {Buffer} body
 */

/**
 * @param {Received} request
 * @param {{ accessKeyId: string, secretAccessKey: string }} credentials of who may call
 * @param {number} now Unix milliseconds
 * @throws {S3Error}
 */
export function verify({ method, path, query, headers, body }, { accessKeyId, secretAccessKey }, now) {
  const match = /^AWS4-HMAC-SHA256 Credential=([^,]+), ?SignedHeaders=([^,]+), ?Signature=([0-9a-f]{64})$/.exec(headers.authorization ?? '');
  if (!match) throw new S3Error(400, 'InvalidArgument', 'Authorization');
  const [, credential, names, signature] = match;
  const [id, day, region, service, end] = credential.split('/');
  if (service !== 's3' || end !== 'aws4_request') throw new S3Error(400, 'InvalidArgument', 'Authorization');
  if (id !== accessKeyId) {
    if (id.length === KEY_LENGTH) throw new S3Error(401, 'Unauthorized', 'Unauthorized');
    throw new S3Error(400, 'InvalidArgument', `Credential access key has length ${id.length}, should be ${KEY_LENGTH}`);
  }
  if (!REGIONS.includes(region)) throw new S3Error(400, 'InvalidRegionName', `The region name '${region}' is not valid. Must be one of: wnam, enam, weur, eeur, apac, auto`);

  const at = headers['x-amz-date'] ?? '';
  if (!(Math.abs(parseDate(at) - now) <= SKEW_MS)) {
    throw new S3Error(403, 'RequestTimeTooSkewed', 'The difference between the request time and the current time is too large.');
  }
  const signed = names.split(';');
  const unsigned = Object.keys(headers).filter((name) => (name === 'host' || name.startsWith('x-amz-')) && !signed.includes(name));
  if (unsigned.length > 0) throw new S3Error(403, 'AccessDenied', 'There were headers present in the request which were not signed');
  const payload = headers['x-amz-content-sha256'] ?? '';
  if (!/^[0-9a-f]{64}$/.test(payload)) throw new S3Error(501, 'NotImplemented', `x-amz-content-sha256 is "${payload}": only the hash of the payload is taken here`);

  const canonical = [
    method,
    encodePath(path),
    canonicalQuery(query),
    ...signed.map((name) => `${name}:${(headers[name] ?? '').trim().replace(/ +/g, ' ')}`),
    '',
    names,
    payload,
  ].join('\n');
  const scope = [day, region, service, end].join('/');
  const text = [ALGORITHM, at, scope, sha256(canonical)].join('\n');
  const key = [day, region, service, end].reduce((made, part) => mac(made, part), `AWS4${secretAccessKey}`);
  const isSame = day === at.slice(0, 8) && timingSafeEqual(mac(key, text), Buffer.from(signature, 'hex'));
  if (!isSame) {
    throw new S3Error(403, 'SignatureDoesNotMatch', 'The request signature we calculated does not match the signature you provided. Check your secret access key and signing method.');
  }
  if (sha256(body) !== payload) {
    throw new S3Error(400, 'XAmzContentSHA256Mismatch', "The provided 'x-amz-content-sha256' header does not match what was computed.");
  }
}

const mac = (key, text) => createHmac('sha256', key).update(text).digest();
const sha256 = (data) => createHash('sha256').update(data).digest('hex');

/** `20130524T000000Z`; NaN for anything else. */
function parseDate(text) {
  return Date.parse(text.replace(/^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z$/, '$1-$2-$3T$4:$5:$6Z'));
}

/** What is signed is the path as the store understands it, encoded in the one way that the specification has. */
const encodePath = (path) => path.split('/').map((part) => encode(decodeURIComponent(part))).join('/');

const canonicalQuery = (query) =>
  [...query].map(([name, value]) => `${encode(name)}=${encode(value)}`).sort().join('&');

const encode = (text) => encodeURIComponent(text).replace(/[!'()*]/g, (c) => `%${c.charCodeAt(0).toString(16).toUpperCase()}`);
