// What the API is, served beside it: the document, and a page that draws it.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { ROOT } from '../../tools/lib/paths.mjs';
import { startHarness } from './support/harness.mjs';

describe('the OpenAPI document', () => {
  let cloud;
  before(async () => (cloud = await startHarness({ only: ['device-api'], faults: false })));
  after(() => cloud?.stop());

  it('is served as it is kept, to anybody, without the worker being asked', async () => {
    const lines = cloud.lines.length;
    const answer = await cloud.api('GET', '/api/openapi.json');
    assert.equal(answer.status, 200);
    assert.equal(answer.headers['content-type'], 'application/json');
    assert.equal(answer.headers['x-content-type-options'], 'nosniff');
    assert.deepEqual(answer.json, JSON.parse(readFileSync(join(ROOT, 'workers/device-api/assets/api/openapi.json'), 'utf8')));
    assert.equal(answer.json.openapi, '3.1.1');
    const again = await cloud.api('GET', '/api/openapi.json', { headers: { 'if-none-match': answer.headers.etag } });
    assert.equal(again.status, 304);
    assert.equal((await cloud.api('HEAD', '/api/openapi.json')).status, 200);
    assert.equal(cloud.lines.length, lines);
  });

  it('is drawn by a page that needs nothing from elsewhere', async () => {
    const moved = await cloud.api('GET', '/api/docs');
    assert.equal(moved.status, 307);
    assert.equal(moved.headers.location, '/api/docs/');
    const page = await cloud.api('GET', '/api/docs/');
    assert.equal(page.status, 200);
    assert.match(page.headers['content-type'], /^text\/html/);
    assert.match(page.headers['content-security-policy'], /^default-src 'none'; script-src 'self'/);
    const parts = [...page.text.matchAll(/(?:src|href)="([^"]+)"/g)].map(([, path]) => path).filter((path) => path !== 'data:,');
    assert.deepEqual(parts.sort(), ['../openapi.json', 'page.js', 'swagger-ui-bundle.js', 'swagger-ui.css']);
    for (const part of parts) {
      const { pathname } = new URL(part, 'http://api.localhost/api/docs/');
      assert.equal((await cloud.api('GET', pathname)).status, 200, pathname);
    }
  });

  it('leaves every other path to the worker', async () => {
    assert.equal((await cloud.api('GET', '/api/health')).json.status, 'ok');
    const unknown = await cloud.api('GET', '/api/document');
    assert.deepEqual([unknown.status, unknown.headers['content-type']], [404, 'application/problem+json']);
    assert.equal((await cloud.api('GET', '/api/docs/nothing.js')).status, 404);
    for (const method of ['POST', 'PUT', 'DELETE']) assert.equal((await cloud.api(method, '/api/openapi.json')).status, 405, method);
  });
});
