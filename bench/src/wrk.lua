-- The name is for SNI and Host only: glibc does not know *.localhost.
function wrk.resolve(host, service)
   wrk.addrs = wrk.lookup("127.0.0.1", service)
end

function done(summary, latency, requests)
   local e = summary.errors
   io.write(string.format(
      '\nBENCH {"requests":%d,"seconds":%.6f,"bytes":%d,"p50Ms":%.3f,"p99Ms":%.3f,' ..
      '"failed":{"connect":%d,"read":%d,"write":%d,"timeout":%d},"refused":%d}\n',
      summary.requests, summary.duration / 1e6, summary.bytes,
      latency:percentile(50) / 1e3, latency:percentile(99) / 1e3,
      e.connect, e.read, e.write, e.timeout, e.status))
end
