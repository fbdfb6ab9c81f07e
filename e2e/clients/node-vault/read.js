// Reads STEPUP_PATH as anybody would with node-vault and prints its key. Without
// a token in VAULT_TOKEN it logs in first.
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
  const secret = await vault.read(process.env.STEPUP_PATH);
  process.stdout.write(secret.data.data.key);
}

main().catch((err) => {
  console.error(err.message, err.response && err.response.body);
  process.exit(1);
});
