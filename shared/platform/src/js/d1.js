// The JavaScript half of d1.rs.

function prepare(env, binding, packed) {
  const db = env[binding];
  if (!db) throw new Error(`binding ${binding} is missing`);
  return [db, JSON.parse(packed).map(([sql, ...values]) => db.prepare(sql).bind(...values))];
}

// The glue takes a text character by character: quick for a row, slow for a page.
const LONG = 1024;
const utf8 = new TextEncoder();
const crossing = (text) => (text.length < LONG ? text : utf8.encode(text));

export async function read(env, binding, packed) {
  const [, [statement]] = prepare(env, binding, packed);
  const rows = await statement.raw({ columnNames: true });
  const [names, first] = rows;
  if (first === undefined) return "0\n[]";
  return crossing(`0\n${names[0] === "json" ? first[0] : JSON.stringify(rows)}`);
}

export async function batch(env, binding, packed) {
  const [db, statements] = prepare(env, binding, packed);
  const results = statements.length === 1 ? [await statements[0].all()] : await db.batch(statements);
  const outcome = ({ meta, results }) => `${meta.changes ?? 0}\n${results[0]?.json ?? JSON.stringify(results)}`;
  return crossing(results.map(outcome).join("\n"));
}

export async function bookmark(env, binding) {
  const db = env[binding];
  if (!db) throw new Error(`binding ${binding} is missing`);
  const session = db.withSession("first-primary");
  // A session has a bookmark once it has asked something.
  await session.prepare("SELECT 1").run();
  return session.getBookmark() ?? undefined;
}
