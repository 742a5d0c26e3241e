// Preloaded into a program inside: names of the test's domain are this machine, as a DNS server would say.
import dns from 'node:dns'

const { lookup } = dns
dns.lookup = (name, options, callback) =>
  lookup(name.endsWith('.sallyport.test') ? '127.0.0.1' : name, options, callback)
