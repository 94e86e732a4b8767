// The JavaScript half of peer.rs.

// `headers` are names and values in turn, flat; `wanted` are the names of the answer's headers that are told, in lower case.
// What it resolves to: the packed head (status, content type, then name and value of each header), and the body's stream.
export async function pass(env, binding, method, target, headers, wanted) {
  const peer = env[binding];
  if (!peer) throw new Error(`binding ${binding} is missing`);
  const pairs = headers.flatMap((name, i) => (i % 2 === 0 ? [[name, headers[i + 1]]] : []));
  // The host means nothing: a service binding leads to the worker, whatever it says.
  const response = await peer.fetch(`https://peer${target}`, { method, headers: pairs, redirect: "manual" });
  const told = wanted.flatMap((name) => {
    const value = response.headers.get(name);
    return value === null ? [] : [name, value];
  });
  return [[response.status, response.headers.get("content-type") ?? "", ...told].join("\n"), response.body];
}
