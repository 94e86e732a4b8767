// A client of the S3 API, for what the broker does not call: written on its own, from the specification of signatures.

import { createHash, createHmac } from 'node:crypto';
import { httpClient } from '../../../local/lib/http.mjs';

const HOST = 'local.r2.cloudflarestorage.com';
const sha256 = (data) => createHash('sha256').update(data).digest('hex');
const mac = (key, text) => createHmac('sha256', key).update(text).digest();

/**
 * @param {object} options
 * @param {number} options.port
 * @param {{ accessKeyId: string, secretAccessKey: string }} options.credentials
 */
export function s3Client({ port, credentials: { accessKeyId, secretAccessKey } }) {
  const client = httpClient({ port });
  /**
   * @param {string} method
   * @param {string} path with its query, encoded; parameters in the order of their names
   * @param {{ body?: Buffer | string, at?: number, region?: string, change?: (headers: Record<string, string>) => void }} [options]
   *   `change` after the request was signed
   */
  const call = (method, path, { body = '', at = Date.now(), region = 'auto', change = () => {} } = {}) => {
    const time = new Date(at).toISOString().replace(/[:-]|\.\d+/g, '');
    const [plain, query = ''] = path.split('?');
    const headers = { host: HOST, 'x-amz-content-sha256': sha256(body), 'x-amz-date': time };
    const names = Object.keys(headers).join(';');
    const canonical = [method, plain, query, ...Object.entries(headers).map((pair) => pair.join(':')), '', names, headers['x-amz-content-sha256']].join('\n');
    const scope = `${time.slice(0, 8)}/${region}/s3/aws4_request`;
    const key = scope.split('/').reduce(mac, `AWS4${secretAccessKey}`);
    const signature = mac(key, `AWS4-HMAC-SHA256\n${time}\n${scope}\n${sha256(canonical)}`).toString('hex');
    headers.authorization = `AWS4-HMAC-SHA256 Credential=${accessKeyId}/${scope}, SignedHeaders=${names}, Signature=${signature}`;
    change(headers);
    return client(method, path, { body: body === '' ? undefined : body, headers });
  };
  return Object.assign(call, { close: () => client.close() });
}

/** The text of an element of an answer. @param {{ text: string }} answer @param {string} name */
export const xml = ({ text }, name) => new RegExp(`<${name}>([^<]*)</${name}>`).exec(text)?.[1];
