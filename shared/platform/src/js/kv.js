// The JavaScript half of kv.rs.

function namespace(env, binding) {
  const found = env[binding];
  if (!found) throw new Error(`binding ${binding} is missing`);
  return found;
}

export async function get(env, binding, key) {
  return (await namespace(env, binding).get(key)) ?? undefined;
}

export async function put(env, binding, key, value, expirationTtl) {
  await namespace(env, binding).put(key, value, { expirationTtl });
}
