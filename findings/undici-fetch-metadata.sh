#!/usr/bin/env bash
# undici 7.16.0, the fetch of Node: it sends one of the headers by which servers tell browsers, Sec-Fetch-Mode, and
# none of the others (Sec-Fetch-Site, -Dest, -User, Origin, Referer), also with POST. A header of that name in the
# options is replaced without an error, so no program can leave it out. A server that refuses browsers by
# any Sec-Fetch header refuses every program that uses fetch in Node.
#
# Seen with Node 20 on Linux, the same for the package and for Node's own fetch:
#   fetch:                sec-fetch-mode=cors
#   POST:                 sec-fetch-mode=cors
#   mode no-cors:         sec-fetch-mode=no-cors
#   own Sec-Fetch-Mode:   sec-fetch-mode=cors
#
# It installs the package in a temporary folder. It needs node and npm.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
export HOME=$dir
npm install --ignore-scripts --no-audit --no-fund undici@7.16.0 >npm.log 2>&1
cat >sent.cjs <<'JS'
const http = require('node:http');

const { fetch: request } = process.argv[2] === 'package' ? require('undici') : globalThis;
const tells = ({ headers }) => Object.entries(headers).filter(([name]) => /^(sec-fetch-.*|origin|referer)$/.test(name));

const server = http.createServer((incoming, answer) => {
  answer.end(tells(incoming).map((pair) => pair.join('=')).join(' '));
});
server.listen(0, '127.0.0.1', async () => {
  const url = `http://127.0.0.1:${server.address().port}/`;
  for (const [what, options] of [
    ['fetch', {}],
    ['POST', { method: 'POST', body: '{}' }],
    ['mode no-cors', { mode: 'no-cors' }],
    ['own Sec-Fetch-Mode', { headers: { 'Sec-Fetch-Mode': 'none' } }],
  ]) {
    const answer = await request(url, options);
    console.log(`${what}:`.padEnd(21), await answer.text());
  }
  process.exit(0);
});
JS
node sent.cjs package >package.txt
node sent.cjs node >node.txt

node --version
cat package.txt
cat >want.txt <<'TXT'
fetch:                sec-fetch-mode=cors
POST:                 sec-fetch-mode=cors
mode no-cors:         sec-fetch-mode=no-cors
own Sec-Fetch-Mode:   sec-fetch-mode=cors
TXT
if ! cmp -s want.txt package.txt || ! cmp -s want.txt node.txt; then
	echo "CHANGED"
	exit 1
fi
