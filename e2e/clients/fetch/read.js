// Reads STEPUP_PATHS with the fetch that is part of Node, all at once, and prints their
// different values. Without a token in VAULT_TOKEN it logs in first.
async function call(path, options) {
  const answer = await fetch(`${process.env.VAULT_ADDR}/v1/${path}`, options);
  const body = await answer.json();
  if (!answer.ok) throw new Error(`${answer.status} ${body.errors.join(' ')}`);
  return body;
}

async function main() {
  let token = process.env.VAULT_TOKEN;
  if (!token) {
    const body = JSON.stringify({ password: process.env.STEPUP_PASSWORD });
    const login = await call(`auth/userpass/login/${process.env.STEPUP_USER}`, { method: 'POST', body });
    token = login.auth.client_token;
  }
  const headers = { 'X-Vault-Token': token };
  const secrets = await Promise.all(process.env.STEPUP_PATHS.split(' ').map((path) => call(path, { headers })));
  process.stdout.write([...new Set(secrets.map((secret) => secret.data.data.key))].join('\n'));
}

main().catch((err) => {
  console.error(err.message);
  process.exit(1);
});
