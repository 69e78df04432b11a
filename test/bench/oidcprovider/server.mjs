// npm oidc-provider as the arms O and S: client_credentials, for one client with a
// key that is given a signed JWT, and one with a secret that is given an opaque
// token. Everything is kept in memory, by its own default.
//
//   node server.mjs PORT SETTINGS
import { readFileSync } from 'node:fs';
import { Provider } from 'oidc-provider';

const [port, settingsFile] = process.argv.slice(2);
const { publicJwk, secret, signingJwk } = JSON.parse(readFileSync(settingsFile, 'utf8'));
const issuer = `http://127.0.0.1:${port}`;

const client = (more) => ({
  grant_types: ['client_credentials'], redirect_uris: [], response_types: [], scope: 'read',
  id_token_signed_response_alg: 'ES256', ...more,
});

const provider = new Provider(issuer, {
  clients: [
    client({
      client_id: 'with-key', token_endpoint_auth_method: 'private_key_jwt',
      token_endpoint_auth_signing_alg: 'ES256', jwks: { keys: [publicJwk] },
    }),
    client({ client_id: 'with-secret', client_secret: secret, token_endpoint_auth_method: 'client_secret_basic' }),
  ],
  scopes: ['read'],
  clientAuthMethods: ['private_key_jwt', 'client_secret_basic'],
  enabledJWA: { clientAuthSigningAlgValues: ['ES256'] },
  features: {
    clientCredentials: { enabled: true },
    devInteractions: { enabled: false },
    resourceIndicators: {
      enabled: true,
      getResourceServerInfo: () => ({
        scope: 'read', audience: 'https://ledger.internal', accessTokenTTL: 3600,
        accessTokenFormat: 'jwt', jwt: { sign: { alg: 'ES256' } },
      }),
    },
  },
  jwks: { keys: [signingJwk] },
});

provider.on('server_error', (_, error) => console.error(error));
provider.listen(Number(port), '127.0.0.1', () => console.log('ready'));
