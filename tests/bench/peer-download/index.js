// What a download is beside: the least that streams a range of an R2 object. It checks no link, knows no rollout, counts
// nothing and logs nothing.

export default {
  async fetch(request, env) {
    const [, first, last] = /^bytes=(\d+)-(\d+)$/.exec(request.headers.get('range')) ?? [];
    const [offset, length] = [Number(first), Number(last) - Number(first) + 1];
    const object = await env.FIRMWARE.get('image.bin', { range: { offset, length } });
    const headers = { 'content-type': 'application/octet-stream', 'content-range': `bytes ${first}-${last}/${object.size}` };
    return new Response(object.body, { status: 206, headers });
  },
};
