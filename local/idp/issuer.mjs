// An OpenID Connect issuer: its keys, and the tokens that it signs.

import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { SignJWT, exportJWK, generateKeyPair, importJWK } from 'jose';

/** The members of a JWK that may be shown to the world. */
const PUBLIC = ['kty', 'kid', 'alg', 'use', 'n', 'e', 'crv', 'x', 'y'];

export class Issuer {
  /** @type {import('jose').JWK[]} private keys, the newest last: that one signs */
  #keys = [];
  #path;

  /**
   * @param {object} options
   * @param {string} options.url the `iss` of its tokens
   * @param {string} options.audience
   * @param {string} options.jwksPath
   * @param {string | null} options.path where its keys are kept; null keeps them in memory
   */
  constructor({ url, audience, jwksPath, path }) {
    this.url = url;
    this.audience = audience;
    this.jwksPath = jwksPath;
    this.#path = path;
  }

  /** Reads its keys, or makes the first one. */
  async open() {
    if (this.#path && existsSync(this.#path)) this.#keys = JSON.parse(readFileSync(this.#path, 'utf8')).keys;
    else await this.rotate();
    return this;
  }

  /** What verifies its tokens. */
  jwks() {
    return { keys: this.#keys.map((key) => Object.fromEntries(PUBLIC.filter((name) => name in key).map((name) => [name, key[name]]))) };
  }

  /** Its OpenID Connect discovery document. */
  discovery() {
    return {
      issuer: this.url,
      jwks_uri: `${this.url}${this.jwksPath}`,
      token_endpoint: `${this.url}/token`,
      response_types_supported: ['id_token'],
      subject_types_supported: ['public'],
      id_token_signing_alg_values_supported: ['RS256', 'ES256'],
    };
  }

  /**
   * Makes a new key, which signs from now on.
   * @param {{ alg?: 'RS256' | 'ES256', retire?: boolean }} [options] `retire` drops the keys before it at once; a real
   *   issuer keeps them until the last token that they signed has expired, and so does this one by default
   * @returns {Promise<string>} the new key's id
   */
  async rotate({ alg = 'RS256', retire = false } = {}) {
    const { privateKey } = await generateKeyPair(alg, { extractable: true });
    const jwk = await exportJWK(privateKey);
    const kid = createHash('sha256').update(jwk.n ?? jwk.x).digest('hex');
    this.#keys = [...(retire ? [] : this.#keys), { ...jwk, kid, alg, use: 'sig' }];
    this.#save();
    return kid;
  }

  /**
   * Signs exactly these claims. Everything can be overridden, so that tests can make tokens that no honest issuer would.
   * @param {Record<string, unknown>} claims
   * @param {Record<string, unknown>} [header] over `alg` and `kid`
   */
  async sign(claims, header = {}) {
    const jwk = this.#keys.at(-1);
    const token = new SignJWT(claims).setProtectedHeader({ alg: jwk.alg, kid: jwk.kid, typ: 'JWT', ...header });
    return token.sign(await importJWK(jwk, jwk.alg));
  }

  #save() {
    if (!this.#path) return;
    mkdirSync(dirname(this.#path), { recursive: true });
    writeFileSync(`${this.#path}.new`, JSON.stringify({ keys: this.#keys }), { mode: 0o600 });
    renameSync(`${this.#path}.new`, this.#path);
  }
}

/** The same person has the same `sub` on every machine. */
export function subjectOf(email) {
  const hex = createHash('sha256').update(`rs1-local:${email.toLowerCase()}`).digest('hex');
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20, 32)].join('-');
}
