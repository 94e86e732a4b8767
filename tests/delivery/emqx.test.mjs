// The broker's configuration where the local broker does not play it: TLS, and that each webhook has a route.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { connect, createServer } from 'node:tls';
import { ROOT } from '../../tools/lib/paths.mjs';

const CONF = readFileSync(join(ROOT, 'emqx', 'emqx.conf'), 'utf8');
/** `key = ["a", "b"]`, each time that it stands in the file. */
const lists = (key) => [...CONF.matchAll(new RegExp(`^ *${key} = (\\[.*\\])$`, 'gm'))].map(([, list]) => JSON.parse(list));
const SUITES = lists('ciphers')[0];
const certificate = (kind) => {
  const read = (part) => readFileSync(join(import.meta.dirname, 'fixtures', `${kind}.${part}.pem`));
  return { key: read('key'), cert: read('cert') };
};

/**
 * A handshake with a server that has the listener's versions and suites: Erlang and OpenSSL share the names.
 * @param {'ecdsa' | 'rsa'} kind of the certificate
 * @param {import('node:tls').ConnectionOptions} client
 * @returns {Promise<string>} protocol and suite, or why there is none
 */
async function handshake(kind, client) {
  const server = createServer({ ...certificate(kind), minVersion: 'TLSv1.2', maxVersion: 'TLSv1.3', ciphers: SUITES.join(':'), honorCipherOrder: true });
  server.on('tlsClientError', () => {});
  await new Promise((ready) => server.listen(0, '127.0.0.1', ready));
  try {
    return await new Promise((resolve) => {
      const socket = connect({ host: '127.0.0.1', port: server.address().port, rejectUnauthorized: false, ...client }, () => {
        resolve(`${socket.getProtocol()} ${socket.getCipher().name}`);
        socket.destroy();
      });
      socket.on('error', (error) => resolve(error.code));
    });
  } finally {
    await new Promise((done) => server.close(done));
  }
}

test('every listener with TLS speaks 1.3 and 1.2, with the same three suites', () => {
  assert.ok(lists('versions').length >= 2);
  for (const versions of lists('versions')) assert.deepEqual(versions, ['tlsv1.3', 'tlsv1.2']);
  assert.equal(lists('ciphers').length, lists('versions').length);
  for (const suites of lists('ciphers')) assert.deepEqual(suites, SUITES);
  assert.equal(new Set(SUITES).size, 3);
});

for (const kind of ['ecdsa', 'rsa']) {
  test(`a device with TLS 1.3 gets in, the certificate being ${kind}`, async () => {
    assert.equal(await handshake(kind, { minVersion: 'TLSv1.3' }), 'TLSv1.3 TLS_AES_128_GCM_SHA256');
  });
  test(`a device with TLS 1.2 gets in, the certificate being ${kind}`, async () => {
    assert.equal(await handshake(kind, { maxVersion: 'TLSv1.2' }), `TLSv1.2 ECDHE-${kind.toUpperCase()}-AES128-GCM-SHA256`);
  });
  test(`what is weaker or older does not, the certificate being ${kind}`, async () => {
    // Without forward secrecy, and without authenticated encryption. The alerts are the server's.
    for (const ciphers of ['AES128-GCM-SHA256', `ECDHE-${kind.toUpperCase()}-AES128-SHA`]) {
      assert.match(await handshake(kind, { maxVersion: 'TLSv1.2', ciphers: `${ciphers}:@SECLEVEL=0` }), /ALERT_HANDSHAKE_FAILURE$/);
    }
    const old = { minVersion: 'TLSv1.1', maxVersion: 'TLSv1.1', ciphers: 'ALL:@SECLEVEL=0' };
    assert.match(await handshake(kind, old), /ALERT_PROTOCOL_VERSION$/);
  });
}

test('nothing listens without TLS', () => {
  for (const kind of ['tcp', 'ws', 'wss']) assert.match(CONF, new RegExp(`^ *${kind}\\.default\\.enable = false$`, 'm'));
  assert.match(CONF, /^ *http\.bind = 0$/m);
});

test('every webhook that the broker calls is a route of the telemetry worker', () => {
  const routes = readFileSync(join(ROOT, 'workers', 'telemetry', 'src', 'routes.rs'), 'utf8');
  const called = [...CONF.matchAll(/"(?:https:\/\/api\.optic\.works)?(\/webhook\/[\w-]+)"/g)].map(([, path]) => path);
  assert.ok(called.length >= 5);
  for (const path of called) assert.ok(routes.includes(`=> "${path}"`), path);
});

test('every action is used, and every call proves that it is the broker', () => {
  const actions = [...CONF.matchAll(/^ {2}(optic_\w+) \{$/gm)].map(([, name]) => name);
  const used = [...CONF.matchAll(/"http:(\w+)"/g)].map(([, name]) => name);
  assert.deepEqual([...new Set(used)].sort(), [...actions].sort());
  // Authentication and authorization take it from the connector, whose own comes with the include.
  assert.match(CONF, /^include required\("webhook-secret\.hocon"\)$/m);
  assert.equal(CONF.match(/x-webhook-secret = \$\{connectors\.http\.optic\.headers\.x-webhook-secret\}/g).length, 2);
  assert.match(CONF, /^ *no_match = deny$/m);
});

test('collected telemetry is written where the queue is told of it, and is deleted if nobody wants it', () => {
  const collected = readFileSync(join(ROOT, 'emqx', 'options', 'collected.hocon'), 'utf8');
  const rules = (kind) => JSON.parse(readFileSync(join(ROOT, 'wrangler', 'r2', `archives.${kind}.json`), 'utf8')).rules;
  const [key] = /^ *key = "(.*)"$/m.exec(collected).slice(1);
  const object = readFileSync(join(ROOT, 'shared', 'telemetry', 'src', 'object.rs'), 'utf8');
  const [incoming] = /^pub const INCOMING: &str = "(.*)";$/m.exec(object).slice(1);
  assert.ok(key.startsWith(incoming));
  assert.deepEqual(rules('notifications').map(({ prefix }) => prefix), [incoming]);
  assert.ok(rules('lifecycle').some(({ conditions, deleteObjectsTransition }) => conditions.prefix === incoming && deleteObjectsTransition.condition.maxAge === 7 * 86_400));
  // One object a node, an interval and a sequence; anything less would overwrite.
  for (const part of ['action', 'node', 'datetime.rfc3339utc', 'sequence']) assert.ok(key.includes(`\${${part}}`), part);
  assert.match(CONF, /^include "collected\.hocon"$/m);
});
