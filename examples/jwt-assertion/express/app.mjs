import express from 'express'
import { createRemoteJWKSet, errors, jwtVerify } from 'jose'

const issuer = process.env.SALLYPORT_ISSUER // https://login.access.example.com
const audience = process.env.SALLYPORT_APPLICATION_ID // sallyport app show NAME
const keys = createRemoteJWKSet(new URL('/.well-known/jwks.json', issuer))

async function requirePerson(request, response, next) {
  try {
    const token = request.get('Sallyport-Jwt-Assertion') ?? ''
    const { payload } = await jwtVerify(token, keys, {
      issuer,
      audience,
      algorithms: ['ES256'],
      requiredClaims: ['sub', 'exp'],
      clockTolerance: 30,
    })
    request.person = payload
    next()
  } catch (error) {
    if (error instanceof errors.JOSEError) response.sendStatus(401)
    else next(error) // The keys could not be fetched.
  }
}

const app = express()
app.use(requirePerson)
app.get('/', ({ person }, response) => {
  response.json({ id: person.sub, name: person.preferred_username, groups: person.groups })
})

const server = app.listen(process.env.PORT ?? 3000, '127.0.0.1', () => {
  console.log(`listening on ${server.address().port}`)
})
