// The JavaScript half of d1.rs.

export async function batch(env, binding, packed) {
  const db = env[binding];
  if (!db) throw new Error(`binding ${binding} is missing`);
  const statements = JSON.parse(packed).map(([sql, ...values]) => db.prepare(sql).bind(...values));
  const results = statements.length === 1 ? [await statements[0].all()] : await db.batch(statements);
  return results.map(({ meta, results }) => `${meta.changes ?? 0}\n${JSON.stringify(results)}`).join("\n");
}

export async function bookmark(env, binding) {
  const db = env[binding];
  if (!db) throw new Error(`binding ${binding} is missing`);
  const session = db.withSession("first-primary");
  // A session has a bookmark once it has asked something.
  await session.prepare("SELECT 1").run();
  return session.getBookmark() ?? undefined;
}
