// An example of a service that is called with Lanyard tokens. It needs nothing of
// Lanyard's: the authority's keys by URL, its own audience, and the library jose
// (npm install jose).
import { createServer } from 'node:http'
import { createRemoteJWKSet, jwtVerify } from 'jose'

if (process.argv.length !== 5) {
  console.error('usage: node server.mjs LISTEN JWKS-URL AUDIENCE')
  process.exit(2)
}
const [listen, keysURL, audience] = process.argv.slice(2)
const [, host, port] = listen.match(/^\[?(.*?)\]?:(\d+)$/)

// Fetched when they are first needed, anew when they are old, and for a key id that is
// not known, by the intervals of docs/verifying.md. Keys that are older do not count.
const keys = createRemoteJWKSet(new URL(keysURL), { timeoutDuration: 5_000, cacheMaxAge: 300_000, cooldownDuration: 60_000 })

// The issuer could not be asked, or answered something else: nothing is known about the token.
function keysAreAway(error) {
  return (
    ['ERR_JWKS_TIMEOUT', 'ERR_JOSE_GENERIC'].includes(error.code) ||
    ['fetch failed', 'JSON Web Key Set malformed'].includes(error.message)
  )
}

// Three parts, each in the one spelling that base64url has for it: decoders pass over
// what does not belong there.
function isCompact(token) {
  const parts = token.split('.')
  return parts.length === 3 && parts.every((part) => Buffer.from(part, 'base64url').toString('base64url') === part)
}

createServer(async (request, response) => {
  const [, token] = (request.headers.authorization ?? '').match(/^Bearer (.+)$/i) ?? []
  if (!token) {
    response.writeHead(401, { 'WWW-Authenticate': 'Bearer' }).end('no bearer token\n')
    return
  }
  try {
    if (!isCompact(token)) throw new Error('not a compact token')
    const { payload } = await jwtVerify(token, keys, {
      algorithms: ['ES256', 'RS256', 'EdDSA'], // otherwise whatever the library knows
      audience, // a token for another service is none for this
      requiredClaims: ['exp', 'sub'],
      clockTolerance: 30,
    })
    response.end(`Hello, fellow Workload ${payload.sub}!\n`)
  } catch (error) {
    if (keysAreAway(error)) {
      response.writeHead(503).end("the issuer's keys cannot be fetched\n")
      return
    }
    response.writeHead(401, { 'WWW-Authenticate': 'Bearer error="invalid_token"' }).end('the token is not valid here\n')
  }
}).listen(Number(port), host)
