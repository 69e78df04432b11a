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

// Fetched when they are first needed, and again for a key id that is not known.
const keys = createRemoteJWKSet(new URL(keysURL))

createServer(async (request, response) => {
  const [, token] = (request.headers.authorization ?? '').match(/^Bearer (.+)$/i) ?? []
  if (!token) {
    response.writeHead(401, { 'WWW-Authenticate': 'Bearer' }).end('no bearer token\n')
    return
  }
  try {
    const { payload } = await jwtVerify(token, keys, {
      audience, // a token for another service is none for this
      requiredClaims: ['exp', 'sub'],
      clockTolerance: 30,
    })
    response.end(`Hello, fellow Workload ${payload.sub}!\n`)
  } catch {
    response.writeHead(401, { 'WWW-Authenticate': 'Bearer error="invalid_token"' }).end('the token is not valid here\n')
  }
}).listen(Number(port), host)
