const byId = (id) => document.getElementById(id)

// Every address is relative to the page, so that a path in front of the application does no harm.
const here = (path) => new URL(path, location.href)

if (byId('clock')) {
  connectClock(250)
  countEvents(250)
  byId('upload').addEventListener('submit', (event) => {
    event.preventDefault()
    send(byId('file').files[0])
  })
}

function connectClock(retryMs) {
  const url = here('clock')
  url.protocol = url.protocol.replace('http', 'ws')
  const socket = new WebSocket(url)
  socket.addEventListener('open', () => {
    byId('clock-state').textContent = 'connected'
    retryMs = 250
  })
  socket.addEventListener('message', ({ data }) => {
    byId('clock').textContent = new Date(JSON.parse(data).now).toLocaleTimeString()
  })
  socket.addEventListener('close', () => {
    byId('clock-state').textContent = 'connection lost, trying again'
    setTimeout(connectClock, retryMs, Math.min(retryMs * 2, 10_000))
  })
}

function countEvents(retryMs) {
  const events = new EventSource(here('events'))
  events.addEventListener('open', () => {
    byId('events-state').textContent = 'connected'
    retryMs = 250
  })
  events.addEventListener('error', () => {
    byId('events-state').textContent = 'connection lost, trying again'
    // By itself it comes back after a lost connection, but not after an answer that is no stream.
    if (events.readyState !== EventSource.CLOSED) return
    setTimeout(countEvents, retryMs, Math.min(retryMs * 2, 10_000))
  })
  events.addEventListener('tick', ({ lastEventId }) => {
    byId('events').textContent = lastEventId
  })
}

// Not fetch, which does not tell how far an upload has come.
function send(file) {
  const request = new XMLHttpRequest()
  const progress = byId('upload-progress')
  const result = byId('upload-result')
  progress.hidden = false
  result.textContent = 'Sending'
  request.upload.addEventListener('progress', ({ loaded, total }) => {
    progress.value = total > 0 ? loaded / total : 1
  })
  request.addEventListener('load', () => {
    progress.hidden = true
    if (request.status === 401) {
      result.textContent = 'Nothing was sent: you are not signed in any more. Reload the page.'
      return
    }
    if (request.status !== 200) {
      result.textContent = `Refused with status ${request.status}`
      return
    }
    const { bytes, sha256 } = JSON.parse(request.responseText)
    result.textContent = `${bytes} bytes arrived, SHA-256 ${sha256}`
  })
  request.addEventListener('error', () => {
    progress.hidden = true
    result.textContent = 'The connection was lost.'
  })
  request.open('PUT', here('upload'))
  request.send(file)
}
