// Reads STEPUP_PATHS with vault-api, all at once, and prints their different values. It
// knows no login. With STEPUP_BLIND the token cannot see the mount, and the library is
// told what is there.
const axios = require('axios');
const { vault } = require('vault-api');

const { env } = process;
const options = {};
if (env.STEPUP_SOCKET) {
  options.axios = axios.create({ socketPath: env.STEPUP_SOCKET });
  options.address = 'http://localhost';
}
if (env.STEPUP_BLIND) options.engine = 'kv2';
const { read } = vault.create(options);

async function main() {
  const paths = env.STEPUP_PATHS.split(' ').map((path) => path.replace('/data/', '/'));
  // Its errors print the token where it finds no mount: one read first.
  const secrets = [await read(paths[0]), ...await Promise.all(paths.slice(1).map((path) => read(path)))];
  process.stdout.write([...new Set(secrets.map((secret) => secret.key || secret.data.key))].join('\n'));
}

main().catch((err) => {
  console.error(err.message, err.response && err.response.data);
  process.exit(1);
});
