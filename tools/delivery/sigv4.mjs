// Signature Version 4, by which every S3-compatible store knows its callers:
// docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html

import { createHash, createHmac } from 'node:crypto';

const hmac = (key, text) => createHmac('sha256', key).update(text).digest();
const sha256 = (text) => createHash('sha256').update(text).digest('hex');
/** Everything but the unreserved characters of RFC 3986. */
const encode = (text) => encodeURIComponent(text).replace(/[!'()*]/g, (character) => `%${character.charCodeAt(0).toString(16).toUpperCase()}`);

/**
 * The headers of a signed request.
 * @param {object} request
 * @param {string} request.method
 * @param {string} request.host
 * @param {string} request.path not encoded
 * @param {Record<string, string>} [request.headers] further ones to sign, names in lower case
 * @param {string} request.payload SHA-256 of the body in hex: the store refuses any other body
 * @param {{ id: string, secret: string, region: string }} access
 * @param {Date} now
 */
export function signed({ method, host, path, headers = {}, payload }, { id, secret, region }, now) {
  const time = `${now.toISOString().slice(0, 19).replace(/[-:]/g, '')}Z`;
  const all = { ...headers, host, 'x-amz-content-sha256': payload, 'x-amz-date': time };
  const names = Object.keys(all).sort();
  const canonical = [
    method,
    path.split('/').map(encode).join('/'),
    '',
    ...names.map((name) => `${name}:${all[name].trim().replace(/ +/g, ' ')}`),
    '',
    names.join(';'),
    payload,
  ].join('\n');
  const scope = `${time.slice(0, 8)}/${region}/s3/aws4_request`;
  const key = scope.split('/').reduce((derived, part) => hmac(derived, part), `AWS4${secret}`);
  const signature = hmac(key, ['AWS4-HMAC-SHA256', time, scope, sha256(canonical)].join('\n')).toString('hex');
  return { ...all, authorization: `AWS4-HMAC-SHA256 Credential=${id}/${scope},SignedHeaders=${names.join(';')},Signature=${signature}` };
}

/** SHA-256 of no body. */
export const EMPTY = sha256('');
