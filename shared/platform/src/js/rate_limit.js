// The JavaScript half of rate_limit.rs.

export async function admit(env, binding, key) {
  const limit = env[binding];
  if (!limit) throw new Error(`binding ${binding} is missing`);
  return (await limit.limit({ key })).success;
}
