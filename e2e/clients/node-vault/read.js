// Reads STEPUP_PATHS as anybody would with node-vault, all at once, and prints their
// different values. Without a token in VAULT_TOKEN it logs in first.
const http = require('http');

const options = {};
const socket = process.env.STEPUP_SOCKET;
if (socket) {
  options.endpoint = 'http://localhost';
  options.requestOptions = { httpAgent: new http.Agent({ socketPath: socket }) };
}
const vault = require('node-vault')(options);

async function main() {
  if (!process.env.VAULT_TOKEN) {
    await vault.userpassLogin({ username: process.env.STEPUP_USER, password: process.env.STEPUP_PASSWORD });
  }
  const secrets = await Promise.all(process.env.STEPUP_PATHS.split(' ').map((path) => vault.read(path)));
  process.stdout.write([...new Set(secrets.map((secret) => secret.data.data.key))].join('\n'));
}

main().catch((err) => {
  console.error(err.message, err.response && err.response.body);
  process.exit(1);
});
