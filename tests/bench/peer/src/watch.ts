// A round of checks as it is usually written: each check is looked at, its row read, judged by its last three results, and written;
// one that changed opens or closes an incident, with a notice of it. One after another, or all at once.

interface Check {
  id: string;
  component: string;
  kind: 'd1' | 'r2' | 'kv' | 'http';
  binding?: string;
  url?: string;
  timeout_ms: number;
}

interface Statement {
  bind(...values: (string | number | null)[]): Statement;
  first<Row>(): Promise<Row | null>;
  run(): Promise<unknown>;
}

interface Bucket {
  put(key: string, value: string): Promise<unknown>;
  get(key: string): Promise<{ text(): Promise<string> } | null>;
  delete(key: string): Promise<void>;
}

interface Namespace {
  put(key: string, value: string): Promise<void>;
  get(key: string): Promise<string | null>;
}

interface Env {
  CHECKS: Check[];
  /** Anything: side by side. */
  ALL_AT_ONCE: string;
  DB: { prepare(sql: string): Statement };
  [binding: string]: unknown;
}

async function observe(check: Check, env: Env): Promise<string | null> {
  const mark = crypto.randomUUID();
  switch (check.kind) {
    case 'd1': {
      await env.DB.prepare('INSERT INTO watch_probe (id, mark) VALUES (1, ?1) ON CONFLICT (id) DO UPDATE SET mark = ?1').bind(mark).run();
      const row = await env.DB.prepare('SELECT mark FROM watch_probe WHERE id = 1').first<{ mark: string }>();
      return row?.mark === mark ? null : 'what was written is not there';
    }
    case 'r2': {
      const bucket = env[check.binding ?? ''] as Bucket;
      await bucket.put(`probe/${mark}`, mark);
      const text = await (await bucket.get(`probe/${mark}`))?.text();
      await bucket.delete(`probe/${mark}`);
      return text === mark ? null : 'what was put is not there';
    }
    case 'kv': {
      const namespace = env[check.binding ?? ''] as Namespace;
      await namespace.put('probe', mark);
      // A namespace may answer with an older value for a minute.
      return (await namespace.get('probe')) === null ? 'what was put is not there' : null;
    }
    case 'http': {
      const response = await fetch(check.url ?? '', { redirect: 'manual', signal: AbortSignal.timeout(check.timeout_ms) });
      await response.text();
      return response.ok ? null : `status ${response.status}`;
    }
  }
}

async function look(check: Check, env: Env): Promise<void> {
  const began = Date.now();
  const fault = await observe(check, env).catch((error: unknown) => String(error));
  const took = Date.now() - began;
  const before = await env.DB.prepare('SELECT down, recent FROM watch_checks WHERE check_id = ?1').bind(check.id).first<{ down: number; recent: string }>();
  const recent = [...(JSON.parse(before?.recent ?? '[]') as boolean[]), fault === null].slice(-3);
  const isDown = before?.down === 1 ? !recent.slice(-2).every(Boolean) : recent.filter((fine) => !fine).length >= 2;
  await env.DB.prepare(
    `INSERT INTO watch_checks (check_id, component, down, recent, fault, latency_ms, checked_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
     ON CONFLICT (check_id) DO UPDATE SET down = ?3, recent = ?4, fault = ?5, latency_ms = ?6, checked_at = ?7`,
  )
    .bind(check.id, check.component, Number(isDown), JSON.stringify(recent), fault, took, Date.now())
    .run();
  if (isDown === (before?.down === 1)) return;
  const change = isDown
    ? 'INSERT INTO watch_incidents (check_id, opened_at) VALUES (?1, ?2)'
    : 'UPDATE watch_incidents SET resolved_at = ?2 WHERE check_id = ?1 AND resolved_at IS NULL';
  await env.DB.prepare(change).bind(check.id, Date.now()).run();
  await env.DB.prepare('INSERT INTO watch_notices (check_id, what, said_at) VALUES (?1, ?2, ?3)').bind(check.id, isDown ? 'down' : 'up', Date.now()).run();
}

export default {
  async scheduled(_: unknown, env: Env): Promise<void> {
    if (env.ALL_AT_ONCE) {
      await Promise.all(env.CHECKS.map((check) => look(check, env)));
      return;
    }
    for (const check of env.CHECKS) await look(check, env);
  },
};
