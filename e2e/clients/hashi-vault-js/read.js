// Reads STEPUP_PATHS with hashi-vault-js, all at once, and prints their different values.
// Without a token in VAULT_TOKEN it logs in first. Its own time-out is one second.
const { env } = process;

async function main() {
  // An ES module is not looked for in NODE_PATH by its name.
  const { default: Vault } = await import(require.resolve('hashi-vault-js'));
  const vault = new Vault({ baseUrl: `${env.VAULT_ADDR}/v1`, timeout: 120000 });
  const token = env.VAULT_TOKEN || (await vault.loginWithUserpass(env.STEPUP_USER, env.STEPUP_PASSWORD, 'auth/userpass')).client_token;
  const names = env.STEPUP_PATHS.split(' ').map((path) => path.replace('secret/data/', ''));
  const secrets = await Promise.all(names.map((name) => vault.readKVSecret(token, name, undefined, 'secret')));
  process.stdout.write([...new Set(secrets.map((secret) => secret.data.key))].join('\n'));
}

main().catch((err) => {
  // The reason of a refusal is not in its message.
  console.error(err.message, err.response && err.response.data && err.response.data.errors);
  process.exit(1);
});
