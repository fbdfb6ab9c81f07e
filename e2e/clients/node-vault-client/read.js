// Reads STEPUP_PATHS with node-vault-client, all at once, and prints their different
// values. It knows no login with a password: it is given a token.
const VaultClient = require('node-vault-client');

const vault = new VaultClient({
  api: { url: `${process.env.VAULT_ADDR}/` },
  auth: { type: 'token', config: { token: process.env.VAULT_TOKEN } },
  logger: false,
});

async function main() {
  const secrets = await Promise.all(process.env.STEPUP_PATHS.split(' ').map((path) => vault.read(path)));
  process.stdout.write([...new Set(secrets.map((secret) => secret.getValue('data').key))].join('\n'));
}

// Its timer for the token would keep the process.
main().then(() => process.exit(0), (err) => {
  console.error(err.message);
  process.exit(1);
});
