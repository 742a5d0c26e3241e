import assert from 'node:assert/strict'
import { once } from 'node:events'
import { join } from 'node:path'
import { test } from 'node:test'
import { Child, spawnConnector } from '@sallyport/cli'
import { readStatus } from '@sallyport/connector'
import { callControlSocket } from '@sallyport/control/socket'
import { type Installation, install, source } from './support/programs.ts'

/** In place of systemd: prints each datagram that arrives at the Unix socket, after a line once it can. */
const receiver = `
  use Socket; $| = 1;
  socket(my $socket, AF_UNIX, SOCK_DGRAM, 0) or die $!;
  bind($socket, pack_sockaddr_un($ARGV[0])) or die $!;
  print "listening\\n";
  while (defined recv($socket, my $text, 4096, 0)) { print "$text\\n" }`

/** Where programs with `env` say something, and when they say that they are ready. */
async function listen(place: Installation) {
  const path = join(place.dir, 'notify.sock')
  let hear: (line: string) => void = () => {}
  const next = (wanted: string) =>
    new Promise<string>((resolve) => {
      hear = (line) => line === wanted && resolve(line)
    })
  const listening = next('listening')
  place.keep(
    new Child({
      name: 'the receiver',
      command: 'perl',
      args: ['-e', receiver, path],
      onLine: (line) => hear(line),
    }),
  )
  await listening
  return { env: { NOTIFY_SOCKET: path }, readiness: () => next('READY=1') }
}

test('systemd is told when the service answers, and not before', async (t) => {
  const place = await install(t)
  const { env, readiness } = await listen(place)
  const told = readiness()
  const child = place.keep(
    new Child({
      name: 'the service',
      command: process.execPath,
      args: [join(source, 'sallyport.ts'), '--config', place.configFile, 'serve'],
      env,
    }),
  )
  assert.equal(await Promise.race([told, child.explainEnd()]), 'READY=1')
  const socket = join(place.dataDir, 'control.sock')
  assert.equal((await callControlSocket(socket, 'status', {}, 'test')).running, true)
})

test('systemd is told when the connector has its tunnels, or knows why it has none', async (t) => {
  const place = await install(t)
  const service = await place.serve()
  const { stdout: token } = await place.sallyport(['token', 'create'])
  const stateDir = join(place.dir, 'edge')
  const enrolled = await place.connector(
    'edge',
    ['enroll', '--service', place.connect, '--token-file', '-', '--allow', 'hr:80'],
    token,
  )
  assert.equal(enrolled.status, 0, enrolled.stderr)
  const { env, readiness } = await listen(place)
  for (const state of ['connected', 'waiting']) {
    if (state === 'waiting') await service.stop()
    const told = readiness()
    const connector = place.keep(spawnConnector(stateDir, { env }))
    assert.equal(await Promise.race([told, connector.explainEnd()]), 'READY=1')
    const { tunnels } = await readStatus(stateDir)
    assert.ok(
      tunnels.every((tunnel) => tunnel.state === state || tunnel.lastError),
      JSON.stringify(tunnels),
    )
    connector.process.kill('SIGTERM')
    await once(connector.process, 'exit')
  }
})
